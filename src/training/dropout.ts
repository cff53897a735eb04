/**
 * Keys of tokens for the masks of dropout (graph/dropout.ts): random numbers of the run, addressed by seed, iteration,
 * step, place of the item in its batch, and place of the token in its item. So the masks do not depend on how a batch is
 * split into micro-batches, and a resumed step has those of the step that was interrupted.
 */
import { type Group, packedLength } from '../pairs/index.ts';
import { words } from '../util/index.ts';

export interface MaskAddress {
  readonly seed: number;
  /** null in plain SFT. */
  readonly iteration: number | null;
}

/**
 * One key for every packed token of the items.
 * @param step 1-based within the iteration
 * @param first place of the first item in its batch
 */
export function dropoutKeys(
  items: readonly Group[],
  { seed, iteration }: MaskAddress,
  step: number,
  first: number,
): Int32Array {
  const keys = new Int32Array(items.reduce((n, item) => n + packedLength(item), 0));
  let at = 0;
  items.forEach((item, i) => {
    const length = packedLength(item);
    keys.set(words(length, seed, `dropout ${iteration ?? 'sft'} step ${step} item ${first + i}`), at);
    at += length;
  });
  return keys;
}
