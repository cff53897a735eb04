// `selfplay probe` as a command: its lists, what it has from `selfplay run`, what it prints.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { ProbeReport, ProbeSettings, RunOutcome } from '../../src/recipes/index.ts';
import { cli, type Options, outcome } from './fakes.ts';

const home = mkdtempSync(join(tmpdir(), 'selfplay-cli-probe-'));
afterAll(() => rmSync(home, { recursive: true }));

const choice = { learningRate: 1e-5, beta: 1, loss: 'logistic' } as const;
const trial = { ...choice, difference: 0.125, standardError: 0.02, low: 0.05, high: 0.2, objection: null };
const report: ProbeReport = {
  ...{ v: 1, model: 'hash', rows: 256, dev: 100, steps: 4, metric: { name: 'number', better: 1, base: 0.5 } },
  ...{ trials: [trial], untried: [{ ...choice, beta: 5 }], choice, verdict: 'better' },
};

/** What the recipe was given, beside what was printed. */
async function run(options: Options, ...argv: string[]) {
  const given: ProbeSettings[] = [];
  const probe = async (settings: ProbeSettings): Promise<RunOutcome> => {
    given.push(settings);
    return { ...outcome(), probe: { report, config: 'runs/one/selfplay.config.yaml' } };
  };
  const printed = await cli(['probe', '--model', 'm', '--data', 'd', ...argv], { ...options, recipes: { probe } });
  return { ...printed, given: given[0] };
}

it('takes lists of numbers and of names, and a single value for a list of one', async () => {
  const { given } = await run({}, '--rates', '1e-6,1e-5', '--betas', '0.5', '--losses', 'logistic,hinge');
  expect(given).toMatchObject({ rates: [1e-6, 1e-5], betas: [0.5], losses: ['logistic', 'hinge'] });
  expect((await run({})).given).toMatchObject({ rates: [5e-7, 5e-6, 5e-5], betas: [0.1, 1], rows: 256 });
});

it('has its other settings from the config file and the preset of a run', async () => {
  writeFileSync(join(home, 'selfplay.config.yaml'), 'preset: paper\nbatch_size: 8\n');
  const { given, stderr } = await run({ directory: home });
  expect(given).toMatchObject({ batch_size: 8, sample: 50_000, beta: [0.1, 0.1, 0.1, 5] });
  expect(stderr).toContain('Settings come from selfplay.config.yaml');
});

it('prints the ranking and the lines to use, and where to go on', async () => {
  const { status, stdout, stderr } = await run({});
  expect(status).toBe(0);
  expect(stdout).toMatch(/^0\.00001 +1 +logistic +\+12\.5 +\+5\.0 to \+20\.0 +\* to use$/m);
  expect(stdout).toContain('\nlearning_rate: 0.00001\nbeta: 1\nloss: logistic\n');
  expect(stderr).toContain('selfplay run --config runs/one/selfplay.config.yaml --model DIR --data FILE\n');
  expect(stderr).toContain('Try the others as well: selfplay resume runs/one\n');
  expect(JSON.parse((await run({}, '--json')).stdout)).toEqual(report);
});

it('refuses a wrong list, and a game that is under way', async () => {
  const { status, stderr } = await run({}, '--rates', '1e-6,0', '--start-iteration', '1', '--no-replay');
  expect(status).toBe(2);
  expect(stderr).toContain('--rates: rates must be a number of more than 0, or a list of such, got [0.000001,0]');
  expect(stderr).toContain('--pairs: a probe begins where a game begins');
});
