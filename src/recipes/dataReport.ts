/** `selfplay data`: what a file of rows is taken for, which rows cannot be used, how long they are, and what is trained on. */
import { z } from 'zod';
import { companionDirectory } from '../checkpoint/index.ts';
import { type Example, filesInWords, isTooMany, readExamples, type SkippedRow, take } from '../data/index.ts';
import { alignedText, formatCount } from '../report/index.ts';
import { encodeExamples, loadTokenizer, type MaskPiece } from '../tokens/index.ts';
import { canonicalJson, linkedDirectory } from '../util/index.ts';
import { maskedRows, type Paint } from './preflight/beforehand.ts';
import type { RecipeContext } from './run/context.ts';
import { localInputs } from './run/inputs.ts';
import { columnsOf, turnsNotes } from './run/rows.ts';
import { files, rows, where } from './settings/settingParts.ts';

export const dataSchema = z.strictObject({
  data: files.describe('Files of rows, or org/name:config:split of the Hub'),
  model: where.model.optional().describe('Model whose tokenizer says lengths in tokens, and what is trained on'),
  prompt_column: rows.prompt_column,
  response_column: rows.response_column,
  turns: rows.turns,
});

export type DataSettings = z.output<typeof dataSchema>;
export type DataInput = z.input<typeof dataSchema>;

/** A number of rows whose length is from `from` to `to`. */
interface Bin {
  readonly from: number;
  readonly to: number;
  readonly rows: number;
}

interface Lengths {
  readonly median: number;
  readonly p90: number;
  readonly longest: number;
  readonly bins: readonly Bin[];
}

export interface DataReport {
  readonly files: readonly string[];
  /** "messages", or the columns as "prompt/completion". */
  readonly format: string;
  readonly rows: number;
  /** Examples that they give; more than rows where each answer of a chat counts. */
  readonly examples: number;
  readonly skipped: readonly SkippedRow[];
  readonly notes: readonly string[];
  /** More than 5 % cannot be used: `selfplay run` does not take the file. */
  readonly isRefused: boolean;
  /** Examples that say what an earlier one says; and those whose prompt an earlier one has, with another answer. */
  readonly duplicates: { readonly same: number; readonly prompt: number };
  /** Of prompt and answer together; in characters without a model. `of`: how many examples were measured. */
  readonly lengths: {
    readonly unit: 'tokens' | 'characters';
    readonly of: number;
    readonly prompt: Lengths;
    readonly answer: Lengths;
  };
  /** Examples that were measured and that the tokenizer or its template refuses. */
  readonly refused: readonly SkippedRow[];
  readonly masks: readonly { readonly id: string; readonly pieces: readonly MaskPiece[] }[];
}

/** Examples that are measured: enough to see how long they are. */
const MEASURED = 5000;
const MASKS = 3;
const BINS = 8;
const BAR = 32;
const SHOWN = 5;

/** @throws what `selfplay run` would throw about these files */
export async function describeData(given: DataSettings, context: RecipeContext): Promise<DataReport> {
  const { settings } = await localInputs(given, context);
  const { model } = settings;
  const tokenizer =
    model === undefined ? undefined : await loadTokenizer(await companionDirectory(await linkedDirectory(model)));
  const dataset = await readExamples(settings.data, { ...columnsOf(given), lenient: true });
  const { examples, rows: count, skipped } = dataset;
  const measured = take(examples, { seed: 0, sample: Math.min(MEASURED, examples.length) });
  const refused: SkippedRow[] = [];
  const lengths: (readonly [prompt: number, answer: number])[] = [];
  const masks: DataReport['masks'][number][] = [];
  const encoded = tokenizer === undefined ? undefined : await encodeExamples(measured, tokenizer);
  for (const [i, example] of measured.entries()) {
    const ids = encoded?.[i];
    if (ids !== undefined && 'refused' in ids) {
      refused.push({ file: example.file, line: example.line, reason: ids.refused });
      continue;
    }
    lengths.push(ids === undefined ? charactersOf(example) : [ids.promptIds.length, ids.responseIds.length]);
    if (masks.length === MASKS) continue;
    const pieces = ids === undefined ? textsOf(example) : tokenizer!.describeMask(ids);
    masks.push({ id: example.id, pieces });
  }
  return {
    files: settings.data,
    format: dataset.format,
    rows: count,
    examples: examples.length,
    skipped,
    notes: turnsNotes(dataset, filesInWords(settings.data)),
    isRefused: isTooMany(skipped, count),
    duplicates: duplicatesOf(examples),
    lengths: {
      unit: tokenizer === undefined ? 'characters' : 'tokens',
      of: lengths.length,
      prompt: lengthsOf(lengths.map(([prompt]) => prompt)),
      answer: lengthsOf(lengths.map(([, answer]) => answer)),
    },
    refused,
    masks,
  };
}

const charactersOf = ({ prompt, response }: Example): [number, number] => [
  prompt.reduce((sum, { content }) => sum + content.length, 0),
  response.length,
];

function textsOf({ prompt, response }: Example): MaskPiece[] {
  const before = prompt.map(({ role, content }) => `${role}: ${content}\n`).join('');
  return [
    { text: `${before}assistant: `, part: 'prompt' },
    { text: response, part: 'response' },
  ];
}

function duplicatesOf(examples: readonly Example[]): DataReport['duplicates'] {
  const contents = new Set<string>();
  const prompts = new Set<string>();
  let [same, prompt] = [0, 0];
  for (const example of examples) {
    // The id of a further row of the same content ends in a number.
    const content = example.id.slice(0, 16);
    const key = canonicalJson(example.prompt);
    if (contents.has(content)) same++;
    else if (prompts.has(key)) prompt++;
    contents.add(content);
    prompts.add(key);
  }
  return { same, prompt };
}

/** Bins of equal width on whole numbers, from the shortest to the longest. */
export function lengthsOf(values: readonly number[]): Lengths {
  const sorted = [...values].sort((a, b) => a - b);
  const quantile = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
  const [shortest, longest] = [sorted[0] ?? 0, sorted.at(-1) ?? 0];
  const width = Math.max(1, Math.ceil((longest - shortest + 1) / BINS));
  const bins = Array.from({ length: Math.ceil((longest - shortest + 1) / width) }, (_, i): Bin => {
    const from = shortest + i * width;
    const to = Math.min(longest, from + width - 1);
    return { from, to, rows: sorted.filter((value) => from <= value && value <= to).length };
  });
  return { median: quantile(0.5), p90: quantile(0.9), longest, bins };
}

function histogram(name: string, { median, p90, longest, bins }: Lengths, unit: string): string {
  const most = Math.max(1, ...bins.map(({ rows: count }) => count));
  const lines = bins.map(({ from, to, rows: count }) => [
    `  ${from}–${to}`,
    '█'.repeat(Math.ceil((count / most) * BAR)) || '·',
    formatCount(count),
  ]);
  return `${name} in ${unit}: median ${median}, 90 % up to ${p90}, longest ${longest}\n${alignedText(lines)}`;
}

/** The report as text, ending in a line break. */
export function dataText(report: DataReport, paint?: Paint): string {
  const { skipped, refused, duplicates, lengths, masks, notes } = report;
  const bad = [...skipped, ...refused];
  const more = bad.length - SHOWN;
  return [
    `${filesInWords(report.files)}: ${formatCount(report.rows)} rows, read as ${report.format}; ${formatCount(report.examples)} can be used`,
    ...notes,
    bad.length === 0 ? 'No row is left out.' : `${formatCount(bad.length)} cannot be used:`,
    ...bad.slice(0, SHOWN).map(({ file, line, reason }) => `  ${file}:${line}: ${reason}`),
    ...(more > 0 ? [`  and ${formatCount(more)} more`] : []),
    ...(report.isRefused ? ['These are more than 5 %: `selfplay run` refuses such a file.'] : []),
    `Duplicates: ${formatCount(duplicates.same)} say what an earlier one says, ${formatCount(duplicates.prompt)} have another answer to an earlier prompt.`,
    '',
    ...(lengths.of < report.examples ? [`Lengths of ${formatCount(lengths.of)} of them, at random:`] : []),
    histogram('Prompts', lengths.prompt, lengths.unit),
    histogram('Answers', lengths.answer, lengths.unit),
    '',
    lengths.unit === 'tokens'
      ? 'Three rows as they are trained on: prompt, answer, end token'
      : 'Three rows: prompt, answer (with --model as its template writes them)',
    '',
    ...maskedRows(masks, paint),
  ].join('\n');
}
