// Controls beside a game: their steps and FLOPs by hand, what they learn from, their rows of the table, and that asked for
// with the game, afterwards or with an interruption they are the same bytes.

import { cpSync, existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/checkpoint/index.ts';
import { readExamples } from '../../src/data/index.ts';
import { onnxEngine } from '../../src/engine/index.ts';
import { mean } from '../../src/evaluation/index.ts';
import { packedLength, pairGroup } from '../../src/pairs/index.ts';
import { type Judged, readJudgement } from '../../src/recipes/game/judge.ts';
import { batchesOf } from '../../src/recipes/game/learn.ts';
import {
  addBaselines,
  fineTune,
  Interrupted,
  playSpin,
  type RunOutcome,
  resumeRun,
  type SpinInput,
} from '../../src/recipes/index.ts';
import { compareGames } from '../../src/recipes/proof/likeness.ts';
import { gameCost, iterationFlops, stepsForFlops } from '../../src/recipes/run/cost.ts';
import { type PairRecord, pairOf } from '../../src/recipes/run/records.ts';
import { type RunEvent, readRunLog, textTable } from '../../src/report/index.ts';
import { loadTokenizer } from '../../src/tokens/index.ts';
import { openScorer } from '../../src/training/index.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings, tinySft } from './tiny-game.ts';

const NAMES: SpinInput['baselines'] = ['sft-steps', 'sft-flops', 'sft-temperature', 'sft-reweighted'];
let home: string;
let game: TinyGame;
/** A game with all controls from the start, and the same game without. */
let run: string;
let bare: string;
let outcome: RunOutcome;
let said: string[];
let log: RunEvent[];

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-baselines-'));
  game = await makeTinyGame(home);
  [run, bare] = [join(home, 'run'), join(home, 'bare')];
  await playSpin(tinySettings(game, bare), listener().context);
  const heard = listener();
  outcome = await playSpin(tinySettings(game, run, { baselines: NAMES }), heard.context);
  said = heard.said;
  log = await readRunLog(run);
});
afterAll(() => rm(home, { recursive: true, force: true }));

const steps = (baseline: string | undefined, t: number | null) =>
  log.flatMap((e) => (e.type === 'train.step' && e.baseline === baseline && e.iteration === t ? [e] : []));
const records = async (t: number) =>
  (await readFile(join(run, `iteration-${t}/pairs.jsonl`), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as PairRecord);
const judgement = async (...folder: string[]) => (await readJudgement(join(run, ...folder, 'evaluation.json')))!;
const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/** Tokens of an iteration's pairs, from what is in pairs.jsonl. */
async function lengths(t: number) {
  return (await records(t)).map(({ promptIds, responses: [real, generated], excluded }) => ({
    p: promptIds.length,
    r: real.ids.length,
    g: generated.ids.length,
    takesPart: excluded === null,
  }));
}

describe('the cost of a game', () => {
  it('is what its pairs say: the last token of an answer is never read, the prompt stands once before both', async () => {
    const [first, second] = [await lengths(0), await lengths(1)];
    const [kept, keptLater] = [first.filter((x) => x.takesPart), second.filter((x) => x.takesPart)];
    expect(kept.length).toBeLessThan(first.length);
    const costs = await gameCost({ directory: run }, [0, 1]);
    expect(costs.get(0)).toEqual({
      steps: Math.ceil(kept.length / 12),
      written: sum(first.map(({ p, g }) => p + g - 1)),
      scored: sum(kept.map(({ p, r }) => p + r - 1)),
      learned: sum(kept.map(({ p, r, g }) => p + r + g - 2)),
    });
    expect(costs.get(1)).toEqual({
      steps: Math.ceil((kept.length + keptLater.length) / 12),
      written: sum(second.map(({ p, g }) => p + g - 1)),
      // Replayed pairs have no log-probs from this opponent's sampler.
      scored: sum(keptLater.map(({ p, r }) => p + r - 1)) + sum(kept.map(({ p, r, g }) => p + r + g - 2)),
      learned: sum([...kept, ...keptLater].map(({ p, r, g }) => p + r + g - 2)),
    });
  });

  it('in FLOPs, and the steps of SFT that take as many', () => {
    const parameter = { name: '', shape: [10, 10], aliases: [], initial: 'normal' as const };
    const model = { parameters: [parameter] };
    // 100·(2·(30 + 20) + 6·50) = 40,000.
    expect(iterationFlops(model, { steps: 9, written: 30, scored: 20, learned: 50 })).toBe(40_000);
    const group = (prompt: number, answer: number) => ({
      promptIds: new Int32Array(prompt),
      responses: [{ ids: new Int32Array(answer) }],
    });
    // Three rows of 4 + 3 − 1, 6 + 5 − 1 and 3 + 2 − 1 tokens, 20 in all: 12,000 FLOPs an epoch, of two steps; 6,000 a step.
    const rows = [group(4, 3), group(6, 5), group(3, 2)];
    expect(stepsForFlops(40_000, model, rows, 2)).toBe(7);
    expect(stepsForFlops(45_000, model, rows, 2)).toBe(8);
    expect(stepsForFlops(100, model, rows, 2)).toBe(1);
    // A frozen base: learning costs 4, so 4,000 a step.
    const frozen = { parameters: [{ ...parameter, frozen: 'layer' as const }] };
    expect(iterationFlops(frozen, { steps: 9, written: 30, scored: 20, learned: 50 })).toBe(30_000);
    expect(stepsForFlops(30_000, frozen, rows, 2)).toBe(8);
  });

  it('is refused to be guessed from a log that does not count tokens', async () => {
    await expect(gameCost({ directory: run }, [7])).rejects.toMatchObject({ where: run });
  });
});

describe('SFT continued', () => {
  it('takes as many steps as both iterations, in one schedule, on the rows of the train split', async () => {
    const total = steps(undefined, 0).length + steps(undefined, 1).length;
    const own = steps('sft-steps', null);
    expect(own.map(({ step }) => step)).toEqual(Array.from({ length: total }, (_, i) => i + 1));
    expect(own[0]!.learning_rate).toBe(0);
    expect(Math.max(...own.map((e) => e.learning_rate))).toBe(1e-3);
    // 36 rows in 3 steps of 12: every row once an epoch, with its whole answer.
    const { encodePair } = await loadTokenizer(game.model);
    const { examples } = await readExamples(game.data);
    const trained = new Set((await records(0)).map(({ id }) => id));
    const rows = examples.filter(({ id }) => trained.has(id)).map((example) => encodePair(example));
    const epoch = sum(rows.map(({ promptIds, responseIds }) => promptIds.length + responseIds.length - 1));
    for (const from of [0, 3]) expect(sum(own.slice(from, from + 3).map(({ tokens }) => tokens))).toBe(epoch);
  });

  it('takes the FLOPs of both iterations, generation and scoring counted', async () => {
    const costs = [...(await gameCost({ directory: run }, [0, 1])).values()];
    const total = 2 * sum(costs.map(({ written, scored }) => written + scored)) + 6 * sum(costs.map((c) => c.learned));
    const epoch = sum(
      steps('sft-steps', null)
        .slice(0, 3)
        .map(({ tokens }) => tokens),
    );
    const own = steps('sft-flops', null);
    expect(own).toHaveLength(Math.round(total / ((6 * epoch) / 3)));
    expect(own.length).toBeGreaterThan(steps('sft-steps', null).length);
    expect(said.join('\n')).toMatch(
      /The game took \S+e\+\d+ FLOPs: answers of [\d,]+ tokens were written, .* learned \(6\)/,
    );
  });
});

describe('reweighted SFT', () => {
  it('learns the human answers of the pairs of the game, in its batches, steps and rates', async () => {
    for (const t of [0, 1]) {
      const [own, games] = [steps('sft-reweighted', t), steps(undefined, t)];
      expect(own.map(({ step, learning_rate }) => [step, learning_rate])).toEqual(
        games.map(({ step, learning_rate }) => [step, learning_rate]),
      );
    }
    // The same weights, the same rows in the first step: the sum of log p(y) is that of the game.
    const pairs = (await records(0)).flatMap((record) => (record.excluded === null ? [pairOf(record)] : []));
    const groups = pairs.map((pair) => pairGroup(pair));
    const [batch] = batchesOf(groups, packedLength, { seed: 0, batch_size: 12 }, { iteration: 0, epoch: 0 });
    const realTokens = sum(batch!.map(({ responses: [real] }) => real!.ids.length));
    const [own, first] = [steps('sft-reweighted', 0)[0]!, steps(undefined, 0)[0]!];
    expect(own.loss * realTokens).toBeCloseTo(-12 * first['logps/real']!, 3);
    expect(own.tokens).toBe(
      sum(batch!.map(({ promptIds, responses: [real] }) => promptIds.length + real!.ids.length - 1)),
    );
  });

  it('goes on from its own iteration 0', async () => {
    const pairs = [...(await records(1)), ...(await records(0))]
      .filter(({ excluded }) => excluded === null)
      .map(pairOf);
    const groups = pairs.map((pair) => pairGroup(pair));
    const [batch] = batchesOf(groups, packedLength, { seed: 0, batch_size: 12 }, { iteration: 1, epoch: 0 });
    const engine = await onnxEngine({ threads: 1 });
    const { model } = await loadModel(engine, join(run, 'baselines/sft-reweighted/iteration-0/model'));
    const scorer = await openScorer(engine, model);
    const logProbs = (await scorer.score(batch!, 100)).flatMap(([real]) => [...real!]);
    await scorer.dispose();
    await engine.dispose();
    expect(steps('sft-reweighted', 1)[0]!.loss).toBeCloseTo(-mean(logProbs), 4);
  });
});

describe('the temperature', () => {
  it('is the best on dev, the higher of equals, and changes sampled figures alone', async () => {
    const trials = JSON.parse(await readFile(join(run, 'baselines/sft-temperature/temperatures.json'), 'utf8')) as {
      figure: string;
      tried: { temperature: number; mean: number }[];
      best: number;
    };
    const sft = await judgement('baseline');
    expect(trials.figure).toBe('number (T=1)');
    expect(trials.tried.map(({ temperature }) => temperature)).toEqual([1, 0.85, 0.7, 0.5, 0.3]);
    expect(trials.tried[0]!.mean).toBe(mean(sft.dev.map(({ scores }) => scores['number (T=1)']!)));
    const highest = Math.max(...trials.tried.map((one) => one.mean));
    expect(trials.best).toBe(trials.tried.find((one) => one.mean === highest)!.temperature);
    const own = await judgement('baselines/sft-temperature');
    expect(mean(own.dev.map(({ scores }) => scores['number (T=1)']!))).toBe(highest);
    expect(trials.best).toBeLessThan(1);
    const texts = (judged: readonly Judged[]) => judged.map(({ sample }) => sample.text).join('|');
    expect(texts(own.dev)).not.toBe(texts(sft.dev));
    const row = outcome.results.rows.find(({ label }) => label === `SFT model at T=${trials.best}`)!;
    expect(Object.keys(row.metrics)).toEqual(['exact-match (T=1)', 'number (T=1)']);
    expect(existsSync(join(run, 'baselines/sft-temperature/samples'))).toBe(false);
  });
});

describe('the table', () => {
  it('has a row for each, with differences from the SFT model', async () => {
    const { rows, best } = outcome.results;
    expect(rows.map(({ label }) => label.replace(/T=.*/, 'T'))).toEqual([
      'SFT model',
      'iteration 0',
      'iteration 1',
      'SFT continued, equal steps',
      'SFT continued, equal FLOPs',
      'SFT model at T',
      'reweighted SFT, iteration 0',
      'reweighted SFT, iteration 1',
    ]);
    for (const { against, iteration, metrics, model } of rows.slice(3)) {
      expect([against, iteration]).toEqual(['SFT model', null]);
      const { difference } = metrics['number (T=1)']!;
      expect(difference).toBeCloseTo(metrics['number (T=1)']!.mean - rows[0]!.metrics['number (T=1)']!.mean, 12);
      expect(existsSync(join(model.startsWith('/') ? '' : run, model, 'config.json')), model).toBe(true);
    }
    expect(rows.slice(0, 3).map(({ label }) => label)).toContain(best!.label);
    expect(textTable(outcome.results)).toContain('difference from the row above, of baselines from the SFT model ±');
  });

  it('compares the best iteration with the best control, both by dev, over the test rows', async () => {
    const folders = new Map([
      ['SFT model', 'baseline'],
      ['iteration 0', 'iteration-0'],
      ['iteration 1', 'iteration-1'],
      ['SFT continued, equal steps', 'baselines/sft-steps'],
      ['SFT continued, equal FLOPs', 'baselines/sft-flops'],
      ['reweighted SFT, iteration 0', 'baselines/sft-reweighted/iteration-0'],
      ['reweighted SFT, iteration 1', 'baselines/sft-reweighted/iteration-1'],
    ]);
    const temperature = outcome.results.rows[5]!.label;
    folders.set(temperature, 'baselines/sft-temperature');
    const { comparisons } = outcome.results;
    expect(comparisons!.map(({ metric }) => metric)).toEqual(['number', 'number (T=1)']);
    for (const { metric, of, against, difference, low, high, verdict } of comparisons!) {
      const valued: { label: string; dev: number; test: number[] }[] = [];
      for (const [label, folder] of folders) {
        if (metric === 'number' && label === temperature) continue;
        const { dev, test } = await judgement(folder);
        const scores = (judged: readonly Judged[]) => judged.map((row) => row.scores[metric]!);
        valued.push({ label, dev: mean(scores(dev)), test: scores(test) });
      }
      const bestOf = (isGame: boolean) => {
        const group = valued.filter(({ label }) => label.startsWith('iteration') === isGame);
        return Math.max(...group.map(({ dev }) => dev));
      };
      const [mine, theirs] = [of, against].map((label) => valued.find((one) => one.label === label)!);
      expect([mine!.dev, theirs!.dev]).toEqual([bestOf(true), bestOf(false)]);
      expect(of).toMatch(/^iteration/);
      expect(difference).toBeCloseTo(mean(mine!.test) - mean(theirs!.test), 12);
      expect(verdict).toBe(low > 0 ? 'better' : high < 0 ? 'worse' : 'open');
      expect(textTable(outcome.results)).toContain(`${metric}, ${of} minus its best control on dev (${against}): `);
    }
  });
});

describe('the same bytes', () => {
  const differing = async (a: string, b: string) =>
    (await compareGames(a, b)).filter(({ deviation }) => deviation !== null);

  it('come out afterwards, one after the other', async () => {
    const later = join(home, 'later');
    cpSync(bare, later, { recursive: true });
    await addBaselines(later, ['sft-reweighted'], listener().context);
    const { results } = await addBaselines(later, ['all'], listener().context);
    expect(results.rows).toEqual(outcome.results.rows);
    expect(results.comparisons).toEqual(outcome.results.comparisons);
    // Only the order in which they were asked for is another in the log.
    const files = (await differing(run, later)).filter(({ file }) => file !== 'events.jsonl');
    expect(files).toEqual([]);
  });

  it('come out after a kill between the judgement of the temperature and the removal of its samples', async () => {
    const killed = join(home, 'killed');
    cpSync(run, killed, { recursive: true });
    const events = join(killed, 'events.jsonl');
    const lines = (await readFile(events, 'utf8')).split('\n');
    const judged = lines.findIndex((line) => line.includes('"stage.finished"') && line.includes('"sft-temperature"'));
    expect(judged).toBeGreaterThan(0);
    await writeFile(events, `${lines.slice(0, judged + 1).join('\n')}\n`);
    await rm(join(killed, 'results.json'));
    await rm(join(killed, 'baselines/sft-reweighted'), { recursive: true });
    await mkdir(join(killed, 'baselines/sft-temperature/samples'));
    await resumeRun(killed, listener().context);
    expect(await differing(run, killed)).toEqual([]);
  });

  it('come out after an interruption in the middle of a control', async () => {
    const stopped = join(home, 'stopped');
    cpSync(bare, stopped, { recursive: true });
    const controller = new AbortController();
    const { context } = listener((event) => {
      if (event.type === 'train.step' && event.baseline === 'sft-flops' && event.step === 5) controller.abort();
    }, controller.signal);
    await expect(addBaselines(stopped, ['all'], context)).rejects.toBeInstanceOf(Interrupted);
    expect(existsSync(join(stopped, 'baselines/sft-flops/checkpoints'))).toBe(true);
    // A resume knows which controls the run is to have.
    await resumeRun(stopped, listener().context);
    expect(await differing(run, stopped)).toEqual([]);
    expect(existsSync(join(stopped, 'baselines/sft-flops/checkpoints'))).toBe(false);
  });
});

describe('bad input', () => {
  it('is a control without dev rows: said before the game, and nothing is left', async () => {
    const out = join(home, 'nodev');
    const work = playSpin(tinySettings(game, out, { baselines: ['all'], dev_size: 0 }), listener().context);
    await expect(work).rejects.toMatchObject({ kind: 'usage', what: expect.stringContaining('no dev rows') });
    expect(existsSync(out)).toBe(false);
  });

  it('is SFT without data', async () => {
    const out = join(home, 'nodata');
    const changes = { pairs: join(bare, 'iteration-0/pairs.jsonl'), iterations: 1, dev_size: 0 };
    const { data: _, ...settings } = tinySettings(game, out, {
      ...changes,
      baselines: ['sft-steps', 'sft-reweighted'],
    });
    const work = playSpin({ ...settings, data: undefined }, listener().context);
    await expect(work).rejects.toMatchObject({ kind: 'usage', what: expect.stringContaining('baselines sft-steps') });
    const alone = await playSpin({ ...settings, data: undefined, baselines: ['sft-reweighted'] }, listener().context);
    expect(alone.results.rows.map(({ label }) => label).at(-1)).toBe('reweighted SFT, iteration 0');
  });

  it('is a run that is no game; it stays as it is', async () => {
    const out = join(home, 'sft');
    await fineTune(tinySft(game, out, { num_train_epochs: 1 }), listener().context);
    const before = await readFile(join(out, 'events.jsonl'), 'utf8');
    await expect(addBaselines(out, ['all'], listener().context)).rejects.toMatchObject({
      kind: 'usage',
      what: expect.stringContaining('selfplay sft'),
    });
    expect(await readFile(join(out, 'events.jsonl'), 'utf8')).toBe(before);
  });
});
