// Every reason to leave a pair out: a pair for which it holds, one for which it just does not, and what follows.

import { describe, expect, it } from 'vitest';
import {
  type Candidate,
  countsInWords,
  countVerdicts,
  DROPPED_BY_DEFAULT,
  judgePairs,
  REASONS,
  type Reason,
  reasons,
} from '../../src/pairs/index.ts';

const ints = (...ids: number[]) => Int32Array.from(ids);
const END = 2;
const MAX_LENGTH = 9;

/** A pair for which no reason holds, changed. */
function candidate(changes: Partial<Omit<Candidate, 'pair'>> & { pair?: Partial<Candidate['pair']> } = {}): Candidate {
  return {
    sample: { text: 'seven', finish: 'end' },
    equivalent: false,
    repeated: { real: 0, generated: 0 },
    ...changes,
    pair: {
      id: 'a',
      sample: 0,
      iteration: 0,
      promptIds: ints(1, 2, 3),
      real: ints(5, END),
      generated: ints(6, 7, END),
      ...changes.pair,
    },
  };
}
const judge = (candidates: readonly Candidate[], drop: readonly Reason[] = DROPPED_BY_DEFAULT) =>
  judgePairs(candidates, { maxLength: MAX_LENGTH, contextLength: 2 * MAX_LENGTH, drop });
const found = (one: Candidate) => judge([one])[0]!.reasons;

describe('samples of a row', () => {
  const samples = (...answers: number[]) =>
    answers.map((id, sample) => candidate({ pair: { sample, generated: ints(id, END) } }));

  it('are duplicates of an earlier one that takes part, by their ids', () => {
    expect(judge(samples(6, 7, 6, 6)).map(({ excluded }) => excluded)).toEqual([
      null,
      null,
      'duplicate-sample',
      'duplicate-sample',
    ]);
    expect(judge(samples(6, 6), []).map(({ reasons: all, excluded }) => [...all, excluded])).toEqual([
      [null],
      ['duplicate-sample', null],
    ]);
  });

  it('are none where the earlier one is left out, or of another row', () => {
    expect(judge(samples(5, 5)).map(({ reasons: all }) => all)).toEqual([['identical'], ['identical']]);
    const other = candidate({ pair: { id: 'b', promptIds: ints(1), generated: ints(6, END) } });
    expect(judge([...samples(6), other]).map(({ reasons: all }) => all)).toEqual([[], []]);
  });

  it('a prompt alone can be over-long', () => {
    const bounds = { maxLength: MAX_LENGTH, contextLength: MAX_LENGTH, drop: DROPPED_BY_DEFAULT };
    const excluded = (maxPromptLength: number) =>
      judgePairs([candidate()], { ...bounds, maxPromptLength })[0]!.excluded;
    expect([excluded(3), excluded(2)]).toEqual([null, 'over-long']);
  });
});

describe('each reason', () => {
  it('does not hold for an ordinary pair', () => {
    expect(judge([candidate()])).toEqual([{ reasons: [], excluded: null }]);
  });

  it.each<[Reason, Candidate, Candidate]>([
    [
      'identical',
      candidate({ pair: { generated: ints(5, END) } }),
      // Alike up to the end is not identical.
      candidate({ pair: { generated: ints(5, END, END) } }),
    ],
    ['identical', candidate({ pair: { generated: ints(5, END) } }), candidate({ pair: { generated: ints(5) } })],
    ['equivalent', candidate({ equivalent: true }), candidate()],
    [
      'empty',
      candidate({ sample: { text: ' \n\t', finish: 'end' } }),
      candidate({ sample: { text: ' .', finish: 'end' } }),
    ],
    [
      'degenerate',
      candidate({ repeated: { real: 0.5, generated: 0.51 } }),
      candidate({ repeated: { real: 0, generated: 0.5 } }),
    ],
    // Data that repeat themselves do not make every answer degenerate.
    [
      'degenerate',
      candidate({ repeated: { real: 0.5, generated: 0.9 } }),
      candidate({ repeated: { real: 0.51, generated: 0.9 } }),
    ],
    [
      'over-long',
      candidate({ pair: { generated: ints(6, 6, 6, 6, 6, 6, END) } }),
      candidate({ pair: { generated: ints(6, 6, 6, 6, 6, END) } }),
    ],
    [
      'over-long',
      candidate({ pair: { real: ints(6, 6, 6, 6, 6, 6, END) } }),
      candidate({ pair: { real: ints(6, END) } }),
    ],
    ['truncated', candidate({ sample: { text: 'sev', finish: 'length' } }), candidate()],
  ])('%s', (reason, holds, doesNot) => {
    expect(found(holds)).toEqual([reason]);
    expect(found(doesNot)).toEqual([]);
  });

  it('duplicate-prompt: of several rows the first that takes part is none', () => {
    const row = (id: string, changes: Partial<Candidate['pair']> = {}) => candidate({ pair: { id, ...changes } });
    const other = row('d', { promptIds: ints(1, 23) });
    expect(judge([row('a'), row('b'), other, row('c')]).map((verdict) => verdict.reasons)).toEqual([
      [],
      ['duplicate-prompt'],
      [],
      ['duplicate-prompt'],
    ]);
    // The first is dropped for another reason, so the second stands for the prompt.
    const identical = row('a', { generated: ints(5, END) });
    const drop: Reason[] = ['identical', 'duplicate-prompt'];
    expect(judge([identical, row('b'), row('c')], drop).map(({ excluded }) => excluded)).toEqual([
      'identical',
      null,
      'duplicate-prompt',
    ]);
    // Two samples of one row are no duplicates.
    expect(
      judge([row('a'), row('a', { sample: 1, generated: ints(7, END) })]).map((verdict) => verdict.reasons),
    ).toEqual([[], []]);
  });
});

describe('what follows', () => {
  it('by default drops what it has always dropped, and answers without content', () => {
    expect(DROPPED_BY_DEFAULT).toEqual(['identical', 'equivalent', 'over-long', 'duplicate-sample']);
    for (const reason of REASONS) expect(reasons[reason].because, reason).toMatch(/^[a-z].{20}/);
  });

  it('records all reasons, and excludes for the first of those that drop', () => {
    const all = candidate({
      pair: { generated: ints(5, END), promptIds: new Int32Array(8) },
      sample: { text: '', finish: 'length' },
      equivalent: true,
      repeated: { real: 0, generated: 1 },
    });
    const both = judge([
      candidate({ pair: { id: 'first', promptIds: new Int32Array(8), real: ints(END), generated: ints(6) } }),
      candidate({ pair: { generated: ints(5, END), real: ints(6, END) } }),
      all,
    ]);
    expect(both[2]).toEqual({ reasons: REASONS, excluded: 'identical' });
    expect(judge([all], ['over-long', 'truncated', 'empty'])[0]!.excluded).toBe('empty');
    expect(judge([all], ['truncated'])[0]!.excluded).toBe('truncated');
    expect(judge([all], [])[0]).toMatchObject({ reasons: REASONS.slice(0, -2), excluded: null });
  });

  it('drops what is longer than the context of the model, though it should keep it', () => {
    const long = (tokens: number) => candidate({ pair: { generated: new Int32Array(tokens - 3).fill(6) } });
    const [fits, longer] = judge([long(2 * MAX_LENGTH), long(2 * MAX_LENGTH + 1)], []);
    expect(fits).toEqual({ reasons: ['over-long'], excluded: null });
    expect(longer).toEqual({ reasons: ['over-long'], excluded: 'over-long' });
    // A length beyond the context is no length that fits.
    const bounds = { maxLength: 100, contextLength: MAX_LENGTH, drop: DROPPED_BY_DEFAULT };
    expect(judgePairs([long(MAX_LENGTH + 1)], bounds)[0]!.excluded).toBe('over-long');
  });

  it('is counted: a dropped pair once, a kept pair under each of its reasons', () => {
    const counts = countVerdicts([
      { reasons: ['identical', 'empty'], excluded: 'identical' },
      { reasons: ['empty'], excluded: 'empty' },
      { reasons: ['identical'], excluded: 'identical' },
      { reasons: ['truncated', 'duplicate-prompt'], excluded: null },
      { reasons: ['truncated'], excluded: null },
      { reasons: [], excluded: null },
    ]);
    expect(counts).toEqual({
      dropped: { identical: 2, empty: 1 },
      kept: { truncated: 2, 'duplicate-prompt': 1 },
    });
    expect(countsInWords(counts.dropped)).toBe('2 identical to the other answer, 1 empty');
    expect(countsInWords(counts.kept)).toBe('2 truncated, 1 with the prompt of an earlier pair');
    expect(countsInWords({})).toBe('none');
  });
});
