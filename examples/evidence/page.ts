// docs/results.md: what the figures of every experiment say, the predeclared ones first.

import { holm, type MeanInterval, mean, meanOverSeeds, normalP } from '../../src/evaluation/index.ts';
import { type Family, MAIN } from './family.ts';
import type { Difference, Figures } from './figures.ts';

export interface Evidence {
  readonly family: Family;
  readonly figures: readonly Figures[];
}

/** What the issue of this page is: the paper's gains in points, over the SFT model and over iteration 0. */
const AIMS = [2.66, 1.32] as const;
const [FIRST, SECOND] = AIMS.map((aim) => `+${aim}`);

export function page(evidence: readonly Evidence[]): string {
  return `# Does it help?

Written by \`npm run evidence\` (examples/evidence/) from the figures in docs/results/; docs/log.md has the pilots that chose the
settings, on other seeds. **Predeclared**, before any of these seeds was played: the last iteration minus the control that is
best on dev, in the figure that each section names first, and the same in the second figure beside it (Holm over the two).
Controls: the SFT model, SFT continued for as many steps and for as many FLOPs as the game took (generation counted), the
same rows without the game (β → 0), and for sampled answers the SFT model at the temperature that is best on dev; a section may name fewer. The aim
is the paper's: iteration 0 ${FIRST} points over the SFT model, iteration 1 ${SECOND} over iteration 0, and the gain over the best
control with an interval above 0.

${evidence.map(section).join('\n')}`;
}

const percent = (x: number) => (100 * x).toFixed(1);
const points = (x: number) => `${x >= 0 ? '+' : '−'}${Math.abs(100 * x).toFixed(1)}`;

function section({ family, figures }: Evidence): string {
  const main = figures.filter(({ arm }) => arm === MAIN);
  const seeds = main.map(({ seed }) => seed);
  const last = `iteration ${(family.game.iterations ?? 1) - 1}`;
  const best = family.figures.map((figure) => overSeeds(main, figure, last, isControl));
  const adjusted = holm(best.map(({ p }) => p));
  const verdict = (i: number) => {
    const { difference } = best[i]!;
    if (adjusted[i]! >= 0.05) return 'no evidence either way';
    return difference > 0 ? 'better' : 'worse';
  };
  const result = family.figures.map(
    (figure, i) =>
      `${columnNames[figure] ?? figure} ${said(best[i]!)} points (p ${adjusted[i]!.toFixed(3)} after Holm): ${verdict(i)}`,
  );
  const line = (of: string, against: string) =>
    `| ${of} − ${against} | ${family.figures.map((figure) => said(overSeeds(main, figure, of, (label) => label === against))).join(' | ')} |`;
  const iterations = main[0]!.models.flatMap(({ label }) => (/^iteration \d+$/.test(label) ? [label] : []));
  const steps = iterations.map((label, t) => line(label, t === 0 ? 'SFT model' : iterations[t - 1]!));
  const isReached =
    best[0]!.low > 0 &&
    AIMS.every((aim, t) => {
      const before = t === 0 ? 'SFT model' : iterations[t - 1]!;
      const gain = overSeeds(main, family.figures[0], iterations[t]!, (label) => label === before);
      return 100 * gain.difference >= aim;
    });
  const against = iterations.map((of) => {
    const cells = family.figures.map((figure) => said(overSeeds(main, figure, of, isControl)));
    return `| ${of} − best control | ${cells.join(' | ')} |`;
  });
  return `## ${family.title}

${family.setting}
${seeds.length > 1 ? `Seeds ${seeds.join(', ')}; intervals are Student's t over the seeds.` : `One seed (${seeds[0]}); intervals are bootstraps over the prompts.`} ${main[0]!.prompts} test prompts a seed.
Computed with ${engines(main)}.

**Result**: ${last} against its best control: ${result.join(';\n')}. The aim, ${FIRST} for iteration 0 and ${SECOND} for
iteration 1, is ${isReached ? '' : '**not** '}reached.

| points, 95 % | ${family.figures.map((figure) => columnNames[figure] ?? figure).join(' | ')} |
|---|---|---|
${[...steps, ...against].join('\n')}

${table(family, main)}
${others(family, figures)}`;
}

/** What the main games were computed with, each once. */
const engines = (games: readonly Figures[]) =>
  [
    ...new Set(
      games.map(({ engine: { name, version, device, dtype } }) => `${name} ${version} on ${device} in ${dtype}`),
    ),
  ].join(' and ');

const isControl = (label: string) => !/^iteration \d+$/.test(label);

/** The differences `of` − what `matches`, seed by seed, as one. Iterations are compared with the row above and the best control. */
function overSeeds(
  games: readonly Figures[],
  figure: string,
  of: string,
  matches: (against: string) => boolean,
): MeanInterval {
  const found = games.flatMap(({ differences }) => {
    // The best control comes last, and may be the row above.
    const ours = differences.filter((d) => d.figure === figure && d.of === of && matches(d.against));
    return ours.slice(-1);
  });
  return found.length === 1 ? ofOne(found[0]!) : meanOverSeeds(found.map(({ difference }) => difference));
}

/** Of one seed the interval is the bootstrap's over the prompts, and p that of the normal distribution. */
function ofOne({ difference, standardError, low, high }: Difference): MeanInterval {
  return { difference, low, high, p: standardError ? normalP(difference / standardError) : Number(difference === 0) };
}

const said = ({ difference, low, high }: MeanInterval) => `${points(difference)} (${points(low)} to ${points(high)})`;

/** The scorer's figure under the name of what is scored. */
const columnNames: Readonly<Record<string, string>> = { score: 'greedy', 'score (T=1)': 'sampled at T=1' };

const sameAt = (label: string) => label.replace(/ at T=.*/, ' at its best temperature');

/** A row for every model of the main game. */
function table(family: Family, games: readonly Figures[]): string {
  const columns = [...family.figures, ...family.columns.flatMap((name) => [name, `${name} (T=1)`])];
  const labels = [...new Set(games.flatMap(({ models }) => models.map(({ label }) => sameAt(label))))];
  const rows = labels.map((label) => {
    const tests = games.flatMap(({ models }) => models.filter((one) => sameAt(one.label) === label));
    const cells = columns.map((name) => {
      const values = tests.flatMap(({ test }) => test[name] ?? []);
      if (values.length === 0) return '–';
      const all = values.map(percent).join(' ');
      return values.length === 1 ? all : `${percent(mean(values))} · ${all}`;
    });
    const nats = tests.flatMap(({ test }) => test['nats/token'] ?? []);
    const distinct = tests.flatMap(({ test }) => test['distinct'] ?? []);
    return [label, ...cells, nats.length > 0 ? mean(nats).toFixed(3) : '–', percent(mean(distinct))];
  });
  const head = ['model', ...columns.map((name) => columnNames[name] ?? name), 'nats/token', 'distinct'];
  return `${markdown(head, rows)}

Per cent of the test prompts: the mean, then seed by seed. nats/token: of the human answers, lower is better; distinct: right sampled answers of different
wording, per prompt.`;
}

/** The games that change one thing: each iteration against the SFT model of the same seeds. */
function others(family: Family, figures: readonly Figures[]): string {
  const rows = Object.keys(family.arms).flatMap((arm) => {
    const games = figures.filter((one) => one.arm === arm);
    const labels = [...new Set(games.flatMap(({ models }) => models.slice(1).map(({ label }) => label)))];
    return labels.map((label) => {
      const differences = (figure: string) =>
        games.flatMap(({ models }) => {
          const after = models.find((one) => one.label === label)?.test[figure];
          return after === undefined ? [] : [after - models[0]!.test[figure]!];
        });
      const cells = family.figures.map((figure) => {
        const values = differences(figure);
        return values.length > 1 ? said(meanOverSeeds(values)) : points(values[0]!);
      });
      return [arm, label, games.map(({ seed }) => seed).join(' '), ...cells];
    });
  });
  if (rows.length === 0) return '';
  return `
Other games, one change each (examples/evidence), from the same SFT models (on another processor: the same recipe and seeds, and other bits): points
against the model that the game began with, 95 %.

${markdown(['game', 'model', 'seeds', ...family.figures.map((figure) => columnNames[figure] ?? figure)], rows)}
`;
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}
