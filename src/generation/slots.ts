/**
 * Which row sits in which slot of the cache, and when waiting prompts come in.
 *
 * Decoding runs over slots 0..B-1, so the active rows must be dense. A finished row leaves a hole; a waiting prompt
 * fills it, or, when none comes in, the last row moves into it and B shrinks. Prompts come in when an eighth of the
 * slots is free, so that one prefill reads several: the weights are read once for all of them, and on average a
 * sixteenth of the slots waits. Prompts keep the order of the requests.
 */
import type { Row } from './requests.ts';

/** A prefill takes whole prompts up to this many tokens (one longer prompt comes alone): it bounds the activations. */
const PREFILL_TOKENS = 1024;

export type Slots = (Row | undefined)[];

/** Indices below `count` without a row, ascending. */
function freeSlots(slots: Slots, count: number): number[] {
  return Array.from({ length: count }, (_, slot) => slot).filter((slot) => slots[slot] === undefined);
}

/** Whether prompts should come in now: enough slots are free for the group, for all that wait, or no row is active. */
export function shouldRefill(slots: Slots, count: number, waiting: number): boolean {
  if (waiting === 0) return false;
  const free = freeSlots(slots, count).length;
  return free === count || free >= Math.min(waiting, Math.max(1, Math.floor(count / 8)));
}

/** Takes the next prefill from the front of `waiting` and seats it in free slots, lowest first. */
export function seatNext(slots: Slots, count: number, waiting: Row[]): { row: Row; slot: number }[] {
  const seated: { row: Row; slot: number }[] = [];
  let tokens = 0;
  for (const slot of freeSlots(slots, count)) {
    const row = waiting[seated.length];
    if (!row || (seated.length > 0 && tokens + row.promptIds.length > PREFILL_TOKENS)) break;
    tokens += row.promptIds.length;
    slots[slot] = row;
    seated.push({ row, slot });
  }
  waiting.splice(0, seated.length);
  return seated;
}

/** Closes the holes by moving last rows forward; returns the moves, to be done in the cache in this order. */
export function compact(slots: Slots): { from: number[]; to: number[] } {
  const from: number[] = [];
  const to: number[] = [];
  for (;;) {
    while (slots.length > 0 && slots[slots.length - 1] === undefined) slots.pop();
    const hole = slots.indexOf(undefined);
    if (hole < 0) return { from, to };
    slots[hole] = slots.pop();
    from.push(slots.length);
    to.push(hole);
  }
}
