/** Float64 arrays with a shape, the values of the reference evaluator; integers are held as floats too. */

export interface Array64 {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((n, dim) => n * dim, 1);

/** Zeros of a shape. */
export function zeros(...shape: number[]): Array64 {
  return { shape, data: new Float64Array(sizeOf(shape)) };
}

/** An array of the given values; the shape is [length] unless told. */
export function array(values: ArrayLike<number>, shape: readonly number[] = [values.length]): Array64 {
  if (values.length !== sizeOf(shape)) throw new Error(`${values.length} values do not fill [${shape}]`);
  return { shape, data: Float64Array.from(values) };
}

/** A new array with f applied to every element. */
export function map(x: Array64, f: (value: number, i: number) => number): Array64 {
  return { shape: x.shape, data: x.data.map(f) };
}

/** Row i of a matrix, as a view. */
export function row(x: Array64, i: number): Float64Array {
  const width = x.shape[1]!;
  return x.data.subarray(i * width, (i + 1) * width);
}

export function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** to += factor · from */
export function addScaled(to: Float64Array, from: Float64Array, factor: number): void {
  for (let i = 0; i < to.length; i++) to[i] = to[i]! + factor * from[i]!;
}

/** log Σ exp(x) */
export function logSumExp(x: Float64Array): number {
  const max = x.reduce((a, b) => Math.max(a, b), -Infinity);
  return max + Math.log(x.reduce((sum, value) => sum + Math.exp(value - max), 0));
}

/** exp(x) / Σ exp(x) */
export function softmax(x: Float64Array): Float64Array {
  const total = logSumExp(x);
  return x.map((value) => Math.exp(value - total));
}

/** An index that must lie in 0..limit-1. */
export function index(what: string, value: number, limit: number): number {
  if (!(Number.isInteger(value) && value >= 0 && value < limit)) {
    throw new Error(`${what} is ${value}, expected 0 to ${limit - 1}`);
  }
  return value;
}
