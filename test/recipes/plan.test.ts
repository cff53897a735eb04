// The memory planner: decisions for given limits, by hand; in a game: what it freezes, what a resume repeats, what it refuses.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type MemoryNow, openEngine } from '../../src/engine/index.ts';
import { type Group, packedLength } from '../../src/pairs/index.ts';
import { pairOfRow } from '../../src/recipes/game/longest.ts';
import {
  fineTune,
  playSpin,
  probe,
  probeSchema,
  type RecipeContext,
  resumeRun,
  trainOnPairs,
} from '../../src/recipes/index.ts';
import { firstThatFits, limitOf, longestThatFits, plansFor } from '../../src/recipes/run/plan.ts';
import { exists } from '../../src/util/index.ts';
import { listener, makeTinyGame, type TinyGame, tinyDpo, tinySettings, tinySft } from './tiny-game.ts';

const GIB = 2 ** 30;
const plan = (micro_batch_tokens: number, gradient_checkpointing: boolean) => ({
  micro_batch_tokens,
  gradient_checkpointing,
});

describe('what training may take', () => {
  it('is what it has and what is free, less a thirty-second of all, and 256 MiB at least', () => {
    expect(limitOf({ used: GIB, limit: 20 * GIB, total: 32 * GIB }, undefined)).toBe(19 * GIB);
    expect(limitOf({ used: GIB, limit: 3 * GIB, total: 4 * GIB }, undefined)).toBe(2.75 * GIB);
  });

  it('is what the user says, if anything', () => {
    expect(limitOf({ used: GIB, limit: 3 * GIB, total: 4 * GIB }, 3.5)).toBe(3.5 * GIB);
  });
});

describe('plans', () => {
  const settings = { micro_batch_tokens: 2048, gradient_checkpointing: 'auto' } as const;

  it('make micro-batches smaller first, then compute blocks again, then take items alone', () => {
    expect(plansFor(settings, 300)).toEqual([
      ...[2048, 1024, 512].map((tokens) => plan(tokens, false)),
      ...[2048, 1024, 512, 300].map((tokens) => plan(tokens, true)),
    ]);
  });

  it('never split an item, whatever its length', () => {
    expect(plansFor(settings, 700)).toEqual([
      plan(2048, false),
      plan(1024, false),
      ...[2048, 1024, 700].map((tokens) => plan(tokens, true)),
    ]);
    expect(plansFor(settings, 5000)).toEqual([plan(2048, false), plan(2048, true)]);
  });

  it('keep to what the user says of gradient checkpointing', () => {
    const only = (gradient_checkpointing: 'true' | 'false') =>
      plansFor({ micro_batch_tokens: 1024, gradient_checkpointing }, 100);
    expect(only('true')).toEqual([1024, 512, 100].map((tokens) => plan(tokens, true)));
    expect(only('false')).toEqual([1024, 512, 100].map((tokens) => plan(tokens, false)));
  });

  it('are chosen by what they need: 1 a token, a quarter of that with checkpointing', () => {
    const needed = ({ micro_batch_tokens: tokens, gradient_checkpointing: again }: ReturnType<typeof plan>) =>
      100 + tokens / (again ? 4 : 1);
    const chosen = (limit: number) => firstThatFits(plansFor(settings, 300), needed, limit);
    expect(chosen(2148)).toEqual(plan(2048, false));
    expect(chosen(2147)).toEqual(plan(1024, false));
    // 612 is 512 tokens, or 2048 with checkpointing.
    expect(chosen(612)).toEqual(plan(512, false));
    expect(chosen(611)).toEqual(plan(1024, true));
    expect(chosen(175)).toEqual(plan(300, true));
    expect(chosen(174)).toBeUndefined();
  });
});

describe('the longest item', () => {
  const row = { promptIds: new Int32Array(20), responseIds: Int32Array.of(4, 5, 6) };
  const none = { max_length: undefined, drop: [] };

  it('has the longest answer that may come: max_new_tokens, or what the context leaves', () => {
    const of = (settings: Parameters<typeof pairOfRow>[1], context = 64, answers = 1) =>
      packedLength(pairOfRow(row, settings, context, answers));
    // Of each answer all but its last token.
    expect(of({ ...none, max_new_tokens: 10 })).toBe(20 + 2 + 9);
    expect(of({ ...none, max_new_tokens: 100 })).toBe(20 + 2 + 43);
    expect(of({ ...none, max_new_tokens: 10 }, 64, 2)).toBe(20 + 2 + 9 + 9);
    const dropped = { max_new_tokens: 10, max_length: 25, drop: ['over-long' as const] };
    expect(of(dropped)).toBe(20 + 2 + 4);
    expect(of({ ...dropped, drop: [] })).toBe(20 + 2 + 9);
    expect(pairOfRow(row, { ...none, max_new_tokens: 4 }, 64, 1).responses[1]!.ids).toEqual(Int32Array.of(4, 5, 6, 4));
  });

  it('is shortened to the last length that fits', () => {
    const pair: Group = {
      promptIds: new Int32Array(60),
      responses: [{ ids: new Int32Array(20) }, { ids: new Int32Array(11) }],
    };
    // Prompt and answer shortened to 80 − x, packed with 10 tokens of the sample, take 80 − x + 9.
    expect(longestThatFits(pair, (group) => packedLength(group) <= 59)).toBe(50);
    expect(longestThatFits(pair, () => false)).toBeUndefined();
  });
});

describe('a run', () => {
  let directory: string;
  let game: TinyGame;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'selfplay-plan-'));
    game = await makeTinyGame(join(directory, 'game'), 5);
  });
  afterAll(() => rm(directory, { recursive: true }));

  /** A context whose engine says that it has this memory, on a device that is looked at only when asked. */
  function on(memory: MemoryNow, context: RecipeContext): RecipeContext {
    return {
      ...context,
      openEngine: async (options) => {
        const { engine, choice } = await openEngine({ ...options, device: 'cpu' });
        return { choice, engine: { ...engine, info: { ...engine.info, device: 'test' }, memory: async () => memory } };
      },
    };
  }
  const frozenIn = async (run: string) =>
    (JSON.parse(await readFile(join(run, 'manifest.json'), 'utf8')) as { memory: unknown }).memory;
  const lockedIn = async (run: string) =>
    (JSON.parse(await readFile(join(run, 'lock.json'), 'utf8')) as { settings: Record<string, unknown> }).settings;
  const many = { limit: 36, batch_size: 36, micro_batch_tokens: 2048, iterations: 1 };

  // 1.625 MiB beyond what training the longest pair alone takes. 36 pairs take 3.2 more than one does, 28 pairs (512 tokens)
  // 2.5; with checkpointing it is 1.9 and 1.4.
  const scarce = { used: GIB, limit: GIB + 257.625 * 2 ** 20, total: 4 * GIB };
  const ample = { used: GIB, limit: 90 * GIB, total: 99 * GIB };

  it('freezes its plan, says it, and a resume on another machine repeats it', async () => {
    const out = join(directory, 'frozen');
    const { context, said, events } = listener(undefined);
    await playSpin(tinySettings(game, out, { ...many, stop_after: 'generate' }), on(scarce, context));
    expect(await frozenIn(out)).toBeNull();
    await resumeRun(out, on(scarce, context));
    const planned = events.filter(({ type }) => type === 'memory.planned');
    expect(planned).toMatchObject([
      { micro_batch_tokens: 512, gradient_checkpointing: true, limit: GIB + 1.625 * 2 ** 20 },
    ]);
    expect(await frozenIn(out)).toEqual(plan(512, true));
    expect((await lockedIn(out))['micro_batch_tokens']).toBe(512);
    expect(said.filter((sentence) => sentence.startsWith('Memory: '))).toEqual([
      expect.stringMatching(
        /^Memory: training takes about 1\.00 GiB of the 1\.00 GiB that it may take; at most 512 tokens at once \(the longest item has \d+\), each block is computed again/,
      ),
    ]);
    const again = listener();
    await resumeRun(out, on(ample, again.context));
    expect(again.events.filter(({ type }) => type === 'memory.planned')).toEqual([]);
    expect(await frozenIn(out)).toEqual(plan(512, true));
  });

  it.each<[string, MemoryNow, (out: string, context: RecipeContext) => Promise<unknown>]>([
    [
      'a probe',
      scarce,
      (out, context) => {
        const { baselines: _, ...like } = tinySettings(game, out, { ...many, dev_size: 20, test_size: 0, limit: 28 });
        return probe(probeSchema.parse({ ...like, rates: [1e-3, 1e-2], betas: [0.5], rows: 28 }), context);
      },
    ],
    [
      'labelled pairs',
      // They are shorter.
      { ...scarce, limit: scarce.limit - 2 ** 20 },
      (out, context) => {
        const changes = { micro_batch_tokens: 2048, batch_size: 36, num_train_epochs: 2 };
        return trainOnPairs(tinyDpo(game, out, changes), context);
      },
    ],
  ])('of %s plans before anything else, in the same way', async (name, memory, begin) => {
    const out = join(directory, name);
    const stop = new AbortController();
    const first = listener((event) => {
      if (event.type === 'train.step') stop.abort();
    }, stop.signal);
    await expect(begin(out, on(memory, first.context))).rejects.toThrow('stopped as asked');
    const kinds = first.events.map(({ type }) => type);
    expect(kinds.filter((type) => type === 'memory.planned')).toHaveLength(1);
    expect(kinds.indexOf('memory.planned')).toBeLessThan(kinds.indexOf('stage.started'));
    const planned = await frozenIn(out);
    // Not what was asked for.
    expect(planned).not.toEqual(plan(2048, false));
    const again = listener();
    await resumeRun(out, on(ample, again.context));
    expect(again.events.filter(({ type }) => type === 'memory.planned')).toEqual([]);
    expect(await frozenIn(out)).toEqual(planned);
  });

  it('that would not fit is refused before its first step with what makes it fit, and leaves nothing', async () => {
    const out = join(directory, 'refused');
    const { context, events } = listener();
    const play = fineTune(
      tinySft(game, out, { gradient_checkpointing: 'false', max_memory: 1 }),
      on({ used: GIB - 90_000, limit: 9 * GIB, total: 9 * GIB }, context),
    );
    await expect(play).rejects.toMatchObject({
      kind: 'usage',
      what: expect.stringMatching(
        /training would not fit: it takes about 1\.00 GiB of memory of test for the longest item alone/,
      ),
      fix: expect.stringContaining('--lora-rank 16'),
    });
    expect(events.some(({ type }) => type === 'train.step' || type === 'memory.planned')).toBe(false);
    expect(await exists(out)).toBe(false);
  });
});
