// npm run evidence: does SPIN help on the demo's task? Five seeds, each with all controls (contest.ts), then
// docs/results.md with the predeclared figure. About fifteen minutes a seed on two cores; what is there already is not run
// again.
//   npm run evidence [-- --out DIR] [--seeds 12,13,14,15,16] [--threads 2]

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { holm, mean, seedDifference } from '../../src/evaluation/index.ts';
import type { Contest, Held } from './contest.ts';
import { continuedRates, equalFlops, spin, temperatures } from './settings.ts';

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: 'runs/evidence' },
    seeds: { type: 'string', default: '12,13,14,15,16' },
    threads: { type: 'string', default: '2' },
  },
});
const out = resolve(values.out);
mkdirSync(out, { recursive: true });
/** Whether the seed has all its controls. */
function isComplete(file: string): boolean {
  if (!existsSync(file)) return false;
  const { models } = JSON.parse(readFileSync(file, 'utf8')) as Contest;
  return equalFlops in models;
}

const contests = values.seeds.split(',').map((seed) => {
  const file = join(out, `contest-${seed}.json`);
  if (!isComplete(file)) {
    const script = fileURLToPath(new URL('./contest.ts', import.meta.url));
    const args = ['--import', 'tsx', script, '--seed', seed, '--out', out, '--threads', values.threads];
    const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' });
    if (status !== 0) process.exit(1);
  }
  return JSON.parse(readFileSync(file, 'utf8')) as Contest;
});

const SPIN_LAST = 'SPIN, iteration 1';
const continued = [...continuedRates.map((rate) => `SFT continued, ${rate}`), equalFlops];
const controls = ['SFT model', ...continued, 'the same rows without the game (β → 0)'];

/** The SFT control with the best greedy validity on dev, seed by seed. */
const bestControl = (contest: Contest) =>
  controls.reduce((a, b) => (mean(contest.models[b]!.dev.greedy) > mean(contest.models[a]!.dev.greedy) ? b : a));
const test = (contest: Contest, label: string): Held => contest.models[label]!.test;
const minus = (a: readonly number[], b: readonly number[]) => a.map((x, i) => x - b[i]!);

/** Difference of two rows over seeds and prompts: mean, its standard error over seeds, t interval, bootstrap interval. */
function compare(figure: 'greedy' | 'sampled', against: (contest: Contest) => string, of = SPIN_LAST) {
  const differences = contests.map((c) => minus(test(c, of)[figure], test(c, against(c))[figure]));
  const { difference, standardError, low, high, seedMeans } = seedDifference(differences, { seed: 0 });
  const t = difference / (standardError ?? Number.NaN);
  return {
    difference,
    standardError: standardError ?? Number.NaN,
    low,
    high,
    seedMeans,
    p: studentP(t, contests.length - 1),
  };
}

/** Two-sided p of Student's t with `df` degrees of freedom, by integrating its density. */
function studentP(t: number, df: number): number {
  if (!Number.isFinite(t)) return 1;
  const density = (x: number) => (1 + (x * x) / df) ** (-(df + 1) / 2);
  const integral = (to: number) => {
    const n = 20_000;
    let sum = 0;
    for (let i = 0; i < n; i++) sum += density(((i + 0.5) * to) / n);
    return (sum * to) / n;
  };
  return Math.max(0, 1 - integral(Math.abs(t)) / integral(2000));
}

const percent = (x: number) => (100 * x).toFixed(1);
const points = (x: number) => `${x >= 0 ? '+' : '−'}${Math.abs(100 * x).toFixed(1)}`;
const labels = Object.keys(contests[0]!.models);
const overSeeds = (label: string, pick: (held: Held) => number) => contests.map((c) => pick(test(c, label)));
const spread = (numbers: readonly number[]) => numbers.map(percent).join(' ');

const greedy = compare('greedy', bestControl);
const sampled = compare('sampled', bestControl);
const adjusted = holm([greedy.p, sampled.p]);
const againstSft = compare('greedy', () => 'SFT model');
const SHARPENED = ', sampled at its best temperature';
const sharpened = compare('sampled', () => `SFT model${SHARPENED}`);
const bothSharpened = compare('sampled', () => `SFT model${SHARPENED}`, SPIN_LAST + SHARPENED);
const wins = greedy.difference > 0 && adjusted[0]! < 0.05;
const loses = greedy.difference < 0 && adjusted[0]! < 0.05;
/** 97.5 % points of Student's t for 1 to 7 degrees of freedom. */
const t975 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365][contests.length - 2] ?? Number.NaN;
const interval = (c: { difference: number; standardError: number }) =>
  `${points(c.difference - t975 * c.standardError)} to ${points(c.difference + t975 * c.standardError)}`;

const text = `# Does it help? ${contests.length} seeds on the demo's task

Written by \`npm run evidence\` (examples/demo/evidence.ts); the settings are in examples/demo/settings.ts. Seeds ${values.seeds};
the pilots that chose the settings used others (docs/log.md). ${cpus()[0]?.model}, fp32.

**Predeclared**: greedy validity on test (an exact checker) of the last iteration minus that of the best SFT control, which
is chosen on dev; the same at T=1 beside it, Holm over the two. Intervals: Student's t over the seeds (a bootstrap over so few
seeds and prompts is too narrow; it stands beside).

**Result**: SPIN's last iteration against the best SFT control: greedy ${points(greedy.difference)} points
(95 % ${interval(greedy)}; bootstrap ${points(greedy.low)} to ${points(greedy.high)}; p ${adjusted[0]!.toFixed(2)} after Holm), T=1 ${points(sampled.difference)} points
(95 % ${interval(sampled)}; p ${adjusted[1]!.toFixed(2)}). ${
  wins
    ? 'SPIN did better than every control here.'
    : loses
      ? 'SPIN did worse than its best control here.'
      : 'That is no evidence that SPIN did better or worse than simply training on.'
}
Against the SFT model itself: ${points(againstSft.difference)} points (95 % ${interval(againstSft)}).

Mere sharpening (temperatures ${temperatures.join(', ')}, each model's best on dev): samples of SPIN's last iteration at T=1 against samples of
the SFT model at its best temperature: ${points(sharpened.difference)} points (95 % ${interval(sharpened)}); both at their best: ${points(bothSharpened.difference)}
(95 % ${interval(bothSharpened)}).

| model | greedy | seeds | sampled (T=1) | seeds | nats/token | distinct right answers |
|---|---|---|---|---|---|---|
${labels
  .map((label) => {
    const g = overSeeds(label, (held) => mean(held.greedy));
    const s = overSeeds(label, (held) => mean(held.sampled));
    const nats = overSeeds(label, (held) => mean(held.nats));
    const distinct = overSeeds(label, (held) => held.distinct);
    return `| ${label} | ${percent(mean(g))} | ${spread(g)} | ${percent(mean(s))} | ${spread(s)} | ${mean(nats).toFixed(3)} | ${mean(distinct).toFixed(0)} |`;
  })
  .join('\n')}

Validity in per cent of ${test(contests[0]!, 'SFT model').greedy.length} test prompts (one seed's standard error is about 2 points); nats per token of the human
answers, lower is better; right answers of different wording among one sample a prompt. Best control by dev, seed by seed:
${contests.map((c) => `${c.seed}: ${bestControl(c)}`).join('; ')}. Best temperatures of the SFT model and of iteration 1:
${contests.map((c) => `${c.seed}: ${Object.values(c.temperatures).join(' and ')}`).join('; ')}.

SPIN: β ${spin.beta}, AdamW ${spin.learning_rate}, ${spin.batch_size} pairs a step, one epoch, cross-entropy mixed in with weight ${spin.sft_weight}, only pairs that the
checker of final numbers rejects (${contests.map((c) => c.pairs.join(' and ')).join('; ')} pairs in iterations 0 and 1). Controls take as many
steps as the game's two iterations; the one with its FLOPs (generation and scoring counted) ${contests.map(({ steps }) => `${steps.flops} instead of ${steps.game}`).join(', ')}; swapped labels as many as its first; the first opponent's answers replace the second iteration's.
`;
const target = fileURLToPath(new URL('../../docs/results.md', import.meta.url));
writeFileSync(target, text);
console.log(text);
