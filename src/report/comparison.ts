// Two result tables side by side: every figure of both, and the paired difference over the rows that both were tested on.
import { pairedDifference } from '../evaluation/index.ts';
import type { MetricResult, ResultRow, Results } from './results.ts';
import { differenceText, figureOf, type Paired, unitsOf } from './table.ts';

/** One figure of a row in both tables; null where a table lacks it, or where no item is in both. */
export interface ComparedFigure {
  /** Of the row: "SFT model", "iteration 0", … */
  readonly label: string;
  readonly metric: string;
  readonly a: MetricResult | null;
  readonly b: MetricResult | null;
  readonly paired: Paired | null;
}

/** The figures of all rows, those of the same label beside each other. */
export function compareResults(a: Results, b: Results): ComparedFigure[] {
  const labels = new Set([...a.rows, ...b.rows].map(({ label }) => label));
  return [...labels].flatMap((label) => {
    const of = ({ rows }: Results) => rows.find((row) => row.label === label);
    const [left, right] = [of(a), of(b)];
    const metrics = new Set([left, right].flatMap((row) => Object.keys(row?.metrics ?? {})));
    return [...metrics].map((metric) => ({
      label,
      metric,
      a: left?.metrics[metric] ?? null,
      b: right?.metrics[metric] ?? null,
      paired: pairedFigure(metric, left, right),
    }));
  });
}

/** The difference of two rows in a figure, over the items that both scored; null when there are none. */
export function pairedFigure(metric: string, a: ResultRow | undefined, b: ResultRow | undefined): Paired | null {
  const theirs = new Map(b?.items.map(({ id, scores }) => [id, scores[metric]]));
  const pairs = (a?.items ?? []).flatMap(({ id, scores }) => {
    const [before, after] = [scores[metric], theirs.get(id)];
    return before === undefined || after === undefined ? [] : [[before, after] as const];
  });
  if (pairs.length === 0) return null;
  const { difference, standardError, low, high, n } = pairedDifference(
    pairs.map(([before]) => before),
    pairs.map(([, after]) => after),
    { seed: 0 },
  );
  return { difference, standardError, low, high, n };
}

/** The figures as aligned text with a legend below, ending in a line break. */
export function comparisonTable(figures: readonly ComparedFigure[]): string {
  const lines = figures.map(({ label, metric, a, b, paired }) => [
    label,
    metric,
    a === null ? '–' : figureOf(metric, a.mean, a.standardError),
    b === null ? '–' : figureOf(metric, b.mean, b.standardError),
    paired === null ? '–' : differenceText(metric, paired),
  ]);
  return `${[
    alignedText([['', '', 'A', 'B', 'B − A'], ...lines]),
    '',
    ...unitsOf(new Set(figures.map(({ metric }) => metric))),
    'After ± stands a standard error. B − A: mean difference over the test rows that are in both, with its 95 % interval.',
  ].join('\n')}\n`;
}

/** Cells as lines, every column as wide as its widest cell. */
export function alignedText(lines: readonly (readonly string[])[]): string {
  const widths = lines[0]!.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)));
  return lines
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
