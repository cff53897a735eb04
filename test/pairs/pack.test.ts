// Packing, checked against tables written by hand.

import { describe, expect, it } from 'vitest';
import { type Group, packedLength, packGroups, splitByTokens } from '../../src/pairs/index.ts';

const ints = (...ids: number[]) => Int32Array.from(ids);

describe('packGroups', () => {
  it('lays a pair out as prompt | real | generated, each continuing after the prompt', () => {
    const group: Group = {
      promptIds: ints(10, 11, 12),
      responses: [
        { ids: ints(20, 21, 2), reference: Float32Array.of(-1, -2, -3) },
        { ids: ints(30, 2), reference: Float32Array.of(-4, -5) },
      ],
    };
    const packed = packGroups([group]);
    // The last token of a response predicts nothing: 2 stands nowhere among the inputs.
    expect([...packed.ids]).toEqual([10, 11, 12, 20, 21, 30]);
    expect([...packed.positions]).toEqual([0, 1, 2, 3, 4, 3]);
    // Queries 0..5 (prompt and real) see themselves; query 5 (generated) sees the prompt 0..3 and itself.
    expect([...packed.segments]).toEqual([0, 5, 0, 5, 0, 0, 5, 6, 0, 3, 5, 6]);
    expect([...packed.rows]).toEqual([2, 3, 4, 2, 5]);
    expect([...packed.targets]).toEqual([20, 21, 2, 30, 2]);
    expect([...packed.responseOf]).toEqual([0, 0, 0, 1, 1]);
    expect([...packed.reference]).toEqual([-1, -2, -3, -4, -5]);
    expect(packed.responses).toBe(2);
    expect(packedLength(group)).toBe(6);
  });

  it('shifts everything of a second group, and counts its responses on', () => {
    const groups: Group[] = [
      { promptIds: ints(10), responses: [{ ids: ints(20, 2) }] },
      { promptIds: ints(11, 12), responses: [{ ids: ints(21, 2) }, { ids: ints(31, 32, 2) }] },
    ];
    const packed = packGroups(groups);
    expect([...packed.ids]).toEqual([10, 20, 11, 12, 21, 31, 32]);
    expect([...packed.positions]).toEqual([0, 1, 0, 1, 2, 2, 3]);
    expect([...packed.segments]).toEqual([0, 2, 0, 2, 0, 0, 2, 5, 2, 5, 0, 0, 5, 7, 2, 4, 5, 7]);
    expect([...packed.rows]).toEqual([0, 1, 3, 4, 3, 5, 6]);
    expect([...packed.targets]).toEqual([20, 2, 21, 2, 31, 32, 2]);
    expect([...packed.responseOf]).toEqual([0, 0, 1, 1, 2, 2, 2]);
    expect([...packed.reference]).toEqual([0, 0, 0, 0, 0, 0, 0]);
  });

  it('needs no segment for a response of one token, whose row comes from the prompt', () => {
    const packed = packGroups([{ promptIds: ints(10, 11), responses: [{ ids: ints(2) }, { ids: ints(7) }] }]);
    expect([...packed.ids]).toEqual([10, 11]);
    expect([...packed.segments]).toEqual([0, 2, 0, 2, 0, 0]);
    expect([...packed.rows]).toEqual([1, 1]);
    expect([...packed.targets]).toEqual([2, 7]);
    expect([...packed.responseOf]).toEqual([0, 1]);
  });

  it('covers every token by exactly one query range, whatever the lengths', () => {
    for (let seed = 0; seed < 40; seed++) {
      const length = (i: number) => 1 + ((seed * 7 + i * 5) % 4);
      const groups = [0, 1, 2].map((g) => ({
        promptIds: new Int32Array(length(g)),
        responses: [3, 4, 5].slice(0, 1 + ((seed + g) % 3)).map((i) => ({ ids: new Int32Array(length(g + i)) })),
      }));
      const { ids, segments, rows, targets } = packGroups(groups);
      const covered = new Array<number>(ids.length).fill(0);
      for (let s = 0; s < segments.length; s += 6) {
        for (let q = segments[s]!; q < segments[s + 1]!; q++) covered[q]!++;
      }
      expect(covered.every((n) => n === 1)).toBe(true);
      expect(ids.length).toBe(groups.reduce((n, group) => n + packedLength(group), 0));
      expect(rows.length).toBe(targets.length);
    }
  });
});

describe('splitByTokens', () => {
  const split = (lengths: number[], budget: number) => splitByTokens(lengths, (n) => n, budget);

  it('fills each batch up to the budget, in order', () => {
    expect(split([3, 4, 3, 5, 5, 1], 10)).toEqual([[3, 4, 3], [5, 5], [1]]);
  });

  it('gives an item longer than the budget a batch of its own', () => {
    expect(split([2, 50, 2, 2], 10)).toEqual([[2], [50], [2, 2]]);
    expect(split([50, 1], 10)).toEqual([[50], [1]]);
  });

  it('gives no batch for no items', () => {
    expect(split([], 10)).toEqual([]);
  });
});
