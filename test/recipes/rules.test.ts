// Every rule of the governor in whole games, both ways: figures that it must object to, and the nearest ones that it must let pass.
// The games are simulated: the loop, files and decisions are the recipe's own, training and judging only pretend.

import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RuleName, rules } from '../../src/evaluation/governor.ts';
import { readRunLog } from '../../src/report/index.ts';
import { linkedDirectory } from '../../src/util/index.ts';
import {
  DEV,
  type Figures,
  type Metric,
  makeSimulation,
  type Simulation,
  simulate,
  type Training,
  type World,
} from './simulated.ts';

let home: string;
let count = 0;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-rules-'));
  await makeSimulation(home);
});
afterAll(() => rm(home, { recursive: true, force: true }));

const fresh = () => `run-${count++}`;
const decisionsOf = async (name: string) =>
  (await readRunLog(join(home, name))).flatMap((event) => (event.type === 'governor.decided' ? [event] : []));
const json = async (...path: string[]) => JSON.parse(await readFile(join(home, ...path), 'utf8'));

/** θ_1 shows these figures, θ_2 is as good as θ_0, with two more right answers. */
const first =
  (figures: Partial<Figures>): World =>
  ({ iteration }) =>
    iteration === 0 ? { right: 41, ...figures } : { right: 42 };

interface Case {
  readonly rule: RuleName;
  readonly what: string;
  readonly bad: Partial<Figures>;
  readonly fine: Partial<Figures>;
  readonly metric?: Metric;
}

/** 80 rows; θ_0: 40 right answers of 23 tokens, nothing repeated, cut or recited, 1 nat per token. */
const cases: readonly Case[] = [
  // 23 equal tokens are 20 windows of four, 19 of them repeated: 17 · 0.95 / 80 = 0.202, 16 · 0.95 / 80 = 0.19; at most 0.2.
  { rule: 'degenerate', what: 'repetition', bad: { looping: 17 }, fine: { looping: 16 } },
  // 25 / 80 = 0.3125, 24 / 80 = 0.3; at most 0.3.
  { rule: 'degenerate', what: 'endless answers', bad: { cut: 25 }, fine: { cut: 24 } },
  // (48 + 1) / (23 + 1) > 2, (47 + 1) / (23 + 1) = 2; (10 + 1) / 24 < ½, (11 + 1) / 24 = ½.
  { rule: 'degenerate', what: 'long answers', bad: { length: 48 }, fine: { length: 47 } },
  { rule: 'degenerate', what: 'short answers', bad: { length: 10 }, fine: { length: 11 } },
  // k rows lost of 80: mean k/80, standard error √(k/80 · (1 − k/80) / 79). k = 3: 0.0375 − 1.645 · 0.0214 > 0; k = 2:
  // 0.025 − 1.645 · 0.0176 < 0.
  { rule: 'worse', what: 'number', bad: { right: 37 }, fine: { right: 38 } },
  { rule: 'worse', what: 'the user’s scorer', metric: 'score', bad: { right: 37 }, fine: { right: 38 } },
  // Equal in all rows: no noise.
  { rule: 'worse', what: 'likelihood', metric: 'nats/token', bad: { nats: 1.01 }, fine: { nats: 1 } },
  { rule: 'drift', what: 'human answers', bad: { nats: 1.31 }, fine: { nats: 1.29 } },
  { rule: 'distance', what: 'KL', bad: { klToOpponent: 0.51 }, fine: { klToOpponent: 0.49 } },
  { rule: 'memorised', what: 'recited samples', bad: { recited: 40 }, fine: { recited: 39 } },
  // 47 / 80 = 0.5875 with standard error 0.0554: 0.5875 − 1.645 · 0.0554 = 0.496; 48 / 80: 0.6 − 1.645 · 0.0551 = 0.509.
  { rule: 'indistinguishable', what: 'guesses', bad: { told: 47 }, fine: { told: 48 } },
];
const rollBacks = cases.filter(({ rule }) => rules[rule].verdict === 'roll-back');
const endings = cases.filter(({ rule }) => rules[rule].verdict !== 'roll-back');
const simulationOf = (world: World, { metric = 'number' }: Pick<Case, 'metric'>): Simulation => ({ world, metric });
const named = ({ rule, what }: Case) => `${rule}: ${what}`;
const table = (of: readonly Case[]) => of.map((one) => [named(one), one] as const);

/** The n-th attempt's settings after so many remedies. */
const attempt = (rule: RuleName, n: number) =>
  rules[rule].remedy === 'lower-rate'
    ? { learningRate: expect.closeTo(0.9 / 3 ** n, 12), beta: 0.1 }
    : { learningRate: 0.9, beta: expect.closeTo(0.1 * 3 ** n, 12) };

it('has cases for every rule', () => {
  expect(new Set(cases.map(({ rule }) => rule))).toEqual(new Set(Object.keys(rules)));
});

describe('figures that a rule lets pass', () => {
  it.each(table(cases))('%s: both iterations count', async (_, one) => {
    const name = fresh();
    const { outcome, said, trained } = await simulate(home, name, simulationOf(first(one.fine), one));
    const decided = await decisionsOf(name);
    expect(decided.map(({ iteration, attempt, verdict, rule }) => [iteration, attempt, verdict, rule])).toEqual([
      [0, 0, 'continue', null],
      [1, 0, 'continue', null],
    ]);
    expect(trained).toEqual([0, 1].map((iteration) => ({ iteration, attempt: 0, learningRate: 0.9, beta: 0.1 })));
    expect(outcome.results.rows.map(({ label }) => label)).toEqual(['SFT model', 'iteration 0', 'iteration 1']);
    expect(existsSync(join(home, name, 'rejected'))).toBe(false);
    expect(said.join('\n')).toContain('Iteration 0: the game may go on: ');
    expect(said.join('\n')).toContain('Iteration 1: it counts, the last of this game: ');
    expect(said.join('\n')).not.toContain('Iteration 1: the game may go on');
  });
});

describe('figures that a rule objects to', () => {
  it.each(table(endings))('%s: the iteration counts, and no other is played', async (_, one) => {
    const name = fresh();
    const { outcome, said, trained } = await simulate(home, name, simulationOf(first(one.bad), one));
    const { verdict } = rules[one.rule];
    expect(await decisionsOf(name)).toMatchObject([{ iteration: 0, verdict, rule: one.rule, remedy: null }]);
    expect(trained).toHaveLength(1);
    expect(outcome.results.rows.map(({ label }) => label)).toEqual(['SFT model', 'iteration 0']);
    expect(await readlink(join(home, name, 'best'))).toBe('iteration-0/model');
    expect(existsSync(join(home, name, 'iteration-1'))).toBe(false);
    expect(said.join('\n')).toContain(
      `Iteration 0: ${verdict === 'stop' ? 'the game stops here' : 'the game is over'}: `,
    );
  });

  it.each(table(rollBacks))('%s: rolled back until the remedy helps', async (_, one) => {
    const name = fresh();
    const cured = ({ learningRate, beta }: Training) => learningRate < 0.5 || beta > 0.2;
    const world: World = (training) => first(cured(training) ? one.fine : one.bad)(training);
    const { outcome, said, trained } = await simulate(home, name, simulationOf(world, one));
    const { remedy } = rules[one.rule];
    expect(await decisionsOf(name)).toMatchObject([
      { iteration: 0, attempt: 0, verdict: 'roll-back', rule: one.rule, remedy },
      { iteration: 0, attempt: 1, verdict: 'continue', rule: null },
      { iteration: 1, attempt: 0, verdict: 'continue' },
    ]);
    expect(trained).toEqual([
      { iteration: 0, attempt: 0, ...attempt(one.rule, 0) },
      { iteration: 0, attempt: 1, ...attempt(one.rule, 1) },
      // The next iteration begins with what was set.
      { iteration: 1, attempt: 0, ...attempt(one.rule, 0) },
    ]);
    expect(await readdir(join(home, name, 'rejected'))).toEqual(['iteration-0-attempt-0']);
    expect(outcome.results.rows.map(({ label }) => label)).toEqual(['SFT model', 'iteration 0', 'iteration 1']);
    expect(said.join('\n')).toContain('Iteration 0: rolled back: ');
    const changed = remedy === 'lower-rate' ? 'learning rate 0.3 and β 0.1' : 'learning rate 0.9 and β 0.3';
    expect(said).toContain(`Iteration 0: attempt 2 with ${changed}.`);
  });

  it.each(table(rollBacks))('%s: after as many attempts as are allowed the model before stays', async (_, one) => {
    const name = fresh();
    const { outcome, said, trained } = await simulate(home, name, simulationOf(first(one.bad), one));
    expect((await decisionsOf(name)).map(({ attempt, verdict, rule }) => [attempt, verdict, rule])).toEqual(
      [0, 1, 2].map((n) => [n, 'roll-back', one.rule]),
    );
    expect(trained).toEqual([0, 1, 2].map((n) => ({ iteration: 0, attempt: n, ...attempt(one.rule, n) })));
    for (const n of [0, 1, 2]) {
      const folder = join(name, `rejected/iteration-0-attempt-${n}`);
      expect((await readdir(join(home, folder))).sort()).toEqual(['decision.json', 'evaluation.json', 'model']);
      expect(await json(folder, 'decision.json')).toMatchObject({ attempt: n, rule: one.rule });
    }
    expect(outcome.results.rows.map(({ label }) => label)).toEqual(['SFT model']);
    expect(await readlink(join(home, name, 'best'))).toBe('../sft');
    expect(existsSync(join(home, name, 'iteration-0/model'))).toBe(false);
    expect(said.join('\n')).toContain(
      'Iteration 0: none of 3 attempt(s) counts; the game ends with the model before it.',
    );
  });
});

describe('a decision', () => {
  it('is an event with all figures and a sentence', async () => {
    const name = fresh();
    const { said } = await simulate(home, name, { world: first({ recited: 10, cut: 4, looping: 8, nats: 1.25 }) });
    const [decided] = await decisionsOf(name);
    const { metrics, answers, reason } = decided!;
    // 70 of 80 told; margins ±1: (70 − 10) / 80.
    expect(metrics['accuracy']).toMatchObject({ mean: 70 / DEV, n: DEV });
    expect(metrics['margin']).toMatchObject({ mean: 60 / DEV, n: DEV });
    expect(metrics['number']).toMatchObject({ mean: expect.closeTo(1 / DEV, 12), n: DEV });
    expect(metrics['nats/token']).toMatchObject({ mean: 0.25, standardError: 0 });
    expect(metrics['humanDrift']).toMatchObject({ mean: -0.25, standardError: 0 });
    for (const name of ['klToOpponent', 'klToBase']) {
      expect(metrics[name]).toMatchObject({ mean: expect.closeTo(0.05, 12), n: DEV });
    }
    expect(answers.before).toEqual({ length: 23, repetition: 0, identical: 0, truncated: 0, identicalSamples: 0 });
    expect(answers.after).toEqual({
      length: 23,
      repetition: expect.closeTo((8 * 0.95) / DEV, 12),
      identical: 0,
      truncated: 4 / DEV,
      identicalSamples: 10 / DEV,
    });
    expect(said).toContain(`Iteration 0: the game may go on: ${reason}.`);
    expect(await json(name, 'iteration-0/decision.json')).toMatchObject({ verdict: 'continue', reason });
  });

  it('is not repeated where a process dies, before whichever move', async () => {
    const world: World = (training) => first(training.beta > 0.2 ? {} : { nats: 1.5 })(training);
    const whole = fresh();
    const { outcome } = await simulate(home, whole, { world });
    let moves = 0;
    for (let n = 1; ; n++) {
      const name = fresh();
      moves = 0;
      const dying = () => {
        if (++moves === n) throw new Error('dies');
      };
      const died = await simulate(home, name, { world, before: dying }).then(
        () => false,
        () => true,
      );
      if (!died) break;
      const { outcome: resumed } = await simulate(home, name, { world });
      expect(resumed.results.rows).toEqual(outcome.results.rows);
      expect(await readlink(join(home, name, 'best'))).toBe(await readlink(join(home, whole, 'best')));
      const without = async (run: string) =>
        (await decisionsOf(run)).map(({ iteration, attempt, verdict, metrics }) => [
          iteration,
          attempt,
          verdict,
          metrics,
        ]);
      expect(await without(name), `move ${n}`).toEqual(await without(whole));
    }
    expect(moves).toBeGreaterThan(15);
  });
});

describe('RUN/best', () => {
  it('leads to the best model by dev, chosen by the rule of the table, and not to the last', async () => {
    for (const [rights, best] of [
      [[41, 42], 'iteration-1/model'],
      [[42, 41], 'iteration-0/model'],
      [[42, 42], 'iteration-0/model'],
      [[39, 38], '../sft'],
    ] as const) {
      const name = fresh();
      const { outcome } = await simulate(home, name, { world: ({ iteration }) => ({ right: rights[iteration]! }) });
      expect(await readlink(join(home, name, 'best'))).toBe(best);
      expect(await linkedDirectory(outcome.best.link!)).toBe(outcome.best.model);
      expect((await json(name, 'results.json')).best.label).toBe(outcome.best.label);
    }
  });

  it('can be played with: the next game stands on the model itself, wherever the link leads later', async () => {
    const [name, next] = [fresh(), fresh()];
    const better: World = ({ iteration }) => ({ right: 41 + iteration });
    await simulate(home, name, { world: better });
    const model = join(home, name, 'best');
    await simulate(home, next, { world: better }, { model });
    expect((await json(next, 'manifest.json')).settings.model).toBe(join(home, name, 'iteration-1/model'));
    expect((await json(next, 'results.json')).rows[0].model).toBe(join(home, name, 'iteration-1/model'));
  });
});

it('says so where the dev split is too small to govern', async () => {
  const name = fresh();
  const { said, outcome } = await simulate(home, name, { world: first({ nats: 9 }) }, { dev_size: 19 });
  expect(said).toContain('The governor keeps out of this game: it needs 20 dev rows, and there are 19.');
  expect([await decisionsOf(name), outcome.results.rows.length]).toEqual([[], 3]);
});
