// The final table, as text for a terminal and as Markdown: a row for the SFT model and for each iteration, each figure
// with its difference from the row above and the standard error of that difference, as `35.1 (+2.1 ± 1.3)`.
import type { Comparison, MetricResult, Results } from './results.ts';

interface Format {
  scale: number;
  digits: number;
  /** What the figures are, for the legend. */
  unit: string;
}

const PERCENT: Format = { scale: 100, digits: 1, unit: '%, differences in points' };

/** Metrics that are not shares between 0 and 1. Every other metric, a user's scorer included, is shown in percent. */
const FORMATS = new Map<string, Format>([
  ['nats/token', { scale: 1, digits: 3, unit: 'nats per token of the human answers, lower is better' }],
  ['nats/token chosen', { scale: 1, digits: 3, unit: 'nats per token of the chosen answers' }],
  ['nats/token rejected', { scale: 1, digits: 3, unit: 'nats per token of the rejected answers' }],
  ['rewards/margins', { scale: 1, digits: 3, unit: 'nats times β, against the given model' }],
  ['length', { scale: 1, digits: 1, unit: 'tokens per answer' }],
  ['margin', { scale: 1, digits: 3, unit: 'nats times β' }],
]);

const NO_FIGURE = '–';
const BEST_MARK = '*';

type Table = Pick<Results, 'rows' | 'best' | 'comparisons'>;

/** Names of the metrics in the order in which rows mention them. */
function columnsOf({ rows }: Table): string[] {
  return [...new Set(rows.flatMap((row) => Object.keys(row.metrics)))];
}

function formatOf(name: string): Format {
  return FORMATS.get(name) ?? PERCENT;
}

function signed(value: number, digits: number): string {
  const text = value.toFixed(digits);
  // A difference that rounds to zero has no sign worth showing.
  return Number(text) === 0 ? `+${(0).toFixed(digits)}` : value > 0 ? `+${text}` : text;
}

/** A figure in the unit of its metric, with its standard error where there is one: "35.1 ± 1.3". */
export function figureOf(name: string, value: number, error: number | null = null): string {
  const { scale, digits } = formatOf(name);
  return `${(value * scale).toFixed(digits)}${error === null ? '' : ` ± ${(error * scale).toFixed(digits)}`}`;
}

/** A difference in the unit of its metric, with its sign: "+2.1". */
export function signedFigure(name: string, value: number): string {
  const { scale, digits } = formatOf(name);
  return signed(value * scale, digits);
}

/** Difference b − a over the items that both scored. */
export interface Paired {
  readonly difference: number;
  /** Null for a single item. */
  readonly standardError: number | null;
  /** 95 % bootstrap interval. */
  readonly low: number;
  readonly high: number;
  readonly n: number;
}

/** "+2.1 ± 1.3 (-0.4 to +4.6; 500 rows)": difference, standard error, 95 % interval. */
export function differenceText(metric: string, { difference, standardError, low, high, n }: Paired): string {
  const error = standardError === null ? '' : ` ± ${figureOf(metric, standardError)}`;
  return `${signedFigure(metric, difference)}${error} (${signedFigure(metric, low)} to ${signedFigure(metric, high)}; ${n} rows)`;
}

/** The figure and what stands in brackets behind it: "35.1" and "(+2.1 ± 1.3)", or "(± 1.5)" without a row above. */
function cellOf(name: string, result: MetricResult | undefined): { figure: string; brackets: string } {
  if (result === undefined) return { figure: NO_FIGURE, brackets: '' };
  const { scale, digits } = formatOf(name);
  const error = result.difference === undefined ? result.standardError : result.differenceStandardError;
  const parts: string[] = [];
  if (result.difference !== undefined) parts.push(signed(result.difference * scale, digits));
  if (error !== null && error !== undefined) parts.push(`± ${(error * scale).toFixed(digits)}`);
  return {
    figure: (result.mean * scale).toFixed(digits),
    brackets: parts.length === 0 ? '' : `(${parts.join(' ')})`,
  };
}

function labelOf(label: string, { best }: Table): string {
  return best?.label === label ? `${label} ${BEST_MARK}` : label;
}

/** What the figures of these metrics are, a sentence per unit. */
export function unitsOf(names: Iterable<string>): string[] {
  const byUnit = new Map<string, string[]>();
  for (const name of names) {
    const { unit } = formatOf(name);
    byUnit.set(unit, [...(byUnit.get(unit) ?? []), name]);
  }
  return [...byUnit].map(([unit, metrics]) => `${metrics.join(', ')}: ${unit}.`);
}

function legendOf(table: Table): string[] {
  const counts = [...new Set(table.rows.flatMap((row) => Object.values(row.metrics).map(({ n }) => n)))];
  const smallest = Math.min(...counts);
  const largest = Math.max(...counts);
  const items =
    counts.length === 0 ? '' : ` over ${smallest === largest ? largest : `${smallest} to ${largest}`} items`;
  const controls = table.rows.find(({ against }) => against !== undefined);
  const above = controls ? `the row above, of baselines from the ${controls.against}` : 'the row above';
  const lines = [
    ...unitsOf(columnsOf(table)),
    `In brackets: difference from ${above} ± its standard error${items}; ± alone is the figure's own.`,
  ];
  if (table.best !== null) lines.push(`${BEST_MARK} best: ${table.best.how}.`);
  return [...lines, ...(table.comparisons ?? []).map(comparisonSentence)];
}

const VERDICTS = {
  better: 'the game did better',
  worse: 'the game did worse',
  open: 'no evidence that the game did better or worse',
} as const;

/** The best iteration against the best control, in words. */
export function comparisonSentence({ metric, of, against, verdict, ...paired }: Comparison): string {
  return `${metric}, ${of} minus its best control on dev (${against}): ${differenceText(metric, paired)}: ${VERDICTS[verdict]}.`;
}

/** The table as aligned text with a legend below, ending in a line break. */
export function textTable(table: Table): string {
  const labels = table.rows.map((row) => labelOf(row.label, table));
  const lines = [' '.repeat(widest(labels)), ...labels.map((label) => label.padEnd(widest(labels)))];
  for (const name of columnsOf(table)) {
    const cells = table.rows.map((row) => cellOf(name, row.metrics[name]));
    const figureWidth = widest(cells.map(({ figure }) => figure));
    const texts = cells.map(({ figure, brackets }) => `${figure.padStart(figureWidth)} ${brackets}`.trimEnd());
    const column = [name, ...texts];
    const width = widest(column);
    column.forEach((text, i) => {
      lines[i] += `  ${text.padEnd(width)}`;
    });
  }
  return `${[...lines.map((line) => line.trimEnd()), '', ...legendOf(table)].join('\n')}\n`;
}

/** The table as a Markdown table with the legend as a paragraph, ending in a line break. */
export function markdownTable(table: Table): string {
  const columns = columnsOf(table);
  const line = (cells: string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const body = table.rows.map((row) =>
    line([
      labelOf(row.label, table).replace(` ${BEST_MARK}`, ` \\${BEST_MARK}`),
      ...columns.map((name) => {
        const { figure, brackets } = cellOf(name, row.metrics[name]);
        return `${figure} ${brackets}`.trimEnd();
      }),
    ]),
  );
  const head = line(['model', ...columns]);
  const rule = `|${'---|'.repeat(columns.length + 1)}`;
  const legend = legendOf(table).join(' ').replace(`${BEST_MARK} best`, `\\${BEST_MARK} best`);
  return `${[head, rule, ...body, '', legend].join('\n')}\n`;
}

function widest(texts: readonly string[]): number {
  return Math.max(0, ...texts.map((text) => text.length));
}
