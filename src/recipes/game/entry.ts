/**
 * Entering a game in the middle: pairs from files are laid where the game looks for its own, `pairs` into the first
 * iteration and `replay_pairs` into those before it. They are compared with held-out prompts like rows of data, and judged
 * like sampled pairs. From there on they are pairs like others, except that no sampler's log-probs came along: both of
 * their answers are scored under the opponent.
 *
 * A file holds lines of a pairs.jsonl, whose ids are taken as they are, or answers as texts, which get the ids of the
 * model's own tokenizer and template. What has another form is an error; texts that cannot be used are skipped with
 * line and reason, and refused when they are more than a few.
 */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import {
  type AnswerKeys,
  contentId,
  type Example,
  filesInWords,
  parsePairRow,
  readRows,
  textProblem,
} from '../../data/index.ts';
import type { Checker } from '../../evaluation/index.ts';
import { SelfplayError, usageError } from '../../util/index.ts';
import { reportContamination } from '../run/contamination.ts';
import { CONTAMINATION, iterationName } from '../run/layout.ts';
import { type PairRecord, pairRecordSchema } from '../run/records.ts';
import { chooseRows, type HeldOut, type Rows, refuseUnusable, skippedNotes } from '../run/rows.ts';
import type { Run } from '../run/run.ts';
import { at } from '../settings/schedules.ts';
import { type Player, stage } from './opponent.ts';
import {
  type Entry,
  type JudgedEntry,
  judgeEntries,
  pairRecord,
  reportPairs,
  writeEntries,
  writtenTokens,
} from './verdicts.ts';

/** A row before its ids are checked or made: a prompt with its human answer, and what the opponent's answer comes from. */
export interface FileRow<G = PairRecord | string> extends Example {
  /** Number of the answer among those to this row. */
  readonly sample: number;
  /** The record that it is, or the text of the answer. */
  readonly generated: G;
}

/** What a file brings into iteration t. */
interface EnteredFile extends Pick<Rows, 'comparisons' | 'compared'> {
  readonly file: string;
  readonly t: number;
  readonly entries: JudgedEntry[];
  readonly skipped: string[];
  /** Left out where they were made, and not by this run's settings. */
  readonly readmitted: number;
}

const FORMS =
  'a row is {"real", "generated"}: two lists of messages with the same prompt, the answer of the assistant last; or ' +
  '{"prompt", "real", "generated"}; or a line of the pairs.jsonl of a run';

/**
 * Brings the pairs that the settings name into the run, unless they are there. Nothing is written before everything
 * is read. Throws a usage error with file:line:key for rows of a wrong form, and for pairs of another tokenizer or
 * another iteration; invalid JSON is a failure with file:line.
 */
export async function enterPairs(
  run: Run<'run'>,
  player: Player,
  { comparisons: heldOut, checker }: Pick<Rows, 'comparisons'> & { readonly checker: Checker | null },
): Promise<void> {
  const { start_iteration: first, pairs, replay_pairs = [] } = run.settings;
  const entered: EnteredFile[] = [];
  for (const [i, files] of [pairs, ...replay_pairs.map((file) => [file])].entries()) {
    const t = first - i;
    if (files === undefined || existsSync(run.path(iterationName(t), 'pairs.jsonl'))) continue;
    entered.push(await readPairFiles(files, t, player, heldOut, checker, run.settings));
  }
  for (const { file, t, entries, skipped, readmitted, comparisons, compared } of entered) {
    await mkdir(run.path(iterationName(t)), { recursive: true });
    await stage(run, { iteration: t, stage: 'prepare' }, async () => {
      const listed = `${iterationName(t)}/${CONTAMINATION}`;
      await reportContamination(run, { comparisons, compared, listed, iteration: t });
      const what = `${file}: ${entries.length} pairs of iteration ${t}`;
      await reportPairs(run, { iteration: t, stage: 'prepare' }, entries, what);
      if (readmitted > 0) {
        await run.warn(
          `${file}: ${readmitted} of these pairs were left out where they were made, and take part here by the drop, ` +
            'checker and max_length of this run.',
        );
      }
      for (const note of skippedNotes(skipped)) await run.say(note);
      return { counts: { pairs: entries.length, skipped: skipped.length, computed: writtenTokens(entries) } };
    });
    await writeEntries(run, t, entries);
  }
}

export async function readPairFiles(
  files: readonly string[],
  t: number,
  player: Player,
  heldOut: readonly HeldOut[],
  checker: Checker | null,
  settings: Run<'run'>['settings'],
): Promise<EnteredFile> {
  const file = filesInWords(files);
  const { rows, skipped } = await readPairRows(files, FORMS, (given, at) =>
    Object.hasOwn(given, 'promptIds') ? rowOfRecord(given, { ...at, t }) : rowOfTexts(given, at, FORMS),
  );
  refuseUnusable([{ rows, skipped }], file);
  const { sample } = settings;
  const own = { ...settings, sample: sample === undefined ? undefined : at(sample, t) };
  const { chosen, ...comparison } = chooseRows(rows, heldOut, own);
  const { rows: entries, skipped: unfit } = entriesOf(chosen, t, player);
  refuseUnusable([{ rows: entries, skipped: unfit }], file);
  const judged = await judgeEntries(settings, player.loaded.model, checker, entries);
  const readmitted = judged.filter(
    ({ record }, i) => record.excluded === null && entries[i]!.record.excluded !== null,
  ).length;
  return { file, t, entries: judged, skipped: [...skipped, ...unfit], readmitted, ...comparison };
}

/** The rows of a file as pairs of iteration t; those whose texts cannot be encoded are skipped. */
export function entriesOf(rows: readonly FileRow[], t: number, player: Player): { rows: Entry[]; skipped: string[] } {
  const entries: Entry[] = [];
  const skipped: string[] = [];
  for (const row of rows) {
    const where = `${row.file}:${row.line}`;
    try {
      entries.push({ file: row.file, line: row.line, record: recordOf(row, where, t, player) });
    } catch (error) {
      // What is wrong with a text has no place of its own.
      if (!(error instanceof SelfplayError) || error.where !== undefined) throw error;
      skipped.push(`${where}: ${error.what}`);
    }
  }
  return { rows: entries, skipped };
}

/** Where a row stands. `answersTo`: how many answers each id has so far. */
export interface RowPlace {
  readonly file: string;
  readonly line: number;
  readonly where: string;
  readonly answersTo: Map<string, number>;
}

/** The rows of files, each with a name of its own; and those whose texts cannot be used, which `rowOf` gives the reason for. */
export async function readPairRows<R extends FileRow>(
  files: readonly string[],
  forms: string,
  rowOf: (given: Readonly<Record<string, unknown>>, at: RowPlace) => R | string,
): Promise<{ rows: R[]; skipped: string[] }> {
  const rows: R[] = [];
  const skipped: string[] = [];
  const placeOf = new Map<string, string>();
  const answersTo = new Map<string, number>();
  for (const file of files) {
    for await (const { line, value } of await readRows(file)) {
      const where = `${file}:${line}`;
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        throw usageError({ what: 'the row is not a JSON object', where, fix: forms });
      }
      const row = rowOf(value as Readonly<Record<string, unknown>>, { file, line, where, answersTo });
      if (typeof row === 'string') {
        skipped.push(`${where}: ${row}`);
        continue;
      }
      const name = `${row.id}/${row.sample}`;
      const before = placeOf.get(name);
      if (before !== undefined) {
        throw usageError({
          what: `the pair ${name} stands in ${before} already`,
          where: `${where}:id`,
          fix: 'remove one of the two',
        });
      }
      placeOf.set(name, file === files[0] ? `line ${line}` : where);
      rows.push(row);
    }
  }
  if (rows.length + skipped.length === 0)
    throw usageError({ what: 'the file has no pairs', where: filesInWords(files), fix: forms });
  return { rows, skipped };
}

function rowOfRecord(
  given: Readonly<Record<string, unknown>>,
  { file, line, where, t }: Omit<RowPlace, 'answersTo'> & { readonly t: number },
): FileRow {
  const parsed = pairRecordSchema.safeParse(given);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    throw usageError({
      what: message,
      where: `${where}:${path.join('.')}`,
      fix: 'give the pairs.jsonl as a run wrote it',
    });
  }
  const record = parsed.data;
  const [real, generated] = record.responses;
  if (generated.iteration !== t) {
    throw usageError({
      what: `this is a pair of iteration ${generated.iteration}; needed are those of iteration ${t}`,
      where: `${where}:responses.1.iteration`,
      fix: 'check --start-iteration: --pairs are of that iteration, --replay-pairs of the one before, then of those before it',
    });
  }
  const { id, prompt } = record;
  return { id, file, line, prompt, response: real.text, sample: generated.sample, generated: record };
}

/**
 * A row of texts, or why it cannot be used. Its id is that of the same prompt and human answer in the data; several
 * answers to them are its samples. Changes `answersTo`. Throws a usage error for another form.
 */
export function rowOfTexts(
  given: Readonly<Record<string, unknown>>,
  { file, line, where, answersTo }: RowPlace,
  forms: string,
  keys?: AnswerKeys,
): FileRow<string> | string {
  const parsed = parsePairRow(given, keys);
  if ('reason' in parsed) throw usageError({ what: parsed.reason, where: `${where}:${parsed.key}`, fix: forms });
  const { prompt, real: response, generated } = parsed;
  const id = contentId(prompt, response);
  const problem = textProblem(parsed);
  if (problem !== undefined) return problem;
  const sample = answersTo.get(id) ?? 0;
  answersTo.set(id, sample + 1);
  return { id, file, line, prompt, response, sample, generated };
}

/** The pair of a row. Throws an error without a place when its texts cannot be encoded. */
function recordOf({ generated, ...row }: FileRow, where: string, t: number, player: Player): PairRecord {
  if (typeof generated !== 'string') {
    demandOwn(generated, where, player);
    return generated;
  }
  const { tokenizer } = player;
  const human = tokenizer.encodePair(row);
  const { responseIds: ids } = tokenizer.encodePair({ prompt: row.prompt, response: generated });
  // The text of the ids, as of every sample: a template may have trimmed the given one.
  const answer = { sample: row.sample, ids, text: tokenizer.decode(ids), finish: 'end' } as const;
  return pairRecord({ ...row, ...human }, answer, t);
}

/** Throws a usage error when a record cannot be one of this model's. */
function demandOwn(record: PairRecord, where: string, { tokenizer, loaded }: Player): void {
  const foreign = (what: string, key: string, of: string) =>
    usageError({
      what: `${what}: the pairs are of another ${of}`,
      where: `${where}:${key}`,
      fix: 'give the model that wrote them, or the answers as texts: {"prompt", "real", "generated"}',
    });
  for (const [i, { ids, finish }] of record.responses.entries()) {
    const unknown = ids.find((id) => id >= loaded.model.vocabSize);
    if (unknown !== undefined) throw foreign(`the model has no token ${unknown}`, `responses.${i}.ids`, 'tokenizer');
    if (tokenizer.endIds.has(ids.at(-1)!) !== (finish === 'end')) {
      const what = `the last token is ${finish === 'end' ? 'no' : 'an'} end token`;
      throw foreign(what, `responses.${i}.finish`, 'tokenizer');
    }
  }
  const [, generated] = record.responses;
  if (tokenizer.decode(generated.ids) !== generated.text) {
    throw foreign('the ids of the answer do not give its text', 'responses.1.text', 'tokenizer');
  }
  if (tokenizer.encodePrompt(record.prompt).join() !== record.promptIds.join()) {
    throw foreign('the prompt has other ids here', 'promptIds', 'tokenizer or chat template');
  }
}
