// The losses of the settings in whole games: what each takes, the mixed reference of α-SPIN, the triplets of T-SPIN.

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Interrupted, playSpin, resumeRun, type SpinInput, spinSchema } from '../../src/recipes/index.ts';
import { readLogProbs, readPairs } from '../../src/recipes/run/records.ts';
import { lossOf } from '../../src/recipes/settings/settings.ts';
import { type RunEvent, readRunLog } from '../../src/report/index.ts';
import { lossNames, startOf } from '../../src/training/index.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings } from './tiny-game.ts';

const BETA = 0.5;
let home: string;
let game: TinyGame;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-losses-'));
  game = await makeTinyGame(home);
});
afterAll(() => rm(home, { recursive: true, force: true }));

/** One batch with every pair, twice: the first step of an iteration sees all of them at rate 0. */
const settings = (name: string, changes: Partial<SpinInput>) =>
  tinySettings(game, join(home, name), { beta: BETA, batch_size: 100, num_train_epochs: 2, ...changes });
const stepsOf = (events: readonly RunEvent[], t: number) =>
  events.flatMap((event) => (event.type === 'train.step' && event.iteration === t ? [event] : []));
const weights = (name: string, t: number) => readFile(join(home, name, `iteration-${t}/model/model.safetensors`));
const mean = (values: readonly number[]) => values.reduce((sum, x) => sum + x, 0) / values.length;
const sum = (values: Float32Array) => values.reduce((total, x) => total + x, 0);

describe('settings', () => {
  const parse = (given: object) => spinSchema.safeParse({ model: 'm', data: 'd', ...given });
  const problems = (given: object) =>
    parse(given).error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? [];
  const lossFor = (given: object, t = 1) => lossOf(parse(given).data!, t);

  it('name every loss, SPIN’s own by default', () => {
    for (const loss of lossNames) expect(lossFor({ loss, sft_weight: 1 }).name).toBe(loss);
    expect(lossFor({})).toEqual({ name: 'logistic', labelSmoothing: 0, lengthNormalization: false });
  });

  it('give each its parameters, or the defaults', () => {
    expect(lossFor({ label_smoothing: 0.2, length_normalization: true })).toEqual({
      name: 'logistic',
      labelSmoothing: 0.2,
      lengthNormalization: true,
    });
    expect(lossFor({ loss: 'robust' })).toMatchObject({ labelSmoothing: 0.1 });
    expect(lossFor({ loss: 'dpop' })).toMatchObject({ dpopLambda: 50 });
    expect(lossFor({ loss: 'dpop', dpop_lambda: 5 })).toMatchObject({ dpopLambda: 5 });
    expect(lossFor({ loss: 'simpo' })).toEqual({ name: 'simpo', simpoGamma: 0.5 });
    expect(lossFor({ loss: 'simpo', simpo_gamma: 1.5 })).toEqual({ name: 'simpo', simpoGamma: 1.5 });
    expect(lossFor({ loss: 't-spin' })).toEqual({ name: 't-spin', historyWeight: 0.1 });
    expect(lossFor({ loss: 't-spin', history_weight: 0.3 })).toEqual({ name: 't-spin', historyWeight: 0.3 });
    expect(lossFor({ loss: 't-spin' }, 0)).toEqual({ name: 't-spin', historyWeight: 0 });
  });

  it('refuse a parameter of another loss, by its name', () => {
    expect(problems({ loss: 'hinge', label_smoothing: 0.1 })).toEqual([
      'label_smoothing: label_smoothing is no parameter of the loss hinge, only of logistic, robust',
    ]);
    expect(problems({ simpo_gamma: 1, history_weight: 0 })).toEqual([
      'simpo_gamma: simpo_gamma is no parameter of the loss logistic, only of simpo',
      'history_weight: history_weight is no parameter of the loss logistic, only of t-spin',
    ]);
    expect(problems({ loss: 'simpo', reference_alpha: 0 })[0]).toMatch(/^reference_alpha: .* no parameter of .* simpo/);
    expect(problems({ loss: 'ipo', length_normalization: false })[0]).toMatch(/^length_normalization: .* ipo/);
  });

  it('refuse values out of range, and ORPO without its cross-entropy', () => {
    expect(problems({ label_smoothing: 0.5 })).toHaveLength(1);
    expect(problems({ reference_alpha: 1.1 })).toHaveLength(1);
    expect(problems({ loss: 'dpop', dpop_lambda: -1 })).toHaveLength(1);
    expect(problems({ loss: 'orpo', sft_weight: 0 })).toEqual([expect.stringMatching(/^sft_weight: .*must not be 0/)]);
    expect(problems({ loss: 'orpo' })).toEqual([]);
  });
});

describe('a game', () => {
  it.each(['hinge', 'ipo', 'dpop'] as const)('with %s starts each iteration at its ℓ(0)', async (loss) => {
    const { context, events, said } = listener();
    const given = settings(loss, { loss });
    await playSpin(given, context);
    const start = startOf(lossOf(given, 0), BETA)!;
    for (const t of [0, 1]) expect(stepsOf(events, t)[0]!.loss).toBeCloseTo(start, 3);
    expect(said.join('\n')).toContain(`${loss} loss (ℓ(0) = ${start.toPrecision(4)}), β ${BETA}`);
  });

  it.each(['simpo', 'orpo', 't-spin'] as const)(
    'with %s, which has no reference, is played to its end, and nothing is scored under the opponent',
    async (loss) => {
      const { context, events } = listener();
      await playSpin(settings(loss, { loss, sft_weight: 1, iterations: 1 }), context);
      const stages = events.flatMap((e) => (e.type === 'stage.finished' && e.iteration === 0 ? [e.stage] : []));
      expect(stages).toEqual(['generate', 'train', 'evaluate']);
      expect(await readdir(join(home, loss, 'iteration-0/logprobs'))).toEqual(['sampler.safetensors']);
      const [first, second] = stepsOf(events, 0);
      expect(first!['rewards/real']).toBeLessThan(0); // β times a mean log-prob
      expect(Number.isFinite(second!.loss)).toBe(true);
    },
  );
});

describe('the mixed reference of α-SPIN', () => {
  const alpha = 0.25;
  const mixed = (name: string) => settings(name, { reference_alpha: alpha });

  it('puts α of the SFT model’s log-probs into the reference, from iteration 1 on', async () => {
    const { context, events } = listener();
    await playSpin(mixed('mixed'), context);
    const run = join(home, 'mixed');
    expect(await readdir(join(run, 'iteration-0/logprobs'))).not.toContain('base');
    expect(stepsOf(events, 0)[0]!.loss).toBeCloseTo(Math.LN2, 4);

    const folder = join(run, 'iteration-1/logprobs');
    const own = (await readdir(folder)).find((name) => /^[0-9a-f]{16}$/.test(name))!;
    const scores = async (name: string) => {
      const shards = await Promise.all(
        (await readdir(join(folder, name))).map((shard) => readLogProbs(join(folder, name, shard))),
      );
      return new Map(shards.flatMap((shard) => [...shard!]));
    };
    const [opponent, base] = [await scores(own), await scores('base')];
    const sampler = await readLogProbs(join(folder, 'sampler.safetensors'));
    // θ = θ_t: r(y) = β·[log p_θt − (1 − α)·log p_θt − α·log p_θ0] = β·α·log[p_θt/p_θ0]
    const pairs = [0, 1].map((t) => readPairs(join(run, `iteration-${t}/pairs.jsonl`)));
    const rewards = (await Promise.all(pairs)).flat().map((pair) => {
      const [real, generated] = (['real', 'generated'] as const).map((role) => {
        const name = `${role}/${pair.iteration}/${pair.id}/0`;
        const current = opponent.get(name) ?? sampler!.get(`${pair.id}/0`)!;
        return BETA * alpha * (sum(current) - sum(base.get(name)!));
      });
      return { real: real!, generated: generated! };
    });
    const first = stepsOf(events, 1)[0]!;
    expect(Math.abs(first['rewards/real']!)).toBeGreaterThan(1e-3);
    expect(first['rewards/real']).toBeCloseTo(mean(rewards.map(({ real }) => real)), 4);
    expect(first['rewards/generated']).toBeCloseTo(mean(rewards.map(({ generated }) => generated)), 4);
    const losses = rewards.map(({ real, generated }) => Math.log1p(Math.exp(generated - real)));
    expect(first.loss).toBeCloseTo(mean(losses), 4);
  });

  it('stopped while the SFT model is in the engine, a resume trains the opponent all the same', async () => {
    const controller = new AbortController();
    // Shards are counted from 0 for the opponent and again for the SFT model: stop at the second 0.
    let first = 0;
    const { context } = listener((event) => {
      const isFirst = event.type === 'shard.finished' && event.stage === 'reference' && event.iteration === 1;
      if (isFirst && event.shard === 0 && ++first === 2) controller.abort();
    }, controller.signal);
    await expect(playSpin(mixed('stopped'), context)).rejects.toBeInstanceOf(Interrupted);
    expect(await readdir(join(home, 'stopped/iteration-1/logprobs/base'))).toHaveLength(1);
    await resumeRun(join(home, 'stopped'), listener().context);
    expect((await weights('stopped', 1)).equals(await weights('mixed', 1))).toBe(true);
  });
});

describe('the triplets of T-SPIN', () => {
  it('begin in iteration 1, with the SFT model’s answer to the same prompt', async () => {
    const { context, events } = listener();
    const history = 0.5;
    await playSpin(settings('triplets', { loss: 't-spin', history_weight: history, replay: false }), context);
    const run = join(home, 'triplets');
    const [before, now] = await Promise.all([0, 1].map((t) => readPairs(join(run, `iteration-${t}/pairs.jsonl`))));
    const initial = new Map(before!.map(({ id, generated }) => [id, generated]));
    const triplets = now!.filter(({ id }) => initial.has(id));
    expect(triplets.length).toBeGreaterThan(5);

    // Tokens computed: prompt | real | generated, and the third answer only in iteration 1; the last token of each is not.
    const pairTokens = (of: typeof triplets) =>
      of.reduce((n, p) => n + p.promptIds.length + p.real.length + p.generated.length - 2, 0);
    const third = triplets.reduce((n, { id }) => n + initial.get(id)!.length - 1, 0);
    expect(stepsOf(events, 0)[0]!.tokens).toBe(pairTokens(before!));
    expect(stepsOf(events, 1)[0]!.tokens).toBe(pairTokens(triplets) + third);

    // The reward is β·log p_θ: here of the whole answer under θ_1, as the opponent's log-probs have it.
    const sampler = await readLogProbs(join(run, 'iteration-1/logprobs/sampler.safetensors'));
    const generated = mean(triplets.map(({ id }) => BETA * sum(sampler!.get(`${id}/0`)!)));
    const [first] = stepsOf(events, 1);
    expect(first!['rewards/generated']).toBeCloseTo(generated, 3);
    const said = (await readRunLog(run)).flatMap((event) => (event.type === 'note' ? [event.message] : []));
    if (triplets.length < now!.length) {
      expect(said.join('\n')).toContain(`${now!.length - triplets.length} pairs are left out because the SFT model's`);
    }
  });
});
