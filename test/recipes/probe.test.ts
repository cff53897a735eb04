// A probe of a tiny game: its trials, what it writes, that test rows never reach the engine, and that a resume in the middle of a
// trial gives the same.

import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { companionDirectory } from '../../src/checkpoint/index.ts';
import { type Engine, onnxEngine } from '../../src/engine/index.ts';
import { configOf } from '../../src/recipes/game/probeReport.ts';
import {
  Interrupted,
  type ProbeReport,
  type ProbeSettings,
  probe,
  probeSchema,
  probeText,
  resumeRun,
} from '../../src/recipes/index.ts';
import { trialsOf } from '../../src/recipes/probe.ts';
import { prepareRows } from '../../src/recipes/run/rows.ts';
import { readRunLog } from '../../src/report/index.ts';
import { loadTokenizer } from '../../src/tokens/index.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings } from './tiny-game.ts';

let home: string;
let game: TinyGame;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-probe-'));
  game = await makeTinyGame(home, 20, 1);
});
afterAll(() => rm(home, { recursive: true, force: true }));

const settings = (name: string, changes: Partial<ProbeSettings> = {}): ProbeSettings =>
  probeSchema.parse({
    ...tinySettings(game, join(home, name), { iterations: 1, dev_size: 20, test_size: 8, batch_size: 6 }),
    rates: [1e-4, 3e-2],
    betas: [0.5],
    losses: ['logistic', 'hinge'],
    rows: 12,
    ...changes,
  });
const reportOf = async (out: string) => JSON.parse(await readFile(join(out, 'probe.json'), 'utf8')) as ProbeReport;
const evaluations = (out: string, trials: number) =>
  Promise.all(Array.from({ length: trials }, (_, n) => readFile(join(out, `trial-${n}/evaluation.json`), 'utf8')));

/** An engine that keeps every sequence of ids that it is given. */
async function listening(seen: number[][]): Promise<Engine> {
  const engine = await onnxEngine({ threads: 1 });
  return {
    ...engine,
    compile: async (graph, options) => {
      const program = await engine.compile(graph, options);
      return {
        ...program,
        run: (inputs) => {
          if (inputs['ids']) seen.push([...inputs['ids'].data]);
          return program.run(inputs);
        },
      };
    },
  };
}
const holds = (sequence: readonly number[], part: readonly number[]) =>
  sequence.some((_, at) => part.every((id, i) => sequence[at + i] === id));

describe('a probe', () => {
  let out: string;
  let seen: number[][];

  beforeAll(async () => {
    out = join(home, 'whole');
    seen = [];
    const openEngine = async () => ({ engine: await listening(seen), choice: { reasons: [] } });
    await probe(settings('whole'), { ...listener().context, openEngine });
  });

  it('never gives a test row to the engine, and dev and train rows are those of a run', async () => {
    const tokenizer = await loadTokenizer(await companionDirectory(game.model));
    const model = { contextLength: 64 } as never;
    const { train, dev, test } = await prepareRows(settings('whole'), tokenizer, model);
    expect(test).toHaveLength(8);
    const isSeen = ({ promptIds }: { promptIds: Int32Array }) => seen.some((ids) => holds(ids, [...promptIds]));
    expect(test.filter(isSeen)).toEqual([]);
    expect(dev.filter(isSeen)).toHaveLength(20);
    expect(train.filter(isSeen)).toHaveLength(12);
  });

  it('tries every setting on the same pairs and ranks them by the dev rows', async () => {
    const report = await reportOf(out);
    expect(report).toMatchObject({ v: 1, rows: 12, dev: 20, metric: { name: expect.any(String) }, untried: [] });
    expect(report.trials).toHaveLength(4);
    const setting = ({ learningRate, loss }: { learningRate: number; loss: string }) => `${learningRate} ${loss}`;
    expect(report.trials.map(setting).sort()).toEqual([
      '0.0001 hinge',
      '0.0001 logistic',
      '0.03 hinge',
      '0.03 logistic',
    ]);
    for (const { low, difference, high } of report.trials) {
      expect(low).toBeLessThanOrEqual(difference);
      expect(high).toBeGreaterThanOrEqual(difference);
    }
    const fine = report.trials.filter(({ objection }) => objection === null).map(({ difference }) => difference);
    expect(fine).toEqual(fine.toSorted((a, b) => b - a));
    // The four trials went four ways, so each began with the model and not with another trial's weights.
    const all = await evaluations(out, 4);
    expect(new Set(all).size).toBe(4);
    const steps = (await readRunLog(out)).flatMap((event) => (event.type === 'train.step' ? [event] : []));
    expect(steps.map(({ attempt }) => attempt)).toEqual([0, 1, 2, 3].flatMap((n) => Array(report.steps).fill(n)));
    for (const { step, loss, 'rewards/margins': margins } of steps) {
      if (step === 1)
        expect([loss, margins]).toEqual([expect.closeTo(loss > 0.9 ? 1 : Math.LN2, 4), expect.closeTo(0, 5)]);
    }
  });

  it('ends with the lines to use, which run takes', async () => {
    const report = await reportOf(out);
    const file = join(out, 'selfplay.config.yaml');
    const text = await readFile(file, 'utf8');
    expect(parse(text)).toEqual({
      learning_rate: report.choice!.learningRate,
      beta: report.choice!.beta,
      loss: report.choice!.loss,
    });
    expect(probeText(report)).toContain(text);
    expect(probeText(report)).toMatch(/^0\.(0001|03) +0\.5 +(logistic|hinge) .*\* to use$/m);
    expect(existsSync(join(out, 'trial-0/checkpoints'))).toBe(false);
    expect(configOf({ ...report, choice: null })).toMatch(/^(#.*\n)+$/);
  });

  it('stopped in the middle of a trial goes on there, to the same bytes', async () => {
    const stop = new AbortController();
    const heard = listener((event) => {
      if (event.type === 'train.step' && event.attempt === 1 && event.step === 2) stop.abort();
    }, stop.signal);
    const stopped = settings('stopped');
    await expect(probe(stopped, heard.context)).rejects.toThrow(Interrupted);
    expect(existsSync(join(stopped.out!, 'probe.json'))).toBe(false);
    const resumed = listener();
    const outcome = await resumeRun(stopped.out!, resumed.context);
    expect(resumed.said.filter((sentence) => sentence.startsWith('Trial 0'))).toEqual([]);
    const [whole, again] = [await reportOf(out), await reportOf(stopped.out!)];
    expect(again).toEqual(whole);
    expect(outcome.probe!.report).toEqual(whole);
    expect(await evaluations(stopped.out!, 4)).toEqual(await evaluations(out, 4));
    const steps = (await readRunLog(stopped.out!)).flatMap((event) => (event.type === 'train.step' ? [event] : []));
    expect(steps.map(({ attempt, step }) => `${attempt}/${step}`)).toEqual(
      [0, 1, 2, 3].flatMap((n) => Array.from({ length: whole.steps }, (_, i) => `${n}/${i + 1}`)),
    );
  });

  it('begins no second trial for which there is no time; a resume tries the others', async () => {
    const short = settings('short', { minutes: 1e-9, losses: ['logistic'] });
    const { probe: found } = await probe(short, listener().context);
    expect([found!.report.trials.length, found!.report.untried.length]).toEqual([1, 1]);
    expect(probeText(found!.report)).toContain('No time for 1: rate ');
    const { probe: more } = await resumeRun(short.out!, listener().context);
    expect([more!.report.trials.length, more!.report.untried.length]).toEqual([2, 0]);
  });
});

describe('trials', () => {
  it('are the whole grid in an order of the seed', () => {
    const names = (seed: number) =>
      trialsOf(settings('x', { rates: [1, 2, 3], betas: [4, 5], losses: ['logistic', 'hinge'], seed })).map(
        ({ learningRate, beta, loss }) => `${learningRate} ${beta} ${loss}`,
      );
    expect(new Set(names(0)).size).toBe(12);
    expect(names(0)).toEqual(names(0));
    expect(names(0)).not.toEqual(names(1));
    const { losses: _, ...one } = settings('x', { loss: 'ipo' });
    expect(new Set(trialsOf(one).map(({ loss }) => loss))).toEqual(new Set(['ipo']));
  });
});

describe('what a probe refuses', () => {
  it('too few dev rows, before it costs anything', async () => {
    const given = settings('few', { dev_size: 19 });
    await expect(probe(given, listener().context)).rejects.toMatchObject({
      kind: 'usage',
      what: '19 dev rows are too few to compare trials on: at least 20 are needed',
    });
    expect(existsSync(given.out!)).toBe(false);
  });

  it.each<[string, object, string]>([
    ['a loss that needs SFT beside it', { losses: ['orpo'], sft_weight: 0 }, 'losses'],
    ['pairs from a file', { pairs: 'p.jsonl' }, 'pairs'],
    ['no rate', { rates: [] }, 'rates'],
    ['a rate of 0', { rates: [0] }, 'rates'],
  ])('%s', (_, changes, key) => {
    const { error } = probeSchema.safeParse({ model: 'm', data: 'd', ...changes });
    expect(error!.issues.map(({ path }) => path[0])).toContain(key);
  });
});
