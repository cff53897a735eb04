/**
 * Entering a game in the middle: pairs from files are laid where the game looks for its own, `pairs` into the first
 * iteration and `replay_pairs` into the one before. From there on they are pairs like others, except that no sampler's
 * log-probs came along: both of their answers are scored under the opponent.
 *
 * A file holds lines of a pairs.jsonl, whose ids are taken as they are, or answers as texts, which get the ids of the
 * model's own tokenizer and template. What has another form is an error; texts that cannot be used are skipped with
 * line and reason, and refused when they are more than a few.
 */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { contentId, parsePairRow, readJsonRows, take, textProblem } from '../data/index.ts';
import { SelfplayError, usageError } from '../util/index.ts';
import type { Player } from './opponent.ts';
import { pairRecord, reasonToLeaveOut } from './pairing.ts';
import { type PairRecord, pairRecordSchema, writePairs } from './records.ts';
import { type Rows, refuseUnusable } from './rows.ts';
import { iterationName, type Run } from './run.ts';
import type { SpinSettings } from './settings.ts';

interface Entered {
  readonly rows: PairRecord[];
  readonly skipped: string[];
}

type RowObject = Readonly<Record<string, unknown>>;

/** Where a row stands (file:line), and what it becomes a pair of. */
interface Place {
  readonly where: string;
  readonly t: number;
  readonly player: Player;
  readonly limits: Pick<SpinSettings, 'checker' | 'max_length'>;
}

const FORMS =
  'a row is {"real", "generated"}: two lists of messages with the same prompt, the answer of the assistant last; or ' +
  '{"prompt", "real", "generated"}; or a line of the pairs.jsonl of a run';

/**
 * Brings the pairs that the settings name into the run, unless they are there. Nothing is written before everything
 * is read. Throws a usage error with file:line:key for rows of a wrong form, and for pairs of another tokenizer or
 * another iteration; invalid JSON is a failure with file:line.
 */
export async function enterPairs(run: Run<'run'>, player: Player, heldOut: Pick<Rows, 'dev' | 'test'>): Promise<void> {
  const { start_iteration: first, pairs, replay_pairs } = run.settings;
  const entries = [
    { file: pairs, t: first },
    { file: replay_pairs, t: first - 1 },
  ];
  const read: { file: string; t: number; target: string; entered: Entered }[] = [];
  for (const { file, t } of entries) {
    const target = run.path(iterationName(t), 'pairs.jsonl');
    if (file !== undefined && !existsSync(target)) {
      read.push({ file, t, target, entered: await readPairFile(file, t, player, run.settings) });
    }
  }
  for (const { file, t, target, entered } of read) {
    await mkdir(run.path(iterationName(t)), { recursive: true });
    await writePairs(target, entered.rows);
    const count = (reason: PairRecord['excluded']) => entered.rows.filter(({ excluded }) => excluded === reason).length;
    await run.say(
      `${file}: ${entered.rows.length} pairs of iteration ${t}; left out: ${count('identical')} identical to the human ` +
        `answer, ${count('accepted')} accepted by the checker, ${count('too long')} too long.`,
    );
    for (const problem of entered.skipped.slice(0, 3)) await run.say(`skipped ${problem}`);
    if (entered.skipped.length > 3) await run.say(`skipped ${entered.skipped.length - 3} more rows`);
    const seen = countSeen(entered.rows, heldOut);
    if (seen > 0) {
      await run.warn(
        `held-out rows with a prompt that pairs of ${file} train on: ${seen}. The table will look better than the model is.`,
      );
    }
  }
}

function countSeen(records: readonly PairRecord[], { dev, test }: Pick<Rows, 'dev' | 'test'>): number {
  const trained = new Set(records.map(({ promptIds }) => promptIds.join(' ')));
  return [...dev, ...test].filter(({ promptIds }) => trained.has(promptIds.join(' '))).length;
}

async function readPairFile(
  file: string,
  t: number,
  player: Player,
  settings: Pick<SpinSettings, 'limit' | 'sample' | 'seed' | 'checker' | 'max_length'>,
): Promise<Entered> {
  const lines: { line: number; value: unknown }[] = [];
  for await (const row of await readJsonRows(file)) lines.push(row);
  if (lines.length === 0) throw usageError({ what: 'the file has no pairs', where: file, fix: FORMS });
  const entered: Entered = { rows: [], skipped: [] };
  const lineOf = new Map<string, number>();
  const samples = new Map<string, number>();
  for (const { line, value } of take(lines, settings)) {
    const where = `${file}:${line}`;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw usageError({ what: 'the row is not a JSON object', where, fix: FORMS });
    }
    const row = value as RowObject;
    const place = { where, t, player, limits: settings };
    const record = Object.hasOwn(row, 'promptIds') ? ownRecord(row, place) : recordOfTexts(row, place, samples);
    if (typeof record === 'string') {
      entered.skipped.push(`${where}: ${record}`);
      continue;
    }
    const name = `${record.id}/${record.responses[1].sample}`;
    const before = lineOf.get(name);
    if (before !== undefined) {
      throw usageError({
        what: `the pair ${name} stands in line ${before} already`,
        where: `${where}:id`,
        fix: 'remove one of the two',
      });
    }
    lineOf.set(name, line);
    entered.rows.push(record);
  }
  refuseUnusable([entered], file);
  return entered;
}

/** A line of a pairs.jsonl, if it can be one of this model's. */
function ownRecord(row: RowObject, { where, t, player, limits }: Place): PairRecord {
  const { model } = player.loaded;
  const parsed = pairRecordSchema.safeParse(row);
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
      fix: 'check --start-iteration: --pairs are of that iteration, --replay-pairs of the one before',
    });
  }
  const foreign = (what: string, key: string) =>
    usageError({
      what: `${what}: the pairs are of another tokenizer`,
      where: `${where}:${key}`,
      fix: 'give the model that wrote them, or the answers as texts: {"prompt", "real", "generated"}',
    });
  const parts = [
    ['promptIds', record.promptIds],
    ['responses.0.ids', real.ids],
    ['responses.1.ids', generated.ids],
  ] as const;
  for (const [key, ids] of parts) {
    const unknown = ids.find((id) => id >= model.vocabSize);
    if (unknown !== undefined) throw foreign(`the model has no token ${unknown}`, key);
  }
  for (const [i, { ids, finish }] of record.responses.entries()) {
    if (player.tokenizer.endIds.has(ids.at(-1)!) !== (finish === 'end')) {
      throw foreign(`the last token is ${finish === 'end' ? 'no' : 'an'} end token`, `responses.${i}.finish`);
    }
  }
  if (player.tokenizer.decode(generated.ids) !== generated.text) {
    throw foreign('the ids of the answer do not give its text', 'responses.1.text');
  }
  return { ...record, excluded: record.excluded ?? reasonToLeaveOut(record, limits, model.contextLength) };
}

/**
 * A row of texts as a pair of iteration t, or why it cannot be used. Its id is that of the same prompt and human answer
 * in the data; several answers to them are its samples.
 * @param samples how many pairs each id has so far; changed
 */
function recordOfTexts(row: RowObject, { where, t, player, limits }: Place, samples: Map<string, number>) {
  const { tokenizer, loaded } = player;
  const parsed = parsePairRow(row);
  if ('reason' in parsed) throw usageError({ what: parsed.reason, where: `${where}:${parsed.key}`, fix: FORMS });
  const problem = textProblem(parsed);
  if (problem !== undefined) return problem;
  const { prompt, real: response, generated } = parsed;
  try {
    const human = tokenizer.encodePair({ prompt, response });
    const { responseIds: ids } = tokenizer.encodePair({ prompt, response: generated });
    const id = contentId(prompt, response);
    const sample = samples.get(id) ?? 0;
    samples.set(id, sample + 1);
    // The text of the ids, as of every sample: a template may have trimmed the given one.
    const answer = { sample, ids, text: tokenizer.decode(ids), finish: 'end' } as const;
    return pairRecord({ ...human, id, response }, answer, t, limits, loaded.model.contextLength);
  } catch (error) {
    if (!(error instanceof SelfplayError)) throw error;
    return error.what;
  }
}
