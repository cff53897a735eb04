/** Reference kernels of arithmetic, broadcasting, products and rows by index: plain loops, no speed. */
import { type Array64, addScaled, array, dot, index, map, row, sizeOf, zeros } from './array.ts';

/** For every element of an array of shape `wide`: the index of the element of `narrow` that broadcasts to it. */
function broadcastIndices(narrow: readonly number[], wide: readonly number[]): number[] {
  const offset = wide.length - narrow.length;
  return Array.from({ length: sizeOf(wide) }, (_, i) => {
    let rest = i;
    let stride = 1;
    let at = 0;
    for (let axis = wide.length - 1; axis >= offset; axis--) {
      const size = narrow[axis - offset]!;
      if (size !== 1) at += (rest % wide[axis]!) * stride;
      stride *= size;
      rest = Math.floor(rest / wide[axis]!);
    }
    return at;
  });
}

function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    return x === 1 ? y : x;
  });
}

export function elementwise(a: Array64, b: Array64, f: (x: number, y: number) => number): Array64 {
  const shape = broadcastShape(a.shape, b.shape);
  const ia = broadcastIndices(a.shape, shape);
  const ib = broadcastIndices(b.shape, shape);
  return array(
    ia.map((at, i) => f(a.data[at]!, b.data[ib[i]!]!)),
    shape,
  );
}

export function sumTo(x: Array64, shape: readonly number[]): Array64 {
  const y = zeros(...shape);
  broadcastIndices(shape, x.shape).forEach((at, i) => {
    y.data[at] = y.data[at]! + x.data[i]!;
  });
  return y;
}

export function broadcastTo(x: Array64, shape: readonly number[]): Array64 {
  return array(
    broadcastIndices(x.shape, shape).map((at) => x.data[at]!),
    shape,
  );
}

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** log(1 + eˣ) without overflow. */
export const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

export const sumSquares = (x: Array64): Array64 => array([dot(x.data, x.data)], []);

export function transpose(x: Array64): Array64 {
  const [rows, columns] = [x.shape[0]!, x.shape[1]!];
  const y = zeros(columns, rows);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) row(y, j)[i] = row(x, i)[j]!;
  return y;
}

/** a [M,K] · bᵀ, b [N,K] -> [M,N] */
export function timesTransposed(a: Array64, b: Array64): Array64 {
  const y = zeros(a.shape[0]!, b.shape[0]!);
  for (let i = 0; i < a.shape[0]!; i++) for (let j = 0; j < b.shape[0]!; j++) row(y, i)[j] = dot(row(a, i), row(b, j));
  return y;
}

export function matmul(a: Array64, b: Array64, transposeA: boolean, transposeB: boolean): Array64 {
  return timesTransposed(transposeA ? transpose(a) : a, transposeB ? b : transpose(b));
}

export function sum(terms: readonly Array64[]): Array64 {
  return map(terms[0]!, (_, i) => terms.reduce((total, term) => total + term.data[i]!, 0));
}

export function gatherRows(table: Array64, ids: Array64): Array64 {
  const y = zeros(ids.shape[0]!, table.shape[1]!);
  ids.data.forEach((id, t) => {
    row(y, t).set(row(table, index(`ids[${t}]`, id, table.shape[0]!)));
  });
  return y;
}

export function scatterRows(rows: Array64, ids: Array64, count: number): Array64 {
  const y = zeros(count, rows.shape[1]!);
  ids.data.forEach((id, t) => {
    addScaled(row(y, index(`ids[${t}]`, id, count)), row(rows, t), 1);
  });
  return y;
}

export function split(x: Array64, widths: readonly number[]): Array64[] {
  let at = 0;
  return widths.map((width) => {
    const y = zeros(x.shape[0]!, width);
    for (let t = 0; t < x.shape[0]!; t++) row(y, t).set(row(x, t).subarray(at, at + width));
    at += width;
    return y;
  });
}

export function join(xs: readonly Array64[]): Array64 {
  const rows = xs[0]!.shape[0]!;
  return array(Array.from({ length: rows }, (_, t) => xs.flatMap((x) => Array.from(row(x, t)))).flat(), [
    rows,
    xs.reduce((sum, { shape }) => sum + shape[1]!, 0),
  ]);
}
