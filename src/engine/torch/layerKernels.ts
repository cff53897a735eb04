/** Kernels of a transformer's layers, attention apart: products with weights, norms, positions, gates, dropout. */
import { dropoutColumns, dropoutThreshold } from '../../graph/index.ts';
import type { Aten } from './aten.ts';
import type { Kernels, Operand, RunContext, StateOperand } from './kernel.ts';
import { isState, type Operands } from './operands.ts';
import { addProduct } from './sink.ts';
import { areSideBySide, type Device, sizeOf, type Tensor, type TorchDtype } from './tensors.ts';

type LayerKernels = Pick<
  Kernels,
  | 'matmul'
  | 'linear'
  | 'linearGradInput'
  | 'split'
  | 'join'
  | 'rmsNorm'
  | 'rmsNormGrad'
  | 'rope'
  | 'glu'
  | 'gluGrad'
  | 'dropout'
>;

export function layerKernels(device: Device, aten: Aten, dtype: TorchDtype, operands: Operands): LayerKernels {
  const { view, empty, dense, transposed, scalar } = device;
  const { tensor, f32, low, inLow, ids, indices, byBlocks } = operands;

  /** Mean over the last dimension, [T,1] */
  const rowMean = (x: Tensor): Tensor => {
    const width = x.shape[1]!;
    return aten.mulScalar(aten.mm(x, device.ones(width)), 1 / width);
  };

  const activate = { silu: aten.silu, gelu_tanh: aten.gelu };
  /** (dy, x) -> dy·f'(x) */
  const slope = { silu: aten.siluBackward, gelu_tanh: aten.geluBackward };

  /** A matrix whose rows are normed in parts of the weight's width, with a part in each row. */
  const inParts = (x: Tensor, { shape: [part] }: Tensor): Tensor =>
    x.shape[1] === part ? x : view(dense(x), [sizeOf(x.shape) / part!, part!]);
  const inShape = (x: Tensor, shape: readonly number[]): Tensor => (x.shape[1] === shape[1] ? x : view(x, shape));

  /** scale times cos and sin of position·frequency for all positions up to the largest so far, [positions, frequencies] each. */
  const turns = new Map<string, { count: number; cos: Tensor; sin: Tensor }>();
  function turnsUpTo(positions: number, frequencies: readonly number[], scale: number): { cos: Tensor; sin: Tensor } {
    const key = `${frequencies} ${scale}`;
    let known = turns.get(key);
    if (!known || known.count < positions) {
      const count = 2 ** Math.ceil(Math.log2(Math.max(positions, 64)));
      const table = (f: (x: number) => number) => {
        const values = new Float32Array(count * frequencies.length);
        for (let p = 0, i = 0; p < count; p++) for (const w of frequencies) values[i++] = scale * f(p * w);
        return device.keep(device.upload(values, [count, frequencies.length]));
      };
      if (known) for (const old of [known.cos, known.sin]) device.free(old);
      known = { count, cos: table(Math.cos), sin: table(Math.sin) };
      turns.set(key, known);
    }
    return known;
  }

  /** The columns' numbers of dropout, [1,D], kept for good. */
  const dropoutNumbers = new Map<string, Tensor>();
  function dropoutNumbersOf(salt: number, width: number): Tensor {
    const key = `${salt} ${width}`;
    let known = dropoutNumbers.get(key);
    if (!known) {
      known = device.keep(device.upload(dropoutColumns(salt, width), [1, width]));
      dropoutNumbers.set(key, known);
    }
    return known;
  }

  /** x·Wᵢᵀ [T,Nᵢ]: as one product, with the weights packed, where these will not change. */
  function timesTransposed(c: RunContext, x: Tensor, weights: readonly Operand[]): Tensor[] {
    const packed = weights.every(isState)
      ? c.packed(
          weights.map(({ state }) => state),
          x.dtype,
        )
      : undefined;
    if (!packed || x.shape[0] === 0) {
      return weights.map((w) => aten.timesTransposed(x, x.dtype === dtype ? low(w) : f32(w)));
    }
    const product = aten.timesTransposed(x, packed);
    return columns(
      product,
      weights.map((w) => (w as StateOperand).tensor().shape[0]!),
    );
  }
  /** A matrix cut between its columns. */
  function columns(x: Tensor, widths: readonly number[]): Tensor[] {
    if (widths.length === 1) return [x];
    let at = 0;
    return widths.map((width) => {
      at += width;
      return view(x, [x.shape[0]!, width], x.strides, at - width);
    });
  }

  return {
    matmul: (c, [a, b], { transposeA, transposeB }, [sink]) => {
      // A gradient of a layer's weights is in the compute dtype, as its operands are; everything else is f32.
      if (!sink && !transposeA && transposeB) return timesTransposed(c, f32(a), [b!]);
      const [x, y] = sink ? [low(a), low(b)] : [f32(a), f32(b)];
      const [left, right] = [transposeA ? transposed(x) : x, transposeB ? transposed(y) : y];
      if (!sink) return [aten.mm(left, right)];
      addProduct(device, aten, sink, left, right);
      return [undefined];
    },
    linear: (c, [x, ...weights]) => timesTransposed(c, low(x), weights),
    linearGradInput: (_, operands) => {
      const count = operands.length / 2;
      const [dy, w] = [operands.slice(0, count).map(low), operands.slice(count).map(low)];
      let sum = aten.timesTransposed(dy[0]!, transposed(w[0]!));
      for (let i = 1; i < count; i++) sum = aten.addTimesTransposed(sum, dy[i]!, transposed(w[i]!));
      return [sum];
    },
    split: (_, [x], { widths }) => {
      const value = inLow(x);
      return columns(value.shape[1] === widths[0] ? view(value, value.shape, value.strides) : value, widths);
    },
    join: (_, operands) => [aten.cat(operands.map(low), 1)],
    rmsNorm: (_, [x, w], { eps }) => {
      const [value, weight] = [f32(x), f32(w)];
      const [result, rstd] = aten.rmsNorm(inParts(value, weight), weight, eps);
      const parts = value.shape[1]! / weight.shape[0]!;
      return [inShape(dense(result, dtype), value.shape), inShape(rstd, [value.shape[0]!, parts])];
    },
    // With n = x·rstd and g = dy·w: dx = rstd·(g − n·mean(g·n)), dw = Σ dy·n
    rmsNormGrad: (_, [dy, x, w, rstd], { forWeight }) => {
      const weight = f32(w);
      const [value, dout] = [inParts(f32(x), weight), inParts(tensor(dy), weight)];
      const scale = inShape(f32(rstd), [value.shape[0]!, 1]);
      const dx = empty(value.shape, 'f32');
      const dw = forWeight ? empty([1, value.shape[1]!], 'f32') : undefined;
      if (dw) aten.zero(dw);
      byBlocks(value.shape, (block) => {
        const d = dense(block(dout), 'f32');
        const n = aten.mul(block(value), block(scale));
        const g = aten.mul(d, weight);
        const products = aten.mul(g, n);
        const mean = rowMean(products);
        if (dw) aten.addmm(dw, dw, transposed(device.ones(d.shape[0]!)), aten.mul(d, n, products));
        aten.addcmul(g, n, mean, -1);
        aten.mul(g, block(scale), block(dx));
      });
      const whole = inShape(dx, tensor(x).shape);
      return dw ? [whole, view(dw, weight.shape)] : [whole];
    },
    rope: (c, operands, { headDim, frequencies, inverse, scale = 1 }) => {
      const positions = operands.at(-1);
      const input = ids(positions);
      const all = operands.slice(0, -1).map(tensor);
      const [tokens] = input.shape as [number];
      const pairs = frequencies.length;
      const { cos, sin } = c.once(`turns ${all[0]!.dtype} ${frequencies} ${scale} ${input.name}`, () => {
        const table = turnsUpTo(input.host.reduce((a, b) => Math.max(a, b), 0) + 1, frequencies, scale);
        const at = indices(c, positions, table.cos.shape[0]!);
        const turn = (full: Tensor) => {
          const chosen = dense(aten.indexSelect(full, at), all[0]!.dtype);
          return view(chosen, [tokens, 1, pairs]);
        };
        return { cos: turn(table.cos), sin: turn(table.sin) };
      });
      const turn = inverse ? -1 : 1;
      const turned = (x: Tensor, width: number): Tensor => {
        const heads = width / headDim;
        const [row] = x.strides as [number];
        const half = (of: Tensor, stride: number, which: 0 | 1) =>
          view(of, [tokens, heads, pairs], [stride, headDim, 1], which * pairs);
        let result: Tensor;
        if (2 * pairs === headDim) result = aten.mul(view(x, [tokens, 2 * heads, pairs], [row, pairs, 1]), cos);
        else {
          result = empty([tokens, width], x.dtype);
          device.copy(result, view(x, [tokens, width], [row, 1]));
          const both = (of: Tensor, stride: number) => view(of, [tokens, heads, 2, pairs], [stride, headDim, pairs, 1]);
          aten.mul(both(x, row), view(cos, [tokens, 1, 1, pairs]), both(result, width));
        }
        const halves = [half(result, width, 0), half(result, width, 1)];
        aten.addcmuls(halves, [half(x, row, 1), half(x, row, 0)], [sin, sin], [-turn, turn]);
        return view(result, [tokens, width]);
      };
      // Queries and keys of packed weights are columns of one matrix.
      const widths = all.map(({ shape }) => shape[1]!);
      return areSideBySide(all)
        ? columns(
            turned(
              all[0]!,
              widths.reduce((sum, width) => sum + width),
            ),
            widths,
          )
        : all.map((x, i) => turned(x, widths[i]!));
    },
    glu: (_, [gate, up], { activation }) => {
      const g = inLow(gate);
      const u = up && inLow(up);
      const result = empty(g.shape, g.dtype);
      byBlocks(g.shape, (block) => {
        if (u) aten.mul(activate[activation](block(g)), block(u), block(result));
        else activate[activation](block(g), block(result));
      });
      return [result];
    },
    // dup = dy·f(gate), dgate = dy·up·f'(gate)
    gluGrad: (_, [dy, gate, up], { activation }) => {
      const [d, g] = [low(dy), low(gate)];
      const u = up && low(up);
      const dgate = empty(g.shape, g.dtype);
      const dup = u && empty(g.shape, g.dtype);
      byBlocks(g.shape, (block) => {
        if (dup) aten.mul(block(d), activate[activation](block(g)), block(dup));
        slope[activation](u ? aten.mul(block(d), block(u)) : block(d), block(g), block(dgate));
      });
      return dup ? [dgate, dup] : [dgate];
    },
    dropout: (c, [x, keys], attributes) => {
      const value = dense(tensor(x));
      const input = ids(keys);
      const odd = c.once(`odd keys ${input.name}`, () =>
        device.upload(
          input.host.map((key) => key | 1),
          [input.host.length, 1],
        ),
      );
      const numbers = dropoutNumbersOf(attributes.salt, value.shape[1]!);
      const threshold = c.once(`threshold ${attributes.probability}`, () =>
        device.upload(Int32Array.of(dropoutThreshold(attributes)), [1]),
      );
      const result = empty(value.shape, value.dtype);
      byBlocks(value.shape, (block) => {
        const stays = aten.atLeast(aten.mul(block(odd), numbers), threshold);
        const kept = aten.mul(block(value), stays, block(result));
        aten.mul(kept, scalar(1 / (1 - attributes.probability)), kept);
      });
      return [result];
    },
  };
}
