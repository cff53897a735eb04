/**
 * The mask of dropout: integer arithmetic on a token's key and a column's number, so that every engine makes the same
 * mask to the bit, in the forward pass and again for the gradient, without a matrix of random numbers ever travelling.
 *
 * Element (t, c) stays when the top of (key_t · number_c) mod 2³², read as a signed number, is at least a threshold: the
 * multiply-shift hash of Dietzfelbinger et al. (1997), whose multiplier is random and odd. Here both are: keys come from
 * the run's random numbers, column numbers from a mixing of salt and column (the constants of "lowbias32" as improved by
 * TheIronBorn). One multiplication and one comparison an element are all that every library has and that costs little.
 */
import type { OpAttributes } from './ops.ts';

/** x ↦ well mixed x, a bijection of 32-bit numbers. */
function mix(x: number): number {
  let h = x >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x21f0aaad);
  h = Math.imul(h ^ (h >>> 15), 0x735a2d97);
  return (h ^ (h >>> 15)) >>> 0;
}

/** Odd numbers of `width` columns, int32. */
export function dropoutColumns(salt: number, width: number): Int32Array {
  return Int32Array.from({ length: width }, (_, column) => mix(mix(salt) + column) | 1);
}

/** Products below it are dropped, int32. */
export function dropoutThreshold({ probability }: OpAttributes['dropout']): number {
  return Math.min(Math.round(probability * 2 ** 32), 2 ** 32 - 1) - 2 ** 31;
}
