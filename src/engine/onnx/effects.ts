/**
 * Effects on states, computed on the host: onnxruntime has no state of its own. Formulas of the updates stand in
 * graph/ops.ts; arithmetic is double precision with single-precision storage.
 */
import type { EffectOp, OpAttributes } from '../../graph/index.ts';
import { failure } from '../../util/index.ts';

/** A state in the worker. `data` null means all zeros, not allocated yet. */
export interface State {
  shape: readonly number[];
  data: Float32Array | null;
}

export type Operand =
  | { readonly kind: 'state'; readonly state: State }
  /** `owned`: nobody else will read the array, so a state may take it over. */
  | { readonly kind: 'values'; readonly data: Float32Array | Int32Array; readonly owned: boolean }
  | { readonly kind: 'rows'; readonly rows: Float32Array; readonly ids: Int32Array };

type Effect<K extends EffectOp> = (operands: readonly Operand[], attributes: OpAttributes[K]) => void;

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((n, dim) => n * dim, 1);
}

/** The state's values, allocated. */
export function valuesOf(state: State): Float32Array {
  state.data ??= new Float32Array(sizeOf(state.shape));
  return state.data;
}

function stateAt(operands: readonly Operand[], i: number): State {
  const operand = operands[i];
  if (operand?.kind !== 'state') throw failure({ what: `operand ${i} of an effect is not a state` });
  return operand.state;
}

function valuesAt(operands: readonly Operand[], i: number): Float32Array | Int32Array {
  const operand = operands[i];
  if (operand?.kind === 'values') return operand.data;
  throw failure({ what: `operand ${i} of an effect has no values` });
}

/** Rows of a cache [slots,G,C,d]: strides in elements. */
function cacheStrides({ shape }: State): { slot: number; head: number; width: number; heads: number } {
  const [, heads, capacity, width] = shape as [number, number, number, number];
  return { slot: heads * capacity * width, head: capacity * width, width, heads };
}

const effects: { [K in EffectOp]: Effect<K> } = {
  accumulate: (operands) => {
    const state = stateAt(operands, 0);
    const operand = operands[1]!;
    if (operand.kind === 'rows') {
      const sum = valuesOf(state);
      const width = operand.rows.length / operand.ids.length;
      operand.ids.forEach((id, row) => {
        const to = id * width;
        const from = row * width;
        for (let j = 0; j < width; j++) sum[to + j]! += operand.rows[from + j]!;
      });
      return;
    }
    const values = valuesAt(operands, 1) as Float32Array;
    if (!state.data) {
      state.data = operand.kind === 'values' && operand.owned ? values : values.slice();
      return;
    }
    add(state.data, values);
  },
  zero: (operands) => {
    stateAt(operands, 0).data = null;
  },
  cacheWrite: (operands) => {
    const state = stateAt(operands, 0);
    const cache = valuesOf(state);
    const slots = valuesAt(operands, 1);
    const positions = valuesAt(operands, 2);
    const values = valuesAt(operands, 3) as Float32Array;
    const { slot, head, width, heads } = cacheStrides(state);
    for (let row = 0; row < slots.length; row++) {
      for (let h = 0; h < heads; h++) {
        const to = slots[row]! * slot + h * head + positions[row]! * width;
        const from = (row * heads + h) * width;
        for (let j = 0; j < width; j++) cache[to + j] = values[from + j]!;
      }
    }
  },
  cacheMove: (operands) => {
    const state = stateAt(operands, 0);
    const cache = valuesOf(state);
    const from = valuesAt(operands, 1);
    const to = valuesAt(operands, 2);
    const { slot } = cacheStrides(state);
    for (let i = 0; i < from.length; i++) cache.copyWithin(to[i]! * slot, from[i]! * slot, (from[i]! + 1) * slot);
  },
  adamw: (operands, attributes) => {
    const [p, g, m, v] = [0, 1, 2, 3].map((i) => valuesOf(stateAt(operands, i)));
    adamw(p!, g!, m!, v!, valuesAt(operands, 4) as Float32Array, attributes);
  },
  rmsprop: (operands, attributes) => {
    const [p, g, v] = [0, 1, 2].map((i) => valuesOf(stateAt(operands, i)));
    rmsprop(p!, g!, v!, valuesAt(operands, 3) as Float32Array, attributes);
  },
};

// The loops over whole states are functions of their own: V8 makes them twice as fast as the same loops inside the table.

function add(sum: Float32Array, values: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i]! += values[i]!;
}

function adamw(
  p: Float32Array,
  g: Float32Array,
  m: Float32Array,
  v: Float32Array,
  scalars: Float32Array,
  { beta1, beta2, eps, weightDecay }: OpAttributes['adamw'],
): void {
  const [rate, factor, correction1, correction2] = scalars as unknown as [number, number, number, number];
  const keep = 1 - rate * weightDecay;
  const step = rate / correction1;
  const root = 1 / Math.sqrt(correction2);
  for (let i = 0; i < p.length; i++) {
    const gradient = g[i]! * factor;
    const mean = beta1 * m[i]! + (1 - beta1) * gradient;
    const square = beta2 * v[i]! + (1 - beta2) * gradient * gradient;
    m[i] = mean;
    v[i] = square;
    p[i] = p[i]! * keep - (step * mean) / (Math.sqrt(square) * root + eps);
  }
}

function rmsprop(
  p: Float32Array,
  g: Float32Array,
  v: Float32Array,
  scalars: Float32Array,
  { alpha, eps }: OpAttributes['rmsprop'],
): void {
  const [rate, factor] = scalars as unknown as [number, number];
  for (let i = 0; i < p.length; i++) {
    const gradient = g[i]! * factor;
    const square = alpha * v[i]! + (1 - alpha) * gradient * gradient;
    v[i] = square;
    p[i] = p[i]! - (rate * gradient) / (Math.sqrt(square) + eps);
  }
}

/** Applies one effect. Indices were checked by `checkIndices` before the first effect of a run. */
export function applyEffect<K extends EffectOp>(
  op: K,
  operands: readonly Operand[],
  attributes: OpAttributes[K],
): void {
  (effects[op] as Effect<K>)(operands, attributes);
}

/** Throws a failure when an effect would write outside its state. */
export function checkIndices(op: EffectOp, operands: readonly Operand[]): void {
  const within = (indices: ArrayLike<number>, size: number, what: string) => {
    for (let i = 0; i < indices.length; i++) {
      const index = indices[i]!;
      if (index < 0 || index >= size) throw failure({ what: `${op}: ${what} ${index} is outside 0..${size - 1}` });
    }
  };
  const { shape } = stateAt(operands, 0);
  const operand = operands[1];
  if (operand?.kind === 'rows') within(operand.ids, shape[0]!, 'row');
  if (op === 'cacheWrite') {
    within(valuesAt(operands, 1), shape[0]!, 'slot');
    within(valuesAt(operands, 2), shape[2]!, 'position');
  }
  if (op === 'cacheMove') {
    within(valuesAt(operands, 1), shape[0]!, 'slot');
    within(valuesAt(operands, 2), shape[0]!, 'slot');
  }
}
