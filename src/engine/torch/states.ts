/**
 * The engine's states on torch, and the effects that change them. Formulas of the updates stand in graph/ops.ts; here
 * they are computed in place, block by block, so that a block's weights, gradients and moments pass through the cache
 * once.
 */
import type { EffectOp, OpAttributes } from '../../graph/index.ts';
import { failure } from '../../util/index.ts';
import type { StateOptions } from '../contract.ts';
import type { Aten } from './aten.ts';
import type { Indices, Operand, RunContext, StateOperand } from './kernel.ts';
import type { Sink } from './sink.ts';
import { type Device, sizeOf, stridesOf, type Tensor, type TorchDtype } from './tensors.ts';

/** Values of a block of an update: four tensors of them stay in the cache. */
const BLOCK_VALUES = 2 ** 18;

interface State {
  shape: readonly number[];
  readonly dtype: TorchDtype;
  tensor: Tensor | undefined;
  /** Its values are zeros, whatever the memory holds. */
  isZero: boolean;
  /** The same in the compute dtype, and whether it still is. */
  low: Tensor | undefined;
  isLowCurrent: boolean;
  /** What was packed of it, by names and dtype; while a program relies on the states staying as they are. */
  readonly packs: Map<string, Pack>;
}

/** Matrices below each other, as `Aten.pack` orders them, if it does. */
interface Pack {
  readonly tensor: Tensor | undefined;
  readonly of: readonly State[];
}

type Effect<K extends EffectOp> = (
  targets: readonly string[],
  operands: readonly Operand[],
  attributes: OpAttributes[K],
  c: RunContext,
) => void;

export interface States {
  create(name: string, shape: readonly number[], options: StateOptions): void;
  resize(name: string, axis: number, size: number): void;
  write(name: string, data: Float32Array): void;
  read(name: string): Float32Array;
  drop(name: string): void;
  /** Takes the memory of the state's copy in the compute dtype. */
  reserve(name: string): void;
  /** Forgets what was packed for a program that is gone. */
  unpack(names: ReadonlySet<string>): void;
  clear(): void;
  operand(name: string): StateOperand;
  /**
   * Matrices [Nᵢ,K] below each other in f32 or the compute dtype, as `Aten.pack` orders them: made once and kept until
   * `unpack` or until one of them changes. Undefined where there is no such order.
   */
  packed(names: readonly string[], dtype: TorchDtype): Tensor | undefined;
  /** The state as something to be added to. Call `changed` afterwards. */
  sink(name: string): Sink;
  /** After a sink was used. */
  changed(name: string, sink: Sink): void;
  apply<K extends EffectOp>(
    op: K,
    targets: readonly string[],
    operands: readonly Operand[],
    attributes: OpAttributes[K],
    c: RunContext,
  ): void;
}

export function statesOn(device: Device, aten: Aten, dtype: TorchDtype): States {
  const { view, rows, scalar, dense, recorder } = device;
  const states = new Map<string, State>();

  const named = (name: string): State => {
    const state = states.get(name);
    if (!state) throw failure({ what: `there is no state "${name}"` });
    return state;
  };
  const make = (shape: readonly number[], stored: TorchDtype) => device.keep(device.empty(shape, stored));
  /** Memory of the state, whatever it holds. */
  const room = (state: State): Tensor => {
    state.tensor ??= make(state.shape, state.dtype);
    return state.tensor;
  };
  const values = (state: State): Tensor => {
    const tensor = room(state);
    if (state.isZero) aten.zero(tensor);
    state.isZero = false;
    return tensor;
  };
  const unpack = ({ packs }: State) => {
    for (const [key, { tensor, of }] of packs) {
      if (tensor) device.free(tensor);
      for (const state of of) state.packs.delete(key);
    }
  };
  const release = (state: State) => {
    for (const one of [state.tensor, state.low]) if (one) device.free(one);
    unpack(state);
  };
  const touch = (state: State) => {
    state.isLowCurrent = false;
    unpack(state);
  };
  const lowOf = (state: State): Tensor => {
    if (state.dtype === dtype) return values(state);
    state.low ??= make(state.shape, dtype);
    if (!state.isLowCurrent) device.copy(state.low, values(state));
    state.isLowCurrent = true;
    return state.low;
  };

  const tensorOf = (x: Operand | undefined): Tensor => {
    if (!x || 'host' in x) throw failure({ what: 'engine torch: an operand of an effect has no values' });
    return 'state' in x ? x.tensor() : x;
  };
  const indicesOf = (x: Operand | undefined, limit: number, what: string): Int32Array => {
    const { host } = x as Indices;
    for (const index of host) {
      if (index < 0 || index >= limit) throw failure({ what: `${what} ${index} is outside 0..${limit - 1}` });
    }
    return host;
  };
  /** Blocks of the tensors, which are all of one size. */
  function inBlocks(tensors: readonly Tensor[], body: (blocks: Tensor[]) => void): void {
    const count = sizeOf(tensors[0]!.shape);
    for (let from = 0; from < count; from += BLOCK_VALUES) {
      device.scoped(() => {
        const size = Math.min(BLOCK_VALUES, count - from);
        body(tensors.map((tensor) => view(tensor, [size], [1], from)));
        return [];
      });
    }
  }
  const scalarsOf = (x: Operand | undefined) =>
    device.download(tensorOf(x)) as unknown as [number, number, number, number];

  const effects: { [K in EffectOp]: Effect<K> } = {
    accumulate: ([name], [value]) => {
      const state = named(name!);
      const tensor = room(state);
      const added = tensorOf(value);
      if (state.isZero) device.copy(tensor, added);
      else aten.addcmul(tensor, dense(added, tensor.dtype), scalar(1), 1);
      state.isZero = false;
      touch(state);
    },
    zero: ([name]) => {
      recorder.outdate();
      const state = named(name!);
      state.isZero = true;
      touch(state);
    },
    cacheWrite: ([name], [slots, positions, value], _, c) => {
      const state = named(name!);
      const [count, groups, capacity, width] = state.shape as [number, number, number, number];
      const names = [slots, positions].map((x) => (x as Indices).name);
      // All layers write to the same rows.
      const target = c.once(`cache rows ${count} ${groups} ${capacity} ${names.join(' ')}`, () => {
        const at = indicesOf(slots, count, 'cacheWrite: slot');
        const places = indicesOf(positions, capacity, 'cacheWrite: position');
        const flat = new BigInt64Array(at.length * groups);
        for (let row = 0, i = 0; row < at.length; row++) {
          for (let g = 0; g < groups; g++) flat[i++] = BigInt((at[row]! * groups + g) * capacity + places[row]!);
        }
        return device.upload(flat, [at.length, groups]);
      });
      const cache = view(values(state), [count * groups * capacity, width]);
      const rows = tensorOf(value);
      const written = rows.dtype === state.dtype ? rows : dense(rows, state.dtype);
      const heads = view(written, [...target.shape, width], [written.strides[0]!, width, 1]);
      aten.indexPut(cache, target, heads);
      touch(state);
    },
    cacheMove: ([name], [from, to]) => {
      const state = named(name!);
      const [sources, targets] = [from, to].map((x) => indicesOf(x, state.shape[0]!, 'cacheMove: slot'));
      const cache = values(state);
      sources!.forEach((source, i) => {
        const target = targets![i]!;
        if (source !== target) device.copy(rows(cache, target, target + 1), rows(cache, source, source + 1));
      });
      touch(state);
    },
    adamw: (names, [scalars], { beta1, beta2, eps, weightDecay }) => {
      const [rate, factor, correction1, correction2] = scalarsOf(scalars);
      inBlocks(
        names.map((name) => values(named(name))),
        ([p, g, m, v]) => {
          const gradient = aten.mulScalar(g!, factor);
          aten.mul(m!, scalar(beta1), m);
          aten.addcmul(m!, gradient, scalar(1), 1 - beta1);
          aten.mul(v!, scalar(beta2), v);
          aten.addcmul(v!, gradient, gradient, 1 - beta2);
          const root = aten.sqrt(v!, gradient);
          const below = aten.addScalar(aten.mul(root, scalar(1 / Math.sqrt(correction2)), root), eps);
          aten.mul(p!, scalar(1 - rate * weightDecay), p);
          aten.addcmul(p!, aten.div(m!, below, below), scalar(1), -rate / correction1);
        },
      );
      touch(named(names[0]!));
    },
    rmsprop: (names, [scalars], { alpha, eps }) => {
      const [rate, factor] = scalarsOf(scalars);
      inBlocks(
        names.map((name) => values(named(name))),
        ([p, g, v]) => {
          const gradient = aten.mulScalar(g!, factor);
          aten.mul(v!, scalar(alpha), v);
          aten.addcmul(v!, gradient, gradient, 1 - alpha);
          const below = aten.addScalar(aten.sqrt(v!), eps);
          aten.addcmul(p!, aten.div(gradient, below, below), scalar(1), -rate);
        },
      );
      touch(named(names[0]!));
    },
  };

  return {
    create: (name, shape, { precision = 'f32' }) => {
      recorder.outdate();
      const old = states.get(name);
      if (old) release(old);
      const stored = precision === 'compute' ? dtype : 'f32';
      // At once: what lives long must not lie between what comes and goes, or neither's memory is of use to the other.
      states.set(name, {
        shape,
        dtype: stored,
        tensor: make(shape, stored),
        isZero: true,
        low: undefined,
        isLowCurrent: false,
        packs: new Map(),
      });
    },
    resize: (name, axis, size) => {
      recorder.outdate();
      const state = named(name);
      const shape = state.shape.with(axis, size);
      const old = state.tensor;
      const common = state.shape.with(axis, Math.min(size, state.shape[axis]!));
      const before = state.shape;
      release({ ...state, tensor: undefined });
      Object.assign(state, { shape, low: undefined, tensor: undefined });
      touch(state);
      if (!old) return;
      if (!state.isZero && sizeOf(common) > 0) {
        device.scoped(() => {
          const tensor = room(state);
          if (size > before[axis]!) aten.zero(tensor);
          device.copy(view(tensor, common, stridesOf(shape)), view(old, common, stridesOf(before)));
          return [];
        });
      } else state.isZero = true;
      device.free(old);
    },
    write: (name, data) => {
      recorder.outdate();
      const state = named(name);
      device.scoped(() => {
        device.copy(room(state), device.upload(data, state.shape));
        return [];
      });
      state.isZero = false;
      touch(state);
    },
    read: (name) => device.download(values(named(name))),
    drop: (name) => {
      release(named(name));
      states.delete(name);
    },
    reserve: (name) => {
      const state = named(name);
      if (state.dtype !== dtype) state.low ??= make(state.shape, dtype);
    },
    unpack: (names) => {
      for (const name of names) unpack(named(name));
    },
    clear: () => {
      for (const state of states.values()) release(state);
      states.clear();
    },
    operand: (name) => {
      const state = named(name);
      return {
        state: name,
        tensor: () => values(state),
        low: () => lowOf(state),
      };
    },
    packed: (names, stored) => {
      const key = `${names} ${stored}`;
      const known = named(names[0]!).packs.get(key);
      if (known) return known.tensor;
      const of = names.map(named);
      const [tensor] = device.scoped(() => {
        const matrices = of.map((state) => (stored === dtype ? lowOf(state) : values(state)));
        return [aten.pack(matrices.length === 1 ? matrices[0]! : aten.cat(matrices))];
      });
      const pack = { tensor: tensor && device.keep(tensor), of };
      for (const state of of) state.packs.set(key, pack);
      return pack.tensor;
    },
    sink: (name) => {
      const state = named(name);
      return { tensor: room(state), fresh: state.isZero };
    },
    changed: (name, { fresh }) => {
      const state = named(name);
      state.isZero = fresh;
      touch(state);
    },
    apply: (op, targets, operands, attributes, c) =>
      (effects[op] as Effect<typeof op>)(targets, operands, attributes, c),
  };
}
