// Settings by iteration in whole games: hand-derived rates, steps, samples, windows and weights, as they reach the loss.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Interrupted, playSpin, resumeRun, type SpinInput, spinSchema } from '../../src/recipes/index.ts';
import type { OpenEngine } from '../../src/recipes/run/engines.ts';
import type { FlaggedRecord, PairRecord } from '../../src/recipes/run/records.ts';
import { chooseRows } from '../../src/recipes/run/rows.ts';
import { at, inWords, normalized, replayedBefore, replayedIn } from '../../src/recipes/settings/schedules.ts';
import type { RunEvent } from '../../src/report/index.ts';
import { disguised } from './disguised.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings } from './tiny-game.ts';

describe('a schedule', () => {
  it('has its last value for every later iteration', () => {
    expect([0, 1, 2, 9].map((t) => at([0.1, 0.2, 5], t))).toEqual([0.1, 0.2, 5, 5]);
    expect([0, 9].map((t) => at(0.1, t))).toEqual([0.1, 0.1]);
    expect([inWords(0.1), inWords([0.1, 5])]).toEqual(['0.1', '0.1, 5 by iteration']);
  });

  it('is the same setting however it is written, also when it is read again', () => {
    const parse = (given: object) => spinSchema.parse({ model: 'm', data: 'd', ...given });
    expect(parse({ beta: [2] }).beta).toBe(2);
    expect(parse({ beta: [1, 2, 2, 2] }).beta).toEqual([1, 2]);
    expect(parse({ beta: [2, 2, 1, 2] }).beta).toEqual([2, 2, 1, 2]);
    expect([true, false, [0, 1, 1]].map((replay) => parse({ replay }).replay)).toEqual([1, 0, [0, 1]]);
    const once = parse({ beta: [1, 2, 2], replay: [0, 2], replay_weights: [0.5, 0.5], sample: [9, 8, 8] });
    expect(spinSchema.parse(once)).toEqual(once);
  });
});

describe('a replay window', () => {
  const window = (replay: number | number[], weights: number | number[] | undefined, t: number) =>
    replayedIn({ replay, replay_weights: weights }, t).map(({ iteration, weight }) => `${iteration}:${weight}`);

  it('reaches back as far as there are iterations, and leaves out what weighs nothing', () => {
    expect(window(1, undefined, 0)).toEqual([]);
    expect(window(1, undefined, 3)).toEqual(['2:1']);
    expect(window(3, [0.5, 0.25], 2)).toEqual(['1:0.5', '0:0.25']);
    expect(window(3, [0.5, 0.25], 5)).toEqual(['4:0.5', '3:0.25', '2:0.25']);
    expect(window([0, 0, 2], [0, 1], 1)).toEqual([]);
    expect(window([0, 0, 2], [0, 1], 2)).toEqual(['0:1']);
  });

  it('says how far a game looks back behind its first iteration', () => {
    const reach = (replay: number | number[], first: number, iterations: number, weights?: number[]) =>
      replayedBefore({ replay, replay_weights: weights, start_iteration: first, iterations });
    expect(reach(1, 0, 4)).toBe(0);
    expect(reach(1, 3, 4)).toBe(1);
    expect(reach(9, 3, 1)).toBe(3);
    // Iteration 2 reaches back to 1, and iteration 3 to 0, which is two before the first.
    expect(reach([0, 0, 1, 3], 2, 1)).toBe(1);
    expect(reach([0, 0, 1, 3], 2, 2)).toBe(2);
    expect(reach(2, 3, 1, [1, 0])).toBe(1);
    expect(reach(1, 9999, Number.MAX_SAFE_INTEGER)).toBe(1);
  });

  it('weighs pairs so that their mean weight is 1', () => {
    expect(normalized([1, 1, 1])).toEqual([1, 1, 1]);
    expect(normalized([1, 1, 0.5, 0.5])).toEqual([4 / 3, 4 / 3, 2 / 3, 2 / 3]);
    expect(normalized([])).toEqual([]);
  });
});

describe('a sample of rows', () => {
  const rows = ['a', 'a', 'b', 'c', 'c', 'd'].map((id, i) => ({
    id,
    file: 'f',
    line: i + 1,
    prompt: [{ role: 'user' as const, content: id }],
    response: id,
  }));
  const choose = (choice: { sample?: number | number[]; limit?: number }) =>
    chooseRows(rows, [], { sample: undefined, limit: undefined, seed: 0, contaminated: 'keep', ...choice });
  const idsOf = (chosen: readonly { id: string }[]) => [...new Set(chosen.map(({ id }) => id))];

  it('counts several answers to a row as one row, and has smaller samples within larger ones', () => {
    expect(choose({ limit: 1 }).chosen.map(({ line }) => line)).toEqual([1, 2]);
    const { chosen, ofSample } = choose({ sample: [1, 3, 2] });
    const [one, two, three] = [idsOf(ofSample(1)), idsOf(ofSample(2)), idsOf(chosen)];
    expect([one.length, two.length, three.length]).toEqual([1, 2, 3]);
    expect(two).toEqual(expect.arrayContaining(one));
    expect(three).toEqual(expect.arrayContaining(two));
    expect(chosen).toEqual(rows.filter(({ id }) => three.includes(id)));
  });
});

describe('a game', () => {
  let home: string;
  let game: TinyGame;
  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'selfplay-schedules-'));
    game = await makeTinyGame(home);
  });
  afterAll(() => rm(home, { recursive: true, force: true }));

  const settings = (name: string, changes: Partial<SpinInput>) => tinySettings(game, join(home, name), changes);
  const linesOf = async <T>(run: string, t: number, name: string) =>
    (await readFile(join(home, run, `iteration-${t}`, name), 'utf8'))
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as T);
  const recordsOf = (run: string, t: number) => linesOf<PairRecord>(run, t, 'pairs.jsonl');
  const idsOf = async (run: string, t: number) => new Set((await recordsOf(run, t)).map(({ id }) => id));
  const stepsOf = (events: readonly RunEvent[], t: number) =>
    events.flatMap((event) => (event.type === 'train.step' && event.iteration === t ? [event] : []));

  it('has in each iteration its own rate, epochs, β, rows, samples and window', async () => {
    /** The weights of pairs in each micro-batch, in order. */
    const weights: number[][] = [];
    const heard = listener();
    const openEngine: OpenEngine = async () => {
      const onWeights = (of: Iterable<number>) => void weights.push([...of]);
      return { engine: await disguised({ onWeights }), choice: { reasons: ['the test counts weights'] } };
    };
    const played = settings('lists', {
      iterations: 3,
      drop: [],
      sample: [12, 8, 4],
      samples_per_prompt: [1, 1, 2],
      beta: [0.1, 0.5],
      learning_rate: [1e-3, 1e-4],
      num_train_epochs: [1, 2, 3],
      replay: [0, 2],
      replay_weights: [0.5, 0.25],
      warmup_ratio: 0,
      batch_size: 28,
      micro_batch_tokens: 10_000,
    });
    await playSpin(played, { ...heard.context, openEngine });
    const rates = (t: number) => stepsOf(heard.events, t).map(({ learning_rate }) => learning_rate);
    // One batch per epoch. Linear without warm-up: rate·(1 − step/steps).
    expect(rates(0)).toEqual([1e-3]);
    expect(rates(1)).toEqual([1e-4, 1e-4 / 2]);
    expect(rates(2)).toEqual([1e-4, 1e-4 * (1 - 1 / 3), 1e-4 * (1 - 2 / 3)]);
    // Weighted or not, iterations begin at ℓ(0) when a batch has all pairs.
    for (const t of [0, 1, 2]) expect(stepsOf(heard.events, t)[0]!.loss).toBeCloseTo(Math.LN2, 4);

    // A smaller sample is part of a larger one.
    const [first, second, third] = [await idsOf('lists', 0), await idsOf('lists', 1), await idsOf('lists', 2)];
    expect([first.size, second.size, third.size]).toEqual([12, 8, 4]);
    expect([...second].every((id) => first.has(id)) && [...third].every((id) => second.has(id))).toBe(true);
    const names = (await recordsOf('lists', 2)).map(({ id, responses }) => `${id}/${responses[1].sample}`);
    expect(names).toEqual([...third].flatMap((id) => [`${id}/0`, `${id}/1`]));

    // Iteration 1: 8 new pairs and 12 at ½, which make 14. Iteration 2: 8 new ones, 8 at ½ and 12 at ¼, which make 15.
    const counted = (step: number) => {
      const found = new Map<number, number>();
      for (const w of weights[step]!)
        found.set(Number(w.toPrecision(6)), (found.get(Number(w.toPrecision(6))) ?? 0) + 1);
      return [...found].sort(([a], [b]) => b - a);
    };
    const rounded = (w: number) => Number(w.toPrecision(6));
    // Before the game its longest pair is tried alone, for memory, twice.
    expect(weights.splice(0, 2)).toEqual([[1], [1]]);
    expect(weights).toHaveLength(6);
    expect(counted(0)).toEqual([[rounded(1 / 12), 12]]);
    for (const step of [1, 2])
      expect(counted(step)).toEqual([
        [rounded(1 / 14), 8],
        [rounded(1 / 28), 12],
      ]);
    for (const step of [3, 4, 5]) {
      expect(counted(step)).toEqual([
        [rounded(1 / 15), 8],
        [rounded(1 / 30), 8],
        [rounded(1 / 60), 12],
      ]);
    }

    const text = heard.said.join('\n');
    expect(text).toContain(
      '(β 0.1, 0.5 by iteration, rmsprop, learning rate 0.001, 0.0001 by iteration, epochs 1, 2, 3 by',
    );
    expect(text).toContain('Iteration 0: learning from 12 pairs in 1 steps, logistic loss (ℓ(0) = 0.6931), β 0.1, ');
    expect(text).toContain(
      'Iteration 2: learning from 28 pairs (8 of iteration 1 at weight 0.5, 12 of iteration 0 at weight 0.25) in 3 steps, ' +
        'logistic loss (ℓ(0) = 0.6931), β 0.5, learning rate 0.0001.',
    );
  });

  it('samples as each iteration is to: greedy first, then with temperature', async () => {
    await playSpin(
      settings('greedy', { temperature: [0, 1], samples_per_prompt: 3, limit: 10, drop: [] }),
      listener().context,
    );
    const distinct = async (t: number) => {
      const answers = new Map<string, Set<string>>();
      for (const { id, responses } of await recordsOf('greedy', t)) {
        answers.set(id, (answers.get(id) ?? new Set()).add(responses[1].ids.join()));
      }
      return [...answers.values()].map(({ size }) => size);
    };
    expect(await distinct(0)).toEqual(Array.from({ length: 10 }, () => 1));
    expect(Math.max(...(await distinct(1)))).toBeGreaterThan(1);
  });

  it('has of several samples the first as it would be alone, and drops repeated ones once', async () => {
    const one = { iterations: 1, num_train_epochs: 1, limit: 20 };
    await playSpin(settings('alone', one), listener().context);
    const heard = listener();
    await playSpin(settings('several', { ...one, samples_per_prompt: 4 }), heard.context);
    const records = await recordsOf('several', 0);
    expect(records).toHaveLength(80);
    const firsts = records.filter(({ responses }) => responses[1].sample === 0);
    expect(firsts).toEqual(await recordsOf('alone', 0));
    const taking = records.filter(({ excluded }) => excluded === null);
    expect(new Set(taking.map(({ id, responses }) => `${id} ${responses[1].ids}`)).size).toBe(taking.length);
    const repeated = records.filter(({ excluded }) => excluded === 'duplicate-sample');
    expect(repeated.length).toBeGreaterThan(0);
    const flagged = await linesOf<FlaggedRecord>('several', 0, 'flagged.jsonl');
    const named = ({ id, sample }: { id: string; sample: number }) => `${id}/${sample}`;
    expect(flagged.filter(({ reasons }) => reasons.includes('duplicate-sample')).map(named)).toEqual(
      repeated.map(({ id, responses }) => named({ id, sample: responses[1].sample })),
    );
    // In the log-probs and in training each has its own: every pair starts at a margin of 0.
    expect(stepsOf(heard.events, 0)[0]!['rewards/margins']).toBeCloseTo(0, 3);
    expect(heard.said.join('\n')).toContain(`learning from ${taking.length} pairs in `);
  });

  it('with several samples goes on between shards as if it had not stopped', async () => {
    const changes = { iterations: 1, num_train_epochs: 1, limit: 20, samples_per_prompt: 4, shard_size: 6 };
    const controller = new AbortController();
    const { context, events } = listener((event) => {
      if (event.type === 'shard.finished' && event.shard === 1) controller.abort();
    }, controller.signal);
    await expect(playSpin(settings('stopped', changes), context)).rejects.toBeInstanceOf(Interrupted);
    const counts = events.flatMap((event) => (event.type === 'shard.finished' ? [event.counts['rows']] : []));
    expect(counts).toEqual([24, 24]);
    await resumeRun(join(home, 'stopped'), listener().context, {});
    for (const name of ['pairs.jsonl', 'model/model.safetensors']) {
      const [a, b] = ['stopped', 'several'].map((run) => readFile(join(home, run, 'iteration-0', name)));
      expect((await a!).equals(await b!), name).toBe(true);
    }
  });

  it('takes its governor’s remedies from the values of the iteration', async () => {
    const governed = { governor: true, dev_size: 20, max_attempts: 2, iterations: 2, replay: false } as const;
    const { context, said } = listener();
    await playSpin(settings('governed', { ...governed, learning_rate: [1e-5, 0.5], beta: [0.1, 0.2] }), context);
    const text = said.join('\n');
    expect(text).toMatch(/Iteration 0: the game may go on/);
    expect(text).toMatch(/Iteration 1: attempt 2 with learning rate (0\.1667 and β 0\.2|0\.5 and β 0\.6)\./);
  });

  it('leaves out rows that are longer than the user wants them, few or many, and says how many', async () => {
    const { context, said } = listener();
    await playSpin(settings('short', { iterations: 1, max_length: 10, stop_after: 'generate' }), context);
    const left = (await recordsOf('short', 0)).map(({ responses }) => responses[0].text);
    // Sentences are longer, and more than a twentieth of the rows.
    expect(left.filter((text) => text.startsWith('it'))).toEqual([]);
    const sentences = game.rows.filter(({ answer }) => answer.startsWith('it')).length;
    expect(sentences).toBeGreaterThan(10);
    expect(said.join('\n')).toContain(`left out ${sentences} rows that are longer than max_length (10)`);
  });

  it('refuses limits that no row keeps', async () => {
    const played = playSpin(settings('none', { max_length: 64, max_prompt_length: 1 }), listener().context);
    await expect(played).rejects.toThrow(
      'none of the 36 rows to train on can be used; 36 are longer than max_length (64) or max_prompt_length (1)',
    );
  });
});
