/**
 * The KV cache: two states per layer in the engine. It is never allocated for the worst case: slots are added when a
 * call has that many rows, positions in steps of 64 when the longest active row needs them.
 */
import type { Engine } from '../engine/index.ts';
import type { LanguageModel } from '../models/index.ts';
import { failure } from '../util/index.ts';
import { cacheNames } from './programs.ts';

const CAPACITY_STEP = 64;

export interface KeyValueCache {
  /** Makes room for rows in slots 0..slots-1 and positions 0..positions-1; what is there stays. */
  reserve(slots: number, positions: number): Promise<void>;
  /** Drops the states; a second call does nothing. */
  drop(): Promise<void>;
}

/** Creates the cache with one slot of 64 positions. Throws a failure when the engine has one already. */
export async function openCache(engine: Engine, model: LanguageModel): Promise<KeyValueCache> {
  const names = Array.from({ length: model.layers }, (_, layer) => Object.values(cacheNames(layer))).flat();
  if ((await engine.states()).has(names[0]!)) {
    throw failure({ what: 'a generator is open on this engine already', fix: 'dispose it before opening another' });
  }
  const size = { slots: 1, capacity: CAPACITY_STEP };
  for (const name of names) await engine.createState(name, [1, model.keyValueHeads, CAPACITY_STEP, model.headDim]);

  async function grow(axis: number, key: keyof typeof size, needed: number): Promise<void> {
    if (needed <= size[key]) return;
    for (const name of names) await engine.resizeState(name, axis, needed);
    size[key] = needed;
  }

  return {
    reserve: async (slots, positions) => {
      await grow(0, 'slots', slots);
      await grow(2, 'capacity', Math.ceil(positions / CAPACITY_STEP) * CAPACITY_STEP);
    },
    drop: async () => {
      for (const name of names.splice(0)) await engine.dropState(name);
    },
  };
}
