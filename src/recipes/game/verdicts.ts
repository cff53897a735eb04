/**
 * From the pairs of an iteration, sampled here or read from a file, to judged ones: what is known of each, what was found
 * in all, and the lines that say so.
 */
import { type Checker, lengthBias, lengthWarning, repetition } from '../../evaluation/index.ts';
import type { LanguageModel } from '../../models/index.ts';
import {
  type Candidate,
  censor,
  countsInWords,
  countVerdicts,
  judgePairs,
  packedLength,
  type Verdict,
} from '../../pairs/index.ts';
import { iterationName } from '../run/layout.ts';
import {
  type FlaggedRecord,
  type PairRecord,
  pairOf,
  type TextCompletion,
  writeFlagged,
  writePairs,
} from '../run/records.ts';
import type { Row } from '../run/rows.ts';
import type { Run } from '../run/run.ts';

/** Window of the repetition by which an answer is judged: longer than phrases that answers repeat for good reasons. */
const LOOP_WINDOW = 8;

/** The file of an iteration that lists every pair with a reason to leave it out, left out or not. */
const FLAGGED = 'flagged.jsonl';

/** A pair as it is to stand in pairs.jsonl, and the file and line that its row is from. */
export interface Entry {
  readonly file: string;
  readonly line: number;
  readonly record: PairRecord;
}

/** An entry whose record says whether the pair takes part. */
export interface JudgedEntry extends Entry, Pick<Verdict, 'reasons'> {}

/** A human answer against an answer of the opponent of iteration t, not judged yet. */
export function pairRecord(
  { id, prompt, promptIds, response, responseIds }: Row,
  { sample, ids, text, finish }: Pick<TextCompletion, 'sample' | 'ids' | 'text' | 'finish'>,
  t: number,
): PairRecord {
  const real = censor(responseIds, { ids, finish });
  return {
    v: 1,
    id,
    prompt,
    promptIds: [...promptIds],
    responses: [
      {
        role: 'real',
        iteration: null,
        sample: 0,
        text: response,
        ids: [...real],
        finish: real.length === responseIds.length ? 'end' : 'length',
      },
      { role: 'generated', iteration: t, sample, text, ids: [...ids], finish },
    ],
    excluded: null,
  };
}

/** Judges the pairs of an iteration by the settings of this run, whatever their records said before. */
export async function judgeEntries(
  settings: Pick<Run<'run'>['settings'], 'drop' | 'max_length' | 'max_prompt_length'>,
  { contextLength }: Pick<LanguageModel, 'contextLength'>,
  checker: Checker | null,
  entries: readonly Entry[],
): Promise<JudgedEntry[]> {
  const candidates = await Promise.all(entries.map(({ record }) => candidateOf(record, checker)));
  const { drop, max_length: maxLength = contextLength, max_prompt_length: maxPromptLength = contextLength } = settings;
  const verdicts = judgePairs(candidates, { maxLength, maxPromptLength, contextLength, drop });
  return entries.map(({ record, ...place }, i) => {
    const { reasons, excluded } = verdicts[i]!;
    return { ...place, record: { ...record, excluded }, reasons };
  });
}

async function candidateOf(record: PairRecord, checker: Checker | null): Promise<Candidate> {
  const { id, prompt } = record;
  const [{ text: response }, { text: answer, finish }] = record.responses;
  const pair = pairOf(record);
  return {
    pair,
    sample: { text: answer, finish },
    // An answer that was cut is no whole answer, whatever its text says so far.
    equivalent: checker !== null && finish === 'end' && (await checker({ id, prompt: [...prompt], response, answer })),
    repeated: { real: repetition(pair.real, LOOP_WINDOW), generated: repetition(pair.generated, LOOP_WINDOW) },
  };
}

/** Tokens that go through the model while it writes the generated answers, of pairs that are left out as well. */
export function writtenTokens(entries: readonly Entry[]): number {
  const pairs = entries.map(({ record }) => pairOf(record));
  return pairs.reduce(
    (n, { promptIds, generated }) => n + packedLength({ promptIds, responses: [{ ids: generated }] }),
    0,
  );
}

/** Logs and says what became of the pairs, which `what` names, and what their lengths give away; `names` are the answers'. */
export async function reportPairs(
  run: Run,
  at: { readonly iteration: number; readonly stage: 'generate' | 'prepare' },
  entries: readonly JudgedEntry[],
  what: string,
  names?: Parameters<typeof lengthWarning>[1],
): Promise<void> {
  const { iteration: t } = at;
  const { dropped, kept } = countVerdicts(entries.map(({ record: { excluded }, reasons }) => ({ excluded, reasons })));
  const lengths = lengthBias(
    entries.flatMap(({ record: { excluded, responses } }) => {
      const [human, generated] = responses.map(({ ids }) => ids.length) as [number, number];
      return excluded === null ? [{ human, generated }] : [];
    }),
  );
  await run.emit({ ...at, type: 'pairs', pairs: entries.length, dropped: { ...dropped }, kept: { ...kept }, lengths });
  await run.say(
    `${what}; left out: ${countsInWords(dropped)}; kept although noted: ` +
      `${countsInWords(kept)} (${iterationName(t)}/${FLAGGED}).`,
  );
  const warning = lengthWarning(lengths, names);
  if (warning !== null) await run.warn(`iteration ${t}: ${warning}`);
}

/** flagged.jsonl and, last, pairs.jsonl of an iteration. */
export async function writeEntries(run: Run, t: number, entries: readonly JudgedEntry[]): Promise<void> {
  await writeFlagged(
    run.path(iterationName(t), FLAGGED),
    entries.flatMap((entry) => (entry.reasons.length === 0 ? [] : [flaggedRecord(entry)])),
  );
  await writePairs(
    run.path(iterationName(t), 'pairs.jsonl'),
    entries.map(({ record }) => record),
  );
}

function flaggedRecord({
  file,
  line,
  record: { id, prompt, responses, excluded },
  reasons,
}: JudgedEntry): FlaggedRecord {
  const action = excluded === null ? 'kept' : 'dropped';
  const [humanTokens, generatedTokens] = responses.map(({ ids }) => ids.length) as [number, number];
  const { sample } = responses[1];
  return { v: 1, id, sample, file, line, prompt, reasons, action, humanTokens, generatedTokens };
}
