/**
 * The KV cache: two states per layer in the engine. It is never allocated for the worst case: slots are added when a
 * call has that many rows, positions in steps of 64 when the longest active row needs them. Every step reads all
 * positions of its rows, so a call begins with few again.
 */
import type { Engine } from '../engine/index.ts';
import type { LanguageModel } from '../models/index.ts';
import { failure } from '../util/index.ts';
import { cacheNames } from './programs.ts';

const CAPACITY_STEP = 64;

export interface KeyValueCache {
  /** Forgets all rows and goes back to 64 positions. */
  clear(): Promise<void>;
  /** Makes room for rows in slots 0..slots-1 and positions 0..positions-1; what is there stays. */
  reserve(slots: number, positions: number): Promise<void>;
  /** Drops the states; a second call does nothing. */
  drop(): Promise<void>;
}

/** Creates a cache of this name with one slot of 64 positions. Throws a failure when the engine has it already. */
export async function openCache(engine: Engine, model: LanguageModel, name: string): Promise<KeyValueCache> {
  const names = Array.from({ length: model.layers }, (_, layer) => Object.values(cacheNames(name, layer))).flat();
  if ((await engine.states()).has(names[0]!)) {
    throw failure({ what: 'a generator is open on this engine already', fix: 'dispose it before opening another' });
  }
  const size = { slots: 1, capacity: CAPACITY_STEP };
  const shape = [1, model.keyValueHeads, CAPACITY_STEP, model.headDim];
  for (const name of names) await engine.createState(name, shape, { precision: 'compute' });

  async function resize(axis: number, key: keyof typeof size, to: number): Promise<void> {
    if (to === size[key]) return;
    for (const name of names) await engine.resizeState(name, axis, to);
    size[key] = to;
  }

  return {
    clear: () => resize(2, 'capacity', CAPACITY_STEP),
    reserve: async (slots, positions) => {
      const capacity = Math.ceil(positions / CAPACITY_STEP) * CAPACITY_STEP;
      await resize(0, 'slots', Math.max(size.slots, slots));
      await resize(2, 'capacity', Math.max(size.capacity, capacity));
    },
    drop: async () => {
      for (const name of names.splice(0)) await engine.dropState(name);
    },
  };
}
