// Philox against the published known answers; uniform, shuffled and normals against their contracts.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hash32, normals, philox4x32, rowKey, shuffled, uniform } from '../../src/util/index.ts';

describe('philox4x32', () => {
  // The known answers that the authors publish for philox4x32 with 10 rounds.
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ] as const)('answers %j with key %j', (counter, key, expected) => {
    expect(philox4x32(counter, key)).toEqual([...expected]);
  });
});

describe('uniform', () => {
  const row = rowKey('train-17');

  it('takes its number from the block at the documented address', () => {
    const seed = 5 * 2 ** 32 + 6;
    const [word] = philox4x32([9, 3 | (4 << 16), row[0], row[1]], [6, 5 | (7 << 21)]);
    expect(uniform(seed, 7, 4, row, 3, 9)).toBe(((word >>> 9) + 0.5) / 2 ** 23);
  });

  it('is inside (0, 1), exact in fp32, and changes with every coordinate', () => {
    const seeds = fc.maxSafeNat();
    const small = fc.nat(65534);
    fc.assert(
      fc.property(
        seeds,
        fc.nat(2043),
        small,
        fc.string(),
        small,
        fc.nat(),
        (seed, stream, iteration, id, sample, at) => {
          const key = rowKey(id);
          const value = uniform(seed, stream, iteration, key, sample, at);
          expect(value).toBeGreaterThan(0);
          expect(value).toBeLessThan(1);
          expect(Math.fround(value)).toBe(value);
          const others = [
            uniform((seed + 1) % Number.MAX_SAFE_INTEGER, stream, iteration, key, sample, at),
            uniform((seed + 2 ** 40) % Number.MAX_SAFE_INTEGER, stream, iteration, key, sample, at),
            uniform(seed, stream + 1, iteration, key, sample, at),
            uniform(seed, stream, iteration + 1, key, sample, at),
            uniform(seed, stream, iteration, rowKey(`${id}x`), sample, at),
            uniform(seed, stream, iteration, key, sample + 1, at),
            uniform(seed, stream, iteration, key, sample, at + 1),
          ];
          // One of 7 may meet the value by chance (2^-23 each), two never.
          expect(others.filter((other) => other === value).length).toBeLessThan(2);
        },
      ),
    );
  });

  it('is spread evenly', () => {
    const bins = new Array<number>(16).fill(0);
    const n = 32_000;
    for (let i = 0; i < n; i++) {
      const bin = Math.floor(uniform(1, 0, 0, row, 0, i) * 16);
      bins[bin] = (bins[bin] ?? 0) + 1;
    }
    const chiSquared = bins.reduce((sum, count) => sum + (count - n / 16) ** 2 / (n / 16), 0);
    expect(chiSquared).toBeLessThan(37.7); // 15 degrees of freedom, p = 0.001
  });

  it('refuses coordinates that do not fit their fields', () => {
    expect(() => uniform(2 ** 53, 0, 0, row, 0, 0)).toThrow(RangeError);
    expect(() => uniform(0, 2045, 0, row, 0, 0)).toThrow(RangeError);
    expect(() => uniform(0, 0, 65536, row, 0, 0)).toThrow(RangeError);
    expect(() => uniform(0, 0, 0, row, 65536, 0)).toThrow(RangeError);
    expect(() => uniform(0, 0, 0, row, 0, 2 ** 32)).toThrow(RangeError);
    expect(() => uniform(0.5, 0, 0, row, 0, 0)).toThrow(RangeError);
  });
});

describe('rowKey and hash32', () => {
  it('keeps ids apart, lone surrogates included', () => {
    const ids = [...Array.from({ length: 20_000 }, (_, i) => `row-${i}`), '\ud800', '\ud801', '\ufffd', ''];
    expect(new Set(ids.map((id) => rowKey(id).join())).size).toBe(ids.length);
    expect(hash32('row-1')).toBe(rowKey('row-1')[0]);
  });
});

describe('shuffled', () => {
  const items = Array.from({ length: 100 }, (_, i) => i);

  it('is a permutation that depends on seed and stream only, and leaves its input alone', () => {
    const one = shuffled(items, 1, 'order');
    expect(items[99]).toBe(99);
    expect(one).toEqual(shuffled(items, 1, 'order'));
    expect(one).not.toEqual(shuffled(items, 2, 'order'));
    expect(one).not.toEqual(shuffled(items, 1, 'other'));
    expect([...one].sort((a, b) => a - b)).toEqual(items);
  });

  it('gives every order of three about equally often', () => {
    const counts = new Map<string, number>();
    for (let seed = 0; seed < 6000; seed++) {
      const order = shuffled(['a', 'b', 'c'], seed, 's').join('');
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(6);
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(120);
  });
});

describe('normals', () => {
  it('has the moments of a standard normal, and prefixes agree', () => {
    const n = 40_001;
    const values = normals(n, 3, 'weights');
    const mean = values.reduce((sum, x) => sum + x, 0) / n;
    const variance = values.reduce((sum, x) => sum + x * x, 0) / n;
    const fourth = values.reduce((sum, x) => sum + x ** 4, 0) / n;
    expect(Math.abs(mean)).toBeLessThan(0.02);
    expect(Math.abs(variance - 1)).toBeLessThan(0.03);
    expect(Math.abs(fourth - 3)).toBeLessThan(0.25);
    expect(normals(5, 3, 'weights')).toEqual(values.slice(0, 5));
    expect(normals(5, 3, 'other')).not.toEqual(values.slice(0, 5));
  });
});
