/**
 * The output head on torch: log-probs of targets with their gradient, and sampling. The logits of all rows never exist
 * together in f32 unless they are few. Logits are computed in f32 whatever the compute dtype: rounded to bf16 they are
 * off by up to 0.06, and a log-prob with them. Their gradient is in the compute dtype, as that of every layer.
 */
import type { OpAttributes } from '../../graph/index.ts';
import type { Aten } from './aten.ts';
import { addProduct, type Sink } from './sink.ts';
import type { Device, Tensor, TorchDtype } from './tensors.ts';

/** Most bytes of one chunk of logits. */
const CHUNK_BYTES = 96 * 2 ** 20;
/** Most bytes that are kept from the forward pass for the gradient; what is beyond is computed again. */
export const KEPT_BYTES = 512 * 2 ** 20;
/** Largest f32 below 1, as a factor. */
const JUST_BELOW = 1 - 2 ** -23;

/** What the gradient finds of the forward pass, by chunk; it takes out what it used. */
export type Kept = Map<number, Tensor>;

export function headOn(device: Device, aten: Aten, dtype: TorchDtype) {
  const { view, empty, rows, transposed, dense } = device;

  /** Bounds of chunks of the rows, all of nearly the same size. */
  function chunks(count: number, vocabulary: number): [number, number][] {
    const most = Math.max(16, Math.floor(CHUNK_BYTES / 4 / vocabulary));
    const number = Math.max(1, Math.ceil(count / most));
    const size = Math.ceil(count / number);
    return Array.from({ length: number }, (_, i) => [i * size, Math.min(count, (i + 1) * size)]);
  }
  interface LogProbs {
    readonly logProbs: Tensor;
    /** tanh of the logits before a cap. */
    readonly bent: Tensor | undefined;
  }
  /** Of h·wᵀ, with a cap c of c·tanh(h·wᵀ/c). */
  const logSoftmax = (h: Tensor, w: Tensor, softcap: number | undefined): LogProbs => {
    const logits = aten.timesTransposed(h, w);
    if (softcap === undefined) return { logProbs: aten.logSoftmax(logits, logits), bent: undefined };
    const bent = aten.tanh(aten.mulScalar(logits, 1 / softcap), logits);
    const capped = aten.mulScalar(bent, softcap);
    return { logProbs: aten.logSoftmax(capped, capped), bent };
  };
  /**
   * softmax − onehot(target), with a cap times the slope of its tanh, in the compute dtype, in the place of the log-probs or
   * in new memory.
   */
  const residual = ({ logProbs, bent }: LogProbs, targets: Tensor): Tensor => {
    const e = aten.exp(logProbs, logProbs);
    aten.scatter(e, targets, aten.addScalar(aten.gather(e, targets), -1));
    return dense(bent ? aten.tanhBackward(e, bent, e) : e, dtype);
  };
  const column = (x: Tensor) => view(x, [x.shape[0]!, 1]);

  /** min(x, just below total): the first cumulative sum above it exists and has a positive step. */
  const inside = (x: Tensor, total: Tensor) => aten.minimum(x, aten.mulScalar(total, JUST_BELOW));
  const last = (x: Tensor) => device.dense(view(x, [x.shape[0]!, 1], [x.strides[0]!, 1], x.shape[1]! - 1));

  /** Inverse of the cumulative distribution in two levels: first the block of the vocabulary, then the id within it. */
  function pick(p: Tensor, u: Tensor): Tensor {
    const [batch, vocabulary] = p.shape as [number, number];
    const width = blockWidth(vocabulary);
    if (width === vocabulary) {
      const cumulative = aten.cumsum(p);
      const total = last(cumulative);
      return indices(within(aten.searchAbove(cumulative, inside(aten.mul(u, total), total)), vocabulary), [batch, 1]);
    }
    const count = vocabulary / width;
    const blocks = view(p, [batch * count, width]);
    const sums = view(aten.mm(blocks, device.ones(width)), [batch, count]);
    const cumulative = aten.cumsum(sums);
    const total = last(cumulative);
    const target = inside(aten.mul(u, total), total);
    const block = aten.searchAbove(cumulative, target);
    const chosen = within(block, count);
    const at = indices(chosen, [batch, 1]);
    const before = aten.add(aten.gather(cumulative, at), aten.gather(sums, at), -1);
    const sumsWithin = aten.cumsum(
      aten.indexSelect(
        blocks,
        indices(
          chosen.map((c, b) => b * count + c),
          [batch],
        ),
      ),
    );
    const place = aten.searchAbove(sumsWithin, inside(aten.add(target, before, -1), last(sumsWithin)));
    return indices(
      within(place, width).map((c, b) => chosen[b]! * width + c),
      [batch, 1],
    );
  }
  /** Places on the host; where the numbers are not numbers, any. */
  const within = (places: Tensor, limit: number) =>
    device.downloadIndices(places).map((place) => Math.min(place, limit - 1));
  const indices = (ids: Int32Array, shape: readonly number[]) => device.upload(BigInt64Array.from(ids, BigInt), shape);

  /** Keeps the k best and of those the smallest set that reaches topP (the id that crosses it included). */
  function pickFiltered(scores: Tensor, u: Tensor, k: number, topP: number): Tensor {
    const { values, columns } = aten.topk(scores, k);
    let kept = aten.softmax(values);
    if (topP < 1) {
      // An id is kept when the sum before it is below topP.
      const host = device.download(kept);
      for (let b = 0; b < scores.shape[0]!; b++) {
        let sum = 0;
        for (let i = b * k; i < (b + 1) * k; i++) {
          const p = host[i]!;
          if (sum >= topP) host[i] = 0;
          sum += p;
        }
      }
      kept = device.upload(host, kept.shape);
    }
    const cumulative = aten.cumsum(kept);
    const total = last(cumulative);
    const places = within(aten.searchAbove(cumulative, inside(aten.mul(u, total), total)), k);
    return aten.gather(columns, indices(places, [places.length, 1]));
  }

  return {
    /**
     * h [R,D], w [V,D] in f32, targets i64 [R] -> log softmax(h·wᵀ)[target] [R]
     * @param kept filled for the gradient, when there will be one
     */
    logProbs: (h: Tensor, w: Tensor, targets: Tensor, softcap: number | undefined, kept?: Kept): Tensor => {
      const result = empty([h.shape[0]!], 'f32');
      const bytes = (dtype === 'f32' ? 4 : 2) * w.shape[0]!;
      chunks(h.shape[0]!, w.shape[0]!).forEach(([from, to], i) => {
        device.scoped(() => {
          const places = column(rows(targets, from, to));
          const found = logSoftmax(rows(h, from, to), w, softcap);
          device.copy(column(rows(result, from, to)), aten.gather(found.logProbs, places));
          if (kept && bytes * to <= KEPT_BYTES) kept.set(i, device.keep(residual(found, places)));
          return [];
        });
      });
      return result;
    },
    /**
     * d log p(target) = onehot(target) − softmax. With e the residual, softmax − onehot: dh = −g∘(e·W), dW = −eᵀ·(g∘h), so that the
     * gradient g meets the narrow matrices, not the logits. dW is added to `sink`, if there is one.
     * @param lowW w in the compute dtype
     */
    logProbsGrad: (
      g: Tensor,
      h: Tensor,
      w: () => Tensor,
      lowW: Tensor,
      targets: Tensor,
      sink: Sink | undefined,
      kept: Kept | undefined,
      softcap: number | undefined,
    ): Tensor => {
      const dh = empty(h.shape, 'f32');
      chunks(h.shape[0]!, lowW.shape[0]!).forEach(([from, to], i) => {
        device.scoped(() => {
          const hidden = rows(h, from, to);
          const known = kept?.get(i);
          const e = known ?? residual(logSoftmax(hidden, w(), softcap), column(rows(targets, from, to)));
          const weights = aten.mulScalar(column(rows(g, from, to)), -1);
          aten.mul(aten.timesTransposed(e, transposed(lowW)), weights, rows(dh, from, to));
          if (sink) addProduct(device, aten, sink, transposed(e), dense(aten.mul(hidden, weights), dtype));
          if (known) device.free(known);
          kept?.delete(i);
          return [];
        });
      });
      return dh;
    },
    /** logits [B,V], uniforms [B] -> ids i64 [B] and their untempered log-probs [B]. */
    sample: (
      logits: Tensor,
      uniforms: Tensor,
      { temperature, topK, topP }: OpAttributes['sample'],
    ): [Tensor, Tensor] => {
      const vocabulary = logits.shape[1]!;
      const logProbs = aten.logSoftmax(logits);
      const u = column(uniforms);
      const isPlain = temperature === 1 || temperature === 0;
      const tempered = isPlain ? logProbs : aten.mulScalar(logProbs, 1 / temperature);
      const filtered = topP < 1 || (topK > 0 && topK < vocabulary);
      let ids: Tensor;
      if (temperature === 0) ids = aten.max(logits).columns;
      else if (filtered) ids = pickFiltered(tempered, u, topK > 0 ? Math.min(topK, vocabulary) : vocabulary, topP);
      else ids = pick(temperature === 1 ? aten.exp(logProbs) : aten.softmax(tempered), u);
      const count = logits.shape[0]!;
      return [view(ids, [count]), view(aten.gather(logProbs, ids), [count])];
    },
  };
}

/** A divisor of the vocabulary's size near its square root where there is one, else all of it. */
function blockWidth(vocabulary: number): number {
  const root = Math.ceil(Math.sqrt(vocabulary));
  for (let width = root; width <= 8 * root; width++) if (vocabulary % width === 0) return width;
  return vocabulary;
}
