// results.json, the paired differences in its rows, and the tables made of it.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  markdownTable,
  type ResultRow,
  type Results,
  readResults,
  resultRow,
  textTable,
  writeResults,
} from '../../src/report/index.ts';

const items = (metric: string, scores: number[]) =>
  scores.map((score, i) => ({ id: `q${i}`, scores: { [metric]: score } }));
const model = (label: string, iteration: number | null) => ({ label, iteration, model: `${label}/model` });

describe('resultRow', () => {
  const first = resultRow({ ...model('SFT model', null), items: items('number', [0, 0, 1, 0]) });

  it('gives the first row no difference', () => {
    // One of four: squares 3/16 + 9/16 = 0.75, / 3 / 4 = 0.0625, root 0.25.
    expect(first.metrics).toEqual({ number: { mean: 0.25, standardError: 0.25, n: 4 } });
  });

  it('pairs items by id, in whatever order', () => {
    const shuffledItems = items('number', [1, 1, 1, 0]).reverse();
    const second = resultRow({ ...model('iteration 0', 0), items: shuffledItems }, first);
    // Differences 1, 1, 0, 0: mean 0.5, squares 4 · 0.25 = 1, / 3 / 4, root 0.288675.
    expect(second.metrics['number']!.difference).toBe(0.5);
    expect(second.metrics['number']!.differenceStandardError).toBeCloseTo(Math.sqrt(1 / 12), 12);
  });

  it('has no difference over other items, or for a metric that the row above lacks', () => {
    const fewer = resultRow({ ...model('iteration 0', 0), items: items('number', [1, 1]) }, first);
    expect(fewer.metrics['number']).toEqual({ mean: 1, standardError: 0, n: 2 });
    const others = first.items.map((item, i) => (i === 0 ? { ...item, id: 'z' } : item));
    expect(resultRow({ ...model('b', 0), items: others }, first).metrics['number']).not.toHaveProperty('difference');
    const other = resultRow({ ...model('c', 0), items: items('length', [4, 4, 4, 4]) }, first);
    expect(other.metrics['length']).toEqual({ mean: 4, standardError: 0, n: 4 });
  });
});

describe('results.json', () => {
  const dir = mkdtempSync(join(tmpdir(), 'selfplay-results-'));
  afterAll(() => rmSync(dir, { recursive: true }));
  const path = join(dir, 'results.json');
  const value: Results = {
    v: 1,
    rows: [resultRow({ ...model('SFT model', null), items: items('number', [1]) })],
    best: { label: 'SFT model', how: 'highest number on the dev split' },
    settings: { split: 'test', sampling: { temperature: 0 } },
  };

  it('comes back as it was written', async () => {
    await writeResults(path, value);
    expect(await readResults(path)).toEqual(value);
    expect(value.rows[0]!.metrics['number']!.standardError).toBeNull();
  });

  it('keeps the old file when a figure is not finite', async () => {
    await writeResults(path, value);
    const before = readFileSync(path, 'utf8');
    const broken = structuredClone(value);
    broken.rows[0]!.metrics['number']!.mean = Number.NaN;
    await expect(writeResults(path, broken)).rejects.toThrow();
    expect(readFileSync(path, 'utf8')).toBe(before);
  });

  it('names file and key when it cannot be read', async () => {
    const damaged = join(dir, 'damaged.json');
    writeFileSync(damaged, JSON.stringify({ ...value, rows: [{ ...value.rows[0], label: 3 }] }));
    await expect(readResults(damaged)).rejects.toMatchObject({ where: `${damaged}:rows.0.label` });
    writeFileSync(damaged, JSON.stringify({ ...value, v: 2 }));
    await expect(readResults(damaged)).rejects.toMatchObject({ where: `${damaged}:v` });
    writeFileSync(damaged, '{');
    await expect(readResults(damaged)).rejects.toMatchObject({ where: damaged });
    await expect(readResults(join(dir, 'none.json'))).rejects.toMatchObject({ kind: 'failure' });
  });
});

describe('tables', () => {
  const row = (label: string, iteration: number | null, metrics: ResultRow['metrics']): ResultRow => ({
    ...model(label, iteration),
    metrics,
    items: [],
  });
  const table = {
    rows: [
      row('SFT model', null, {
        number: { mean: 0.0976, standardError: 0.0123, n: 500 },
        'nats/token': { mean: 0.9124, standardError: 0.01, n: 500 },
      }),
      row('iteration 0', 0, {
        number: { mean: 0.351, standardError: 0.02, n: 500, difference: 0.021, differenceStandardError: 0.0131 },
        'nats/token': { mean: 0.9, standardError: 0.01, n: 500, difference: -0.0124, differenceStandardError: 0.002 },
        length: { mean: 101.25, standardError: 3, n: 500 },
      }),
      row('iteration 1', 1, {
        number: { mean: 1, standardError: 0, n: 500, difference: -0.0001, differenceStandardError: null },
        length: { mean: 9, standardError: 3, n: 500, difference: -92.25, differenceStandardError: 2 },
      }),
    ],
    best: { label: 'iteration 0', how: 'highest number on the dev split' },
  };

  it('aligns figures, differences from the row above and their errors', () => {
    expect(textTable(table)).toBe(
      [
        '               number              nats/token              length',
        'SFT model        9.8 (± 1.2)       0.912 (± 0.010)             –',
        'iteration 0 *   35.1 (+2.1 ± 1.3)  0.900 (-0.012 ± 0.002)  101.3 (± 3.0)',
        'iteration 1    100.0 (+0.0)            –                     9.0 (-92.3 ± 2.0)',
        '',
        'number: %, differences in points.',
        'nats/token: nats per token of the human answers, lower is better.',
        'length: tokens per answer.',
        "In brackets: difference from the row above ± its standard error over 500 items; ± alone is the figure's own.",
        '* best: highest number on the dev split.',
        '',
      ].join('\n'),
    );
  });

  it('makes Markdown whose cells cannot break it', () => {
    const piped = { ...table, rows: [{ ...table.rows[0]!, label: 'a|b' }, ...table.rows.slice(1)] };
    const lines = markdownTable(piped).split('\n');
    expect(lines.slice(0, 5)).toEqual([
      '| model | number | nats/token | length |',
      '|---|---|---|---|',
      '| a\\|b | 9.8 (± 1.2) | 0.912 (± 0.010) | – |',
      '| iteration 0 \\* | 35.1 (+2.1 ± 1.3) | 0.900 (-0.012 ± 0.002) | 101.3 (± 3.0) |',
      '| iteration 1 | 100.0 (+0.0) | – | 9.0 (-92.3 ± 2.0) |',
    ]);
    expect(lines.at(-2)).toContain('\\* best: highest number');
  });

  it('takes a run without figures', () => {
    expect(textTable({ rows: [row('SFT model', null, {})], best: null })).toContain('SFT model');
  });
});
