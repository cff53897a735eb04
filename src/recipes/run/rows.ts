/**
 * From the data file to encoded rows: read, cut into three splits, compared, then limited, then encoded. Rows that
 * cannot be used are skipped with line and reason, and refused when they are more than a few.
 */
import {
  type Dataset,
  type Example,
  filesInWords,
  type Overlap,
  promptOverlaps,
  readExamples,
  type SkippedRow,
  splitExamples,
  take,
} from '../../data/index.ts';
import type { LanguageModel } from '../../models/index.ts';
import type { Group } from '../../pairs/index.ts';
import { type ChatTokenizer, encodeExamples } from '../../tokens/index.ts';
import { usageError } from '../../util/index.ts';
import { at, valuesOf } from '../settings/schedules.ts';
import type { SpinSettings } from '../settings/settings.ts';

/** An example with its ids; `responseIds` ends with the only end id. */
export interface Row extends Example {
  readonly promptIds: Int32Array;
  readonly responseIds: Int32Array;
}

/** A row as plain SFT learns it. */
export const asGroup = ({ promptIds, responseIds }: Row): Group => ({ promptIds, responses: [{ ids: responseIds }] });

/** Prompts that should be news to the model. */
export interface HeldOut {
  /** `dev`, `test` or the name of a file. */
  readonly name: string;
  readonly examples: readonly Example[];
}

/** What a comparison of the train prompts with held-out ones found. */
interface Comparison extends HeldOut {
  readonly overlaps: readonly Overlap[];
}

export interface Rows {
  /** The game is played on these; of a `sample` that differs between iterations on those of the largest. */
  readonly train: Row[];
  /** Those that iteration t is played on: a smaller sample is part of a larger one. */
  readonly trainAt: (t: number) => readonly Row[];
  /** Choices are made on these. */
  readonly dev: Row[];
  /** The table shows these, and nothing is chosen by them. */
  readonly test: Row[];
  /** Plain sentences about what was read and skipped. */
  readonly notes: string[];
  /** What is held out: dev, test and the files that the user named; with the prompts that train has in common with them. */
  readonly comparisons: Comparison[];
  /** How many train rows were compared; 0 where there are none. */
  readonly compared: number;
}

interface Encoded<R = Row> {
  readonly rows: R[];
  readonly skipped: string[];
  /** How many are left out for being longer than the user wants them: no fault of theirs. */
  readonly long?: number;
}

/** Share of rows that may be unusable before the file is refused. */
const MAX_SKIPPED = 0.05;
/** Skipped rows that are named one by one. */
const SHOWN_SKIPPED = 3;
/** Rows of a held-out split, unless the user says: a tenth of the rows, and at most as many. */
export const HELD_OUT = 100;

type RowSettings = { readonly data?: readonly string[] | undefined } & Pick<
  SpinSettings,
  | 'eval_data'
  | 'prompt_column'
  | 'response_column'
  | 'turns'
  | 'limit'
  | 'sample'
  | 'dev_size'
  | 'test_size'
  | 'contamination'
  | 'contaminated'
  | 'seed'
  | 'max_length'
  | 'max_prompt_length'
>;

/** Columns and the rule for rounds that the user named, if any. */
export function columnsOf({
  prompt_column,
  response_column,
  turns,
}: Partial<Pick<SpinSettings, 'prompt_column' | 'response_column' | 'turns'>>) {
  const rule = turns === undefined ? {} : { turns };
  if (prompt_column === undefined && response_column === undefined) return rule;
  if (prompt_column === undefined || response_column === undefined) {
    throw usageError({
      what: 'prompt_column and response_column belong together',
      fix: 'give both --prompt-column and --response-column',
    });
  }
  return { ...rule, columns: { prompt: prompt_column, response: response_column } };
}

/** A game that starts from pairs may have no data: then all rows that there are come from `eval_data`, for the table. */
export async function prepareRows(
  settings: RowSettings,
  tokenizer: ChatTokenizer,
  model: LanguageModel,
): Promise<Rows> {
  const { data } = settings;
  return data === undefined
    ? rowsBesidePairs(settings, tokenizer, model)
    : rowsOf({ ...settings, data }, tokenizer, model);
}

type WithData = RowSettings & { readonly data: readonly string[] };

/** The data in its splits; `outside` are rows for the table from a file of their own. */
async function readSplits(settings: WithData) {
  const dataset = await readExamples(settings.data, columnsOf(settings));
  const tenth = Math.min(HELD_OUT, Math.floor(dataset.examples.length / 10));
  const outside = settings.eval_data === undefined ? null : await readExamples(settings.eval_data, columnsOf(settings));
  const splits = splitExamples(dataset.examples, {
    seed: settings.seed,
    dev: settings.dev_size ?? tenth,
    test: outside ? 0 : (settings.test_size ?? tenth),
  });
  return { dataset, outside, splits };
}

/** The dev split of a run, read again. */
export async function readDevRows(settings: WithData, tokenizer: ChatTokenizer, model: LanguageModel): Promise<Row[]> {
  const { dev } = (await readSplits(settings)).splits;
  return (await encodeRows(dev, tokenizer, model, settings)).rows;
}

async function rowsOf(settings: WithData, tokenizer: ChatTokenizer, model: LanguageModel): Promise<Rows> {
  const { seed } = settings;
  const file = filesInWords(settings.data);
  const testFile = filesInWords(settings.eval_data ?? settings.data);
  const { dataset, outside, splits } = await readSplits(settings);
  const test = outside ? forTable(outside.examples, settings) : splits.test;
  const heldOut: HeldOut[] = [
    { name: 'dev', examples: splits.dev },
    { name: 'test', examples: test },
    ...(await namedRows(settings)),
  ];
  const { chosen: train, ofSample, ...comparison } = chooseRows(splits.train, heldOut, settings);

  const encode = (examples: readonly Example[]) => encodeRows(examples, tokenizer, model, settings);
  const encoded = { train: await encode(train), dev: await encode(splits.dev), test: await encode(test) };
  const skipped = [...encoded.train.skipped, ...encoded.dev.skipped, ...encoded.test.skipped];
  const inside = [encoded.train, encoded.dev, ...(outside ? [] : [encoded.test])];
  refuseUnusable(inside, file);
  if (outside) refuseUnusable([encoded.test], testFile);
  if (encoded.train.rows.length === 0) {
    const why = encoded.train.skipped.length > 0 ? `:\n  ${encoded.train.skipped.join('\n  ')}` : '';
    const long = encoded.train.long > 0 ? `; ${encoded.train.long} are longer than ${longestInWords(settings)}` : '';
    throw usageError({
      what: `none of the ${train.length} rows to train on can be used${long}${why}`,
      where: file,
      fix: 'mend or remove these rows, or ask for more or longer ones',
    });
  }
  const notes = [
    `${file}: ${dataset.rows} rows (${dataset.format}); train ${encoded.train.rows.length} of ${splits.train.length}, ` +
      `dev ${encoded.dev.rows.length}, test ${encoded.test.rows.length}${outside ? ` (from ${testFile})` : ''}; seed ${seed}`,
    ...turnsNotes(dataset, file),
    ...dataset.skipped.slice(0, 3).map(skippedNote),
    ...skipped.slice(0, 3).map((problem) => `skipped ${problem}`),
  ];
  const unseen = Math.max(0, dataset.skipped.length - 3) + Math.max(0, skipped.length - 3);
  if (unseen > 0) notes.push(`skipped ${unseen} more rows`);
  const long = encoded.train.long + encoded.dev.long + encoded.test.long;
  if (long > 0) notes.push(`left out ${long} rows that are longer than ${longestInWords(settings)}`);
  const rows = { train: encoded.train.rows, dev: encoded.dev.rows, test: encoded.test.rows };
  const trainAt = (t: number): readonly Row[] => {
    if (settings.sample === undefined || typeof settings.sample === 'number') return rows.train;
    const ids = new Set(ofSample(at(settings.sample, t)).map(({ id }) => id));
    return rows.train.filter(({ id }) => ids.has(id));
  };
  return { ...rows, trainAt, notes, ...comparison };
}

/** The limits that the user gave. */
function longestInWords({ max_length, max_prompt_length }: RowSettings): string {
  const limits = [
    ...(max_length === undefined ? [] : [`max_length (${max_length})`]),
    ...(max_prompt_length === undefined ? [] : [`max_prompt_length (${max_prompt_length})`]),
  ];
  return limits.join(' or ');
}

/**
 * Which of the rows are trained on, by `limit` or the largest `sample` and by `contaminated`; and what the comparison of
 * their prompts with held-out ones found. Rows with one id are counted as one: they are answers to the same row.
 * `ofSample` gives those of a sample. Throws a usage error when no row is left.
 */
export function chooseRows<R extends Example>(
  examples: readonly R[],
  heldOut: readonly HeldOut[],
  { sample, limit, seed, contaminated }: Pick<RowSettings, 'limit' | 'sample' | 'seed' | 'contaminated'>,
): { readonly chosen: R[]; readonly ofSample: (n: number) => R[] } & Pick<Rows, 'comparisons' | 'compared'> {
  const settings = { limit, seed, sample: sample === undefined ? undefined : Math.max(...valuesOf(sample)) };
  // Rows that are dropped make room for others below a limit, so all are compared; of rows that are kept only those count
  // that are trained on.
  const dropping = contaminated === 'drop';
  const candidates = dropping ? examples : takeById(examples, settings);
  const comparisons = heldOut.map((part) => ({ ...part, overlaps: promptOverlaps(candidates, part.examples) }));
  const pool = dropping ? without(candidates, comparisons) : examples;
  const chosen = dropping ? takeById(pool, settings) : [...candidates];
  return { chosen, ofSample: (n) => takeById(pool, { seed, sample: n }), comparisons, compared: candidates.length };
}

function takeById<R extends Example>(rows: readonly R[], choice: Parameters<typeof take>[1]): R[] {
  const chosen = new Set(take([...new Set(rows.map(({ id }) => id))], choice));
  return rows.filter(({ id }) => chosen.has(id));
}

/** Rows of the files that the user named. */
export function namedRows(
  settings: Pick<RowSettings, 'contamination'> & Parameters<typeof columnsOf>[0],
): Promise<HeldOut[]> {
  return Promise.all(
    settings.contamination.map(async (file) => {
      const { examples } = await readExamples(file, columnsOf(settings));
      return { name: file, examples };
    }),
  );
}

/** Test rows of a file of their own. */
function forTable(examples: readonly Example[], { seed, test_size = HELD_OUT }: RowSettings): Example[] {
  return take(examples, { seed, sample: Math.min(test_size, examples.length) });
}

async function rowsBesidePairs(settings: RowSettings, tokenizer: ChatTokenizer, model: LanguageModel): Promise<Rows> {
  const { eval_data: files, seed } = settings;
  const none = { train: [], trainAt: () => [], dev: [], compared: 0 };
  const uncompared = (heldOut: readonly HeldOut[]) => heldOut.map((part) => ({ ...part, overlaps: [] }));
  const named = await namedRows(settings);
  if (files === undefined) {
    const note = 'There are no held-out rows: the table has no figures, and the last model counts as the best.';
    return { ...none, test: [], notes: [`${note} --eval-data gives some.`], comparisons: uncompared(named) };
  }
  const file = filesInWords(files);
  const dataset = await readExamples(files, columnsOf(settings));
  const examples = forTable(dataset.examples, settings);
  const encoded = await encodeRows(examples, tokenizer, model, settings);
  refuseUnusable([encoded], file);
  const notes = [
    `${file}: ${dataset.rows} rows (${dataset.format}); test ${encoded.rows.length}; seed ${seed}`,
    'There are no dev rows: the last model counts as the best.',
    ...dataset.skipped.slice(0, 3).map(skippedNote),
    ...encoded.skipped.map((problem) => `skipped ${problem}`),
    ...(encoded.long > 0 ? [`left out ${encoded.long} rows that are longer than ${longestInWords(settings)}`] : []),
  ];
  return { ...none, test: encoded.rows, notes, comparisons: uncompared([{ name: 'test', examples }, ...named]) };
}

/** The rows whose prompts are news to everything that is held out. Throws a usage error when there are none. */
function without<R extends Example>(examples: readonly R[], comparisons: readonly Comparison[]): R[] {
  const known = new Set<Example>(comparisons.flatMap(({ overlaps }) => overlaps.map(({ train }) => train)));
  const clean = examples.filter((example) => !known.has(example));
  if (clean.length > 0) return clean;
  throw usageError({
    what: `the prompts of all ${examples.length} train rows overlap with held-out ones`,
    fix: 'give other data, name fewer files as --contamination, or keep the rows: --contaminated keep',
  });
}

/** Encodes examples; `skipped` says file, line and reason of those that cannot be used. */
export async function encodeRows(
  examples: readonly Example[],
  tokenizer: ChatTokenizer,
  { contextLength: context }: LanguageModel,
  {
    max_length = context,
    max_prompt_length = context,
  }: Partial<Pick<RowSettings, 'max_length' | 'max_prompt_length'>> = {},
): Promise<Required<Encoded>> {
  const rows: Row[] = [];
  const skipped: string[] = [];
  let long = 0;
  const encoded = await encodeExamples(examples, tokenizer);
  for (const [i, example] of examples.entries()) {
    const ids = encoded[i]!;
    const where = `${example.file}:${example.line}`;
    if ('refused' in ids) {
      skipped.push(`${where}: ${ids.refused}`);
      continue;
    }
    const length = ids.promptIds.length + ids.responseIds.length;
    if (length > context) skipped.push(`${where}: ${length} tokens, longer than the ${context} that fit`);
    else if (length > max_length || ids.promptIds.length > max_prompt_length) long++;
    else rows.push({ ...example, ...ids });
  }
  return { rows, skipped, long };
}

/** What the rule for rounds left out, so that nothing is cut in silence. */
export function turnsNotes({ unused, rows }: Pick<Dataset, 'unused' | 'rows'>, file: string): string[] {
  if (unused.rows === 0) return [];
  const what = `${unused.rows} of the ${rows} rows of ${file} are chats with ${unused.answers} more answers, which are not played on`;
  return [`${what} (--turns each plays on every answer, last on the last one)`];
}

const skippedNote = ({ file, line, reason }: SkippedRow) => `skipped ${file}:${line}: ${reason}`;

/** The first rows that were skipped, each with its reason, and how many more there were. */
export function skippedNotes(skipped: readonly string[]): string[] {
  const more = skipped.length - SHOWN_SKIPPED;
  const first = skipped.slice(0, SHOWN_SKIPPED).map((problem) => `skipped ${problem}`);
  return more > 0 ? [...first, `skipped ${more} more rows`] : first;
}

/** Throws a usage error when more rows of a file than a few cannot be used. */
export function refuseUnusable(parts: readonly Encoded<unknown>[], file: string): void {
  const skipped = parts.flatMap((part) => part.skipped);
  const count = skipped.length + parts.reduce((n, { rows }) => n + rows.length, 0);
  if (skipped.length <= MAX_SKIPPED * count) return;
  throw usageError({
    what: `${skipped.length} of ${count} rows cannot be used:\n  ${skipped.slice(0, 5).join('\n  ')}`,
    where: file,
    fix: 'mend or remove these rows, or choose a model with a longer context',
  });
}
