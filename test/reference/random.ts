/** Seeded random arrays and index lists for tests: the same name gives the same numbers. */
import { normals, rowKey, uniform } from '../../src/util/index.ts';
import { type Array64, array, sizeOf } from './array.ts';

/** Normal numbers, exactly representable in f32. */
export function randomArray(name: string, shape: readonly number[], scale = 1): Array64 {
  return array(
    // A Float32Array maps to one, so the products are rounded to f32 too.
    normals(sizeOf(shape), 7, name).map((value) => value * scale),
    shape,
  );
}

/** `count` numbers in the open interval (0, 1). */
export function randomUniforms(name: string, count: number): Array64 {
  const key = rowKey(name);
  return array(Array.from({ length: count }, (_, i) => uniform(7, 0, 0, key, 0, i)));
}

/** `count` whole numbers below `limit`: unordered, with repetitions. */
export function randomIds(name: string, count: number, limit: number): Array64 {
  return array(Array.from(randomUniforms(name, count).data, (u) => Math.floor(u * limit)));
}
