// The mask of dropout: how much it keeps, and that neither rows, columns nor modules share it.
import { describe, expect, it } from 'vitest';
import { dropoutColumns, dropoutThreshold } from '../../src/graph/index.ts';
import { words } from '../../src/util/index.ts';

const [ROWS, WIDTH] = [1000, 600];
const P = 0.1;

/** 1 where dropped. */
function mask(keys: Int32Array, salt: number): Uint8Array[] {
  const columns = dropoutColumns(salt, WIDTH);
  const threshold = dropoutThreshold({ probability: P, salt });
  return Array.from(keys, (key) =>
    Uint8Array.from(columns, (column) => Number(Math.imul(key | 1, column) < threshold)),
  );
}
const share = (rows: readonly Uint8Array[], drops: (t: number, c: number) => boolean) => {
  let count = 0;
  for (let t = 0; t + 1 < rows.length; t++) for (let c = 0; c + 1 < WIDTH; c++) if (drops(t, c)) count++;
  return count / ((rows.length - 1) * (WIDTH - 1));
};
/** Six standard deviations of a share p over all elements. */
const near = (p: number) => 6 * Math.sqrt((p * (1 - p)) / (ROWS * WIDTH));

describe('the mask of dropout', () => {
  const rows = mask(words(ROWS, 0, 'keys'), 7);
  const other = mask(words(ROWS, 0, 'keys'), 8);
  const at = (of: readonly Uint8Array[], t: number, c: number) => of[t]![c] === 1;

  it('drops the share that it is asked for', () => {
    expect(Math.abs(share(rows, (t, c) => at(rows, t, c)) - P)).toBeLessThan(near(P));
    const spread = (counts: readonly number[], n: number) => {
      const worst = Math.max(...counts.map((count) => Math.abs(count / n - P)));
      expect(worst).toBeLessThan(6 * Math.sqrt((P * (1 - P)) / n));
    };
    spread(
      rows.map((row) => row.reduce((a, b) => a + b, 0)),
      WIDTH,
    );
    spread(
      Array.from({ length: WIDTH }, (_, c) => rows.reduce((n, row) => n + row[c]!, 0)),
      ROWS,
    );
  });

  it.each<[string, (t: number, c: number) => boolean]>([
    ['neighbours in a row', (t, c) => at(rows, t, c) && at(rows, t, c + 1)],
    ['neighbours in a column', (t, c) => at(rows, t, c) && at(rows, t + 1, c)],
    ['two modules', (t, c) => at(rows, t, c) && at(other, t, c)],
    ['a token and the next one in another module', (t, c) => at(rows, t, c) && at(other, t + 1, c)],
  ])('is independent of %s', (_, both) => {
    expect(Math.abs(share(rows, both) - P * P)).toBeLessThan(near(P * P));
  });

  it('is independent in the corners of rectangles, where a product of two numbers could show', () => {
    const threeAndFour = (t: number, c: number) =>
      [at(rows, t, c), at(rows, t + 1, c), at(rows, t, c + 1), at(rows, t + 1, c + 1)].filter(Boolean).length >= 3;
    const expected = 4 * P ** 3 * (1 - P) + P ** 4;
    expect(Math.abs(share(rows, threeAndFour) - expected)).toBeLessThan(2 * near(expected));
  });
});
