// Which answers stand against each other.

import { describe, expect, it } from 'vitest';
import { censor, type Pair, pairGroup, type ScoredPair } from '../../src/pairs/index.ts';

const ints = (...ids: number[]) => Int32Array.from(ids);
const END = 2;

describe('censor', () => {
  const real = ints(5, 6, 7, 8, END);

  it('cuts the human answer at the length of a sample that was cut, without an end token', () => {
    expect([...censor(real, { ids: ints(1, 1, 1), finish: 'length' })]).toEqual([5, 6, 7]);
    expect([...censor(real, { ids: ints(1, 1, 1, 1), finish: 'length' })]).toEqual([5, 6, 7, 8]);
  });

  it('keeps the end token where the human answer reached it within that length', () => {
    expect(censor(real, { ids: ints(1, 1, 1, 1, 1), finish: 'length' })).toBe(real);
    expect(censor(real, { ids: new Int32Array(9), finish: 'length' })).toBe(real);
  });

  it('leaves it whole against a whole sample, however short', () => {
    expect(censor(real, { ids: ints(1, END), finish: 'end' })).toBe(real);
  });
});

const pair = (real: Int32Array, generated: Int32Array): Pair => ({
  id: 'a',
  sample: 0,
  iteration: 0,
  promptIds: ints(1, 2, 3),
  real,
  generated,
});

describe('pairGroup', () => {
  it('puts the real answer first, with the references where they are known', () => {
    const plain = pair(ints(5, END), ints(6, END));
    expect(pairGroup(plain).responses).toEqual([{ ids: plain.real }, { ids: plain.generated }]);
    const scored: ScoredPair = {
      ...plain,
      realReference: Float32Array.of(-1, -2),
      generatedReference: Float32Array.of(-3, -4),
    };
    expect(pairGroup(scored)).toEqual({
      promptIds: plain.promptIds,
      responses: [
        { ids: plain.real, reference: scored.realReference },
        { ids: plain.generated, reference: scored.generatedReference },
      ],
    });
  });
});
