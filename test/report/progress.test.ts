// Progress lines on a terminal and elsewhere, with a clock and a stream made for the test.
import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { formatCount, formatDuration, formatRate, progress } from '../../src/report/index.ts';

function setup({ tty = false, columns = 80, env = {} as Record<string, string>, total = 100 } = {}) {
  let time = 1_000_000;
  const written: string[] = [];
  const stream = Object.assign(new EventEmitter(), {
    isTTY: tty,
    columns,
    write: (text: string) => written.push(text),
  });
  const bar = progress({ label: 'Generating', total, unit: 'rows', stream, now: () => time, env });
  return { bar, written, stream, wait: (ms: number) => (time += ms) };
}

/** What a terminal shows: without escape sequences. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the sequences start with the escape character
const visible = (text: string) => text.replace(/\u001b\[[0-9;]*[A-Za-z]/g, '').replace('\r', '');

describe('on a terminal', () => {
  it('redraws one line with share, count, rate and time left', () => {
    const { bar, written, wait } = setup({ tty: true, columns: 100 });
    wait(4000);
    bar.advance(40, 'loss 0.62');
    expect(written).toHaveLength(1);
    expect(written[0]!.startsWith('\r\u001b[K')).toBe(true);
    expect(visible(written[0]!)).toMatch(
      /^Generating {2}█+░+ {2}40 % {2}40\/100 rows {2}10\.0 rows\/s {2}6\.0 s left {2}loss 0\.62$/,
    );
    expect(written[0]).toContain('\u001b[36m');
  });

  it('is never as wide as the terminal, and drops the bar before it cuts the text', () => {
    for (const columns of [100, 72, 60, 40, 20, 1]) {
      const { bar, written, wait } = setup({ tty: true, columns });
      wait(1000);
      bar.advance(40);
      const text = visible(written[0]!);
      expect(text.length).toBeLessThanOrEqual(Math.max(1, columns - 1));
      expect(text.includes('█')).toBe(columns >= 72);
    }
  });

  it('redraws at most ten times a second, and always at the end', () => {
    const { bar, written, wait } = setup({ tty: true });
    for (let i = 0; i < 100; i++) {
      wait(10);
      bar.advance(1);
    }
    expect(written.length).toBeGreaterThan(8);
    expect(written.length).toBeLessThan(13);
    expect(written.at(-1)).toContain('100 %');
    bar.done();
    expect(written.at(-1)).toBe('\r\u001b[KGenerating: 100 rows in 1.0 s (100 rows/s)\n');
  });

  it('honours NO_COLOR and TERM=dumb', () => {
    const plain = setup({ tty: true, env: { NO_COLOR: '1' } });
    plain.bar.advance(50);
    expect(plain.written[0]).not.toContain('\u001b[36m');
    const dumb = setup({ tty: true, env: { TERM: 'dumb' } });
    dumb.wait(2000);
    dumb.bar.advance(50);
    expect(dumb.written).toEqual(['Generating: 50 %  50/100 rows  25.0 rows/s  2.0 s left\n']);
  });
});

describe('elsewhere', () => {
  it('writes a line per tenth of the work', () => {
    const { bar, written, wait } = setup();
    for (let i = 0; i < 100; i++) {
      wait(200);
      bar.advance(1);
    }
    bar.done();
    expect(written).toHaveLength(11);
    expect(written[0]).toBe('Generating: 10 %  10/100 rows  5.00 rows/s  18 s left\n');
    expect(written.at(-1)).toBe('Generating: 100 rows in 20 s (5.00 rows/s)\n');
  });

  it('writes every ten seconds where a tenth takes longer, and not ten lines in a moment', () => {
    const slow = setup({ total: 1000 });
    for (let i = 0; i < 30; i++) {
      slow.wait(1000);
      slow.bar.advance(1);
    }
    expect(slow.written).toHaveLength(3);
    const quick = setup();
    for (let i = 0; i < 100; i++) quick.bar.advance(1);
    quick.bar.done();
    expect(quick.written).toEqual(['Generating: 100 rows in 0.0 s\n']);
  });

  it('says how far it came when it ends early, once', () => {
    const { bar, written, wait } = setup({ total: 2000 });
    wait(5000);
    bar.advance(7);
    bar.done();
    bar.done();
    bar.advance(1);
    expect(written).toEqual(['Generating: 7 of 2,000 rows in 5.0 s (1.40 rows/s)\n']);
  });
});

describe('a reader that is gone', () => {
  it('ends the output and nothing else', async () => {
    const { bar, written, stream, wait } = setup({ tty: true });
    bar.advance(10);
    stream.emit('error', Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
    wait(1000);
    bar.advance(10);
    bar.done();
    expect(written).toHaveLength(1);

    const closed = new PassThrough();
    closed.destroy();
    const later = progress({ label: 'a', total: 1, unit: 'rows', stream: closed });
    later.advance(1);
    later.done();
    await new Promise((resolve) => setImmediate(resolve));
  });

  it('survives a stream that throws', () => {
    const stream = Object.assign(new EventEmitter(), {
      write: () => {
        throw new Error('EPIPE');
      },
    });
    const bar = progress({ label: 'a', total: 1, unit: 'rows', stream });
    expect(() => bar.done()).not.toThrow();
  });

  it('adds one listener per stream, however many stages there are', () => {
    const { stream } = setup();
    for (let i = 0; i < 20; i++) progress({ label: 'a', total: 1, unit: 'rows', stream }).done();
    expect(stream.listenerCount('error')).toBe(1);
  });

  it('takes a stage with nothing to do', () => {
    const { bar, written } = setup({ total: 0, tty: true });
    bar.done();
    expect(written).toEqual(['\r\u001b[KGenerating: 0 rows in 0.0 s\n']);
  });
});

describe('text', () => {
  it.each([
    [0.04, '0.0 s'],
    [9.94, '9.9 s'],
    [9.96, '10 s'],
    [59.6, '1 min 00 s'],
    [245, '4 min 05 s'],
    [3599.7, '1 h 00 min'],
    [7500, '2 h 05 min'],
    [Number.POSITIVE_INFINITY, '?'],
  ])('formatDuration(%d) is %s', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });

  it.each([
    [0.1234, '0.123'],
    [0.99961, '1.00'],
    [4.561, '4.56'],
    [9.996, '10.0'],
    [99.96, '100'],
    [1234.6, '1,235'],
  ])('formatRate(%d) is %s', (rate, text) => {
    expect(formatRate(rate)).toBe(text);
  });

  it('formatCount separates thousands', () => {
    expect(formatCount(1234567)).toBe('1,234,567');
  });
});
