/** From a human answer and an answer of the opponent to a line of pairs.jsonl, with the reason if it is left out. */
import { scorers } from '../evaluation/index.ts';
import { censor, type Exclusion, exclusion } from '../pairs/index.ts';
import { type PairRecord, pairOf, type TextCompletion } from './records.ts';
import type { Row } from './rows.ts';
import type { SpinSettings } from './settings.ts';

type Limits = Pick<SpinSettings, 'checker' | 'max_length'>;

/** A pair of iteration t. */
export function pairRecord(
  row: Pick<Row, 'id' | 'promptIds' | 'response' | 'responseIds'>,
  sample: Pick<TextCompletion, 'sample' | 'ids' | 'text' | 'finish'>,
  t: number,
  limits: Limits,
  contextLength: number,
): PairRecord {
  const real = censor(row.responseIds, sample);
  const record: PairRecord = {
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
        iteration: t,
        sample: sample.sample,
        text: sample.text,
        ids: [...sample.ids],
        finish: sample.finish,
      },
    ],
    excluded: null,
  };
  return { ...record, excluded: reasonToLeaveOut(record, limits, contextLength) };
}

/** Why a pair does not take part under these limits, if so. */
export function reasonToLeaveOut(
  record: PairRecord,
  { checker, max_length }: Limits,
  contextLength: number,
): Exclusion | null {
  const [human, { text, finish }] = record.responses;
  // An answer that was cut is no whole answer, whatever its text says so far.
  const accepted =
    checker !== 'none' && finish === 'end' && scorers[checker]({ response: human.text, answer: text }) === 1;
  const maxLength = Math.min(max_length ?? contextLength, contextLength);
  return exclusion(pairOf(record), { maxLength, accepted });
}
