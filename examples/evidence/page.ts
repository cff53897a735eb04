// docs/results.md: what the figures of every experiment say, the predeclared ones first.

import { holm, mean, standardError } from '../../src/evaluation/index.ts';
import { type Family, MAIN } from './family.ts';
import type { Difference, Figures } from './figures.ts';

export interface Evidence {
  readonly family: Family;
  readonly figures: readonly Figures[];
}

/** What the issue of this page is: the paper's gains, over the SFT model and over iteration 0. */
const AIMS = ['+2.66', '+1.32'] as const;

export function page(evidence: readonly Evidence[]): string {
  return `# Does it help?

Written by \`npm run evidence\` (examples/evidence/) from the figures in docs/results/; docs/log.md has the pilots that chose the
settings, on other seeds. **Predeclared**, before any of these seeds was played: the last iteration minus the control that is
best on dev, in the figure that each section names first, and the same in the second figure beside it (Holm over the two).
Controls: the SFT model, SFT continued for as many steps and for as many FLOPs as the game took (generation counted), the
same rows without the game (β → 0), and for sampled answers the SFT model at the temperature that is best on dev. The aim
is the paper's: iteration 0 ${AIMS[0]} points over the SFT model, iteration 1 ${AIMS[1]} over iteration 0.

${evidence.map(section).join('\n')}`;
}

const percent = (x: number) => (100 * x).toFixed(1);
const points = (x: number) => `${x >= 0 ? '+' : '−'}${Math.abs(100 * x).toFixed(1)}`;

interface Interval {
  readonly difference: number;
  readonly low: number;
  readonly high: number;
  readonly p: number;
}

function section({ family, figures }: Evidence): string {
  const main = figures.filter(({ arm }) => arm === MAIN);
  const seeds = main.map(({ seed }) => seed);
  const last = `iteration ${(family.game.iterations ?? 1) - 1}`;
  const [first, second] = family.figures;
  const best = family.figures.map((figure) => overSeeds(main, figure, last, isControl));
  const adjusted = holm(best.map(({ p }) => p));
  const verdict =
    best[0]!.low > 0
      ? 'better than its best control'
      : best[0]!.high < 0
        ? 'worse than its best control'
        : 'no evidence either way';
  const names = { score: 'greedy', 'score (T=1)': 'sampled at T=1' } as Readonly<Record<string, string>>;
  const line = (of: string, against: string) =>
    `| ${of} − ${against} | ${family.figures.map((figure) => said(overSeeds(main, figure, of, (label) => label === against))).join(' | ')} |`;
  const iterations = main[0]!.models.flatMap(({ label }) => (/^iteration \d+$/.test(label) ? [label] : []));
  const steps = iterations.map((label, t) => line(label, t === 0 ? 'SFT model' : iterations[t - 1]!));
  const against = iterations.map((of) => {
    const cells = family.figures.map((figure) => said(overSeeds(main, figure, of, isControl)));
    return `| ${of} − best control | ${cells.join(' | ')} |`;
  });
  return `## ${family.title}

${family.setting}
${seeds.length > 1 ? `Seeds ${seeds.join(', ')}; intervals are Student's t over the seeds.` : `One seed (${seeds[0]}); intervals are bootstraps over the prompts.`} ${main[0]!.prompts} test prompts a seed.

**Result**: ${last} against its best control: ${names[first] ?? first} ${said(best[0]!)} points (p ${adjusted[0]!.toFixed(3)} after Holm), ${names[second] ?? second}
${said(best[1]!)} points (p ${adjusted[1]!.toFixed(3)}): ${verdict}. Aim for iteration 0: ${AIMS[0]}, for iteration 1: ${AIMS[1]}.

| points, 95 % | ${family.figures.map((figure) => names[figure] ?? figure).join(' | ')} |
|---|---|---|
${[...steps, ...against].join('\n')}

${table(family, figures)}
`;
}

const isControl = (label: string) => !/^iteration \d+$/.test(label);

/** The differences `of` − what `matches`, seed by seed, as one. Iterations are compared with the row above and the best control. */
function overSeeds(
  games: readonly Figures[],
  figure: string,
  of: string,
  matches: (against: string) => boolean,
): Interval {
  const found = games.flatMap(({ differences }) => {
    // The best control comes last, and may be the row above.
    const ours = differences.filter((d) => d.figure === figure && d.of === of && matches(d.against));
    return ours.slice(-1);
  });
  return found.length === 1 ? ofOne(found[0]!) : ofMany(found);
}

function ofOne({ difference, standardError, low, high }: Difference): Interval {
  return { difference, low, high, p: 2 * (1 - normal(Math.abs(difference / (standardError ?? Number.NaN)))) };
}

function ofMany(found: readonly Difference[]): Interval {
  const values = found.map(({ difference }) => difference);
  const centre = mean(values);
  const error = standardError(values)!;
  const half = (t975[values.length - 2] ?? Number.NaN) * error;
  return {
    difference: centre,
    low: centre - half,
    high: centre + half,
    p: studentP(centre / error, values.length - 1),
  };
}

const said = ({ difference, low, high }: Interval) => `${points(difference)} (${points(low)} to ${points(high)})`;

/** 97.5 % points of Student's t for 1 to 7 degrees of freedom. */
const t975 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365];

/** Two-sided p of Student's t with `df` degrees of freedom. */
function studentP(t: number, df: number): number {
  const density = (x: number) => (1 + (x * x) / df) ** (-(df + 1) / 2);
  return Math.max(0, 1 - integral(density, Math.abs(t)) / integral(density, 2000));
}

/** Φ(z) of the normal distribution, z ≥ 0. */
function normal(z: number): number {
  const density = (x: number) => Math.exp((-x * x) / 2);
  return 0.5 + (0.5 * integral(density, Math.min(z, 40))) / integral(density, 40);
}

/** ∫ from 0, by the midpoint rule. */
function integral(density: (x: number) => number, to: number): number {
  const n = 20_000;
  let sum = 0;
  for (let i = 0; i < n; i++) sum += density(((i + 0.5) * to) / n);
  return (sum * to) / n;
}

/** A row for every model of the main game, and for the models of the other games. */
function table(family: Family, figures: readonly Figures[]): string {
  const columns = [...family.figures, ...family.columns.flatMap((name) => [name, `${name} (T=1)`])];
  const rows: string[] = [];
  for (const arm of [MAIN, ...Object.keys(family.arms)]) {
    const games = figures.filter((one) => one.arm === arm);
    const labels = [
      ...new Set(
        games.flatMap(({ models }) => models.map(({ label }) => label.replace(/ at T=.*/, ' at its best temperature'))),
      ),
    ];
    for (const label of arm === MAIN ? labels : labels.slice(1)) {
      const tests = games.flatMap(({ models }) =>
        models.filter((one) => one.label.replace(/ at T=.*/, ' at its best temperature') === label),
      );
      const cells = columns.map((name) => {
        const values = tests.flatMap(({ test }) => test[name] ?? []);
        if (values.length === 0) return '–';
        return values.length === 1
          ? percent(values[0]!)
          : `${percent(mean(values))} · ${values.map(percent).join(' ')}`;
      });
      const nats = tests.flatMap(({ test }) => test['nats/token'] ?? []);
      const distinct = tests.flatMap(({ test }) => test['distinct'] ?? []);
      const name = arm === MAIN ? label : `${arm}, ${label}`;
      rows.push(
        `| ${name} | ${cells.join(' | ')} | ${nats.length > 0 ? mean(nats).toFixed(3) : '–'} | ${percent(mean(distinct))} |`,
      );
    }
  }
  const head = ['model', ...columns, 'nats/token', 'distinct'];
  return `| ${head.join(' | ')} |
|${head.map(() => '---').join('|')}|
${rows.join('\n')}

Per cent of the test prompts: the mean, then seed by seed. nats/token: of the human answers, lower is better; distinct: right sampled answers of different
wording, per prompt.`;
}
