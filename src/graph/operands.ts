/** Looks at the operands of an op: each throws a failure that says what does not fit. */
import { failure } from '../util/index.ts';
import type { HeadAttributes } from './ops.ts';
import type { Dim, Shape, TensorType } from './types.ts';

export const f32 = (...shape: Dim[]): TensorType => ({ dtype: 'f32', shape });

/** For what only a graph that was built wrongly can cause. */
export function reject(what: string): never {
  throw failure({ what, fix: 'this is a defect in how the graph was built, not in your input' });
}

/** The type of input i, checked for rank and for being a float (or i32 where asked). */
export function operand(
  inputs: readonly TensorType[],
  i: number,
  rank: number | null,
  kind: 'float' | 'i32' = 'float',
) {
  const type = inputs[i] ?? reject(`input ${i} is missing`);
  const isFloat = type.dtype === 'f32' || type.dtype === 'bf16' || type.dtype === 'f16';
  if (kind === 'i32' ? type.dtype !== 'i32' : !isFloat) reject(`input ${i} is ${type.dtype}, expected ${kind}`);
  if (rank !== null && type.shape.length !== rank) reject(`input ${i} has rank ${type.shape.length}, expected ${rank}`);
  return type;
}

export function same(what: string, got: Dim | undefined, expected: Dim | undefined): void {
  if (got === undefined || got !== expected) reject(`${what}: got ${got}, expected ${expected}`);
}

/** numpy's broadcasting of two shapes. */
export function broadcast(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) reject(`shapes [${a}] and [${b}] do not broadcast`);
    return x === 1 ? y : x;
  });
}

/** Two tensors of the same shape give `count` tensors of that shape. */
export function alike(inputs: readonly TensorType[], operands: number, results: number): TensorType[] {
  const first = operand(inputs, 0, 2);
  for (let i = 1; i < operands; i++) {
    const other = operand(inputs, i, 2);
    same(`rows of input ${i}`, other.shape[0], first.shape[0]);
    same(`width of input ${i}`, other.shape[1], first.shape[1]);
  }
  return Array.from({ length: results }, () => first);
}

/** Into how many parts of its weight's width a row is normed. */
export function groupsOf(x: TensorType, weight: TensorType): number {
  const [width, part] = [x.shape[1], weight.shape[0]];
  if (width === part) return 1;
  if (typeof width !== 'number' || typeof part !== 'number' || width % part !== 0) {
    reject(`a width of ${width} is not a multiple of the weight's ${part}`);
  }
  return width / part;
}

/** q, k, v starting at input `at`: checked widths. */
export function heads(inputs: readonly TensorType[], at: number, { headDim }: HeadAttributes) {
  const q = operand(inputs, at, 2);
  const k = operand(inputs, at + 1, 2);
  const v = operand(inputs, at + 2, 2);
  for (const [name, type] of [
    ['q', q],
    ['k', k],
    ['v', v],
  ] as const) {
    const width = type.shape[1];
    if (typeof width !== 'number' || width % headDim !== 0) {
      reject(`width of ${name} is ${width}, not a multiple of the head width ${headDim}`);
    }
    same(`rows of ${name}`, type.shape[0], q.shape[0]);
  }
  same('width of v', v.shape[1], k.shape[1]);
  if ((q.shape[1] as number) % (k.shape[1] as number) !== 0) {
    reject(`query width ${q.shape[1]} is not a multiple of key width ${k.shape[1]}`);
  }
  return { q, k, v };
}

export function segmentTable(inputs: readonly TensorType[], i: number): void {
  same('columns of the segment table', operand(inputs, i, 2, 'i32').shape[1], 6);
}

export function stateOf(inputs: readonly TensorType[], i: number, like?: TensorType): TensorType {
  const type = inputs[i] ?? reject(`input ${i} is missing`);
  if (like) {
    if (type.dtype !== like.dtype) reject(`input ${i} is ${type.dtype}, expected ${like.dtype}`);
    same(`rank of input ${i}`, type.shape.length, like.shape.length);
    type.shape.forEach((dim, axis) => {
      same(`dimension ${axis} of input ${i}`, dim, like.shape[axis]);
    });
  }
  return type;
}
