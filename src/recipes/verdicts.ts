/**
 * From an iteration's samples to judged pairs: what is known of each, what was found in all, and the lines that say so.
 */
import { type Checker, lengthBias, lengthWarning, repetition } from '../evaluation/index.ts';
import { type Candidate, censor, countsInWords, countVerdicts, type Verdict } from '../pairs/index.ts';
import type { FlaggedRecord, PairRecord, TextCompletion } from './records.ts';
import type { Row } from './rows.ts';
import { iterationName, type Run } from './run.ts';

/** Window of the repetition by which an answer is judged: longer than phrases that answers repeat for good reasons. */
const LOOP_WINDOW = 8;

/** The file of an iteration that lists every pair with a reason to leave it out, left out or not. */
export const FLAGGED = 'flagged.jsonl';

/** The pairs of an iteration, and what is known of them. */
export function candidatesOf(
  rows: readonly Row[],
  samples: readonly TextCompletion[],
  t: number,
  checker: Checker | null,
): Promise<Candidate[]> {
  return Promise.all(
    rows.map(async (row, i): Promise<Candidate> => {
      const sample = samples[i]!;
      const { id, promptIds } = row;
      const real = censor(row.responseIds, sample);
      return {
        pair: { id, promptIds, sample: sample.sample, iteration: t, real, generated: sample.ids },
        sample,
        // An answer that was cut is no whole answer, whatever its text says so far.
        equivalent: checker !== null && sample.finish === 'end' && (await checker({ ...row, answer: sample.text })),
        repeated: { real: repetition(real, LOOP_WINDOW), generated: repetition(sample.ids, LOOP_WINDOW) },
      };
    }),
  );
}

/** Logs and says what became of the answers, and what their lengths give away. */
export async function reportPairs(
  run: Run<'run'>,
  t: number,
  candidates: readonly Candidate[],
  verdicts: readonly Verdict[],
  tokens: number,
): Promise<void> {
  const { dropped, kept } = countVerdicts(verdicts);
  const lengths = lengthBias(
    candidates.flatMap(({ pair }, i) =>
      verdicts[i]!.excluded === null ? [{ human: pair.real.length, generated: pair.generated.length }] : [],
    ),
  );
  await run.emit({
    iteration: t,
    stage: 'generate',
    type: 'pairs',
    pairs: candidates.length,
    dropped: { ...dropped },
    kept: { ...kept },
    lengths,
  });
  const cut = candidates.filter(({ sample }) => sample.finish === 'length').length;
  await run.say(
    `Iteration ${t}: ${candidates.length} answers of ${(tokens / Math.max(1, candidates.length)).toFixed(1)} tokens, ` +
      `${cut} cut at ${run.settings.max_new_tokens}; left out: ${countsInWords(dropped)}; kept although noted: ` +
      `${countsInWords(kept)} (${iterationName(t)}/${FLAGGED}).`,
  );
  const warning = lengthWarning(lengths);
  if (warning !== null) await run.warn(`iteration ${t}: ${warning}`);
}

/** The line of a pair in pairs.jsonl. */
export function pairRecord(row: Row, { pair, sample }: Candidate, { excluded }: Verdict): PairRecord {
  const { real, generated } = pair;
  return {
    v: 1,
    id: row.id,
    promptIds: [...row.promptIds],
    responses: [
      {
        role: 'real',
        iteration: null,
        sample: 0,
        text: row.response,
        ids: [...real],
        finish: real.length === row.responseIds.length ? 'end' : 'length',
      },
      {
        role: 'generated',
        iteration: pair.iteration,
        sample: pair.sample,
        text: sample.text,
        ids: [...generated],
        finish: sample.finish,
      },
    ],
    excluded,
  };
}

/** The line of a pair in flagged.jsonl, if it has one. */
export function flaggedRecord({ id, line, prompt }: Row, { pair }: Candidate, verdict: Verdict): FlaggedRecord[] {
  const { reasons, excluded } = verdict;
  if (reasons.length === 0) return [];
  const action = excluded === null ? 'kept' : 'dropped';
  const [humanTokens, generatedTokens] = [pair.real.length, pair.generated.length];
  return [{ v: 1, id, line, prompt, reasons, action, humanTokens, generatedTokens }];
}
