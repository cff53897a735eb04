// JSON lines: tolerated and rejected input, the torn tail of a journal, the appender under faults.

import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type JsonLine, openAppender, readJsonLines } from '../../src/formats/index.ts';
import { faultyIo } from '../util/faulty-io.ts';
import { tempDir } from '../util/temp.ts';

async function readAll(file: string, tolerateTornTail = false): Promise<JsonLine[]> {
  const lines: JsonLine[] = [];
  for await (const line of readJsonLines(file, { tolerateTornTail })) lines.push(line);
  return lines;
}

async function fileWith(content: string | Uint8Array): Promise<string> {
  const file = join(await tempDir(), 'rows.jsonl');
  await writeFile(file, content);
  return file;
}

describe('readJsonLines', () => {
  it('tolerates a byte order mark, CRLF, blank lines and a last line without newline', async () => {
    const file = await fileWith('\ufeff{"a":1}\r\n\r\n  \n{"a":"é\\n"}\n[2]');
    expect(await readAll(file)).toEqual([
      { line: 1, value: { a: 1 } },
      { line: 4, value: { a: 'é\n' } },
      { line: 5, value: [2] },
    ]);
    expect(await readAll(await fileWith(''))).toEqual([]);
  });

  it.each([
    ['truncated JSON', '{"a":1}\n{"a":', 2, 'not valid JSON'],
    ['broken JSON in the middle', '1\n{]\n3\n', 2, 'not valid JSON'],
    ['a byte order mark further on', '1\n\ufeff{\n', 2, 'not valid JSON'],
    ['invalid UTF-8', Buffer.from([0x31, 10, 0x22, 0xc3, 0x22, 10]), 2, 'not valid UTF-8'],
  ])('rejects %s with file and line', async (_, content, line, message) => {
    const file = await fileWith(content);
    await expect(readAll(file)).rejects.toMatchObject({ kind: 'failure', where: `${file}:${line}` });
    await expect(readAll(file)).rejects.toThrow(message);
  });

  it('rejects an absurdly long line without reading on', async () => {
    const file = await fileWith('1\n');
    for (let i = 0; i < 9; i++) await appendFile(file, Buffer.alloc(8 << 20, 0x20));
    await expect(readAll(file)).rejects.toMatchObject({ where: `${file}:2` });
    await expect(readAll(file)).rejects.toThrow('longer than');
  });

  it('leaves out a torn last line only when asked, and only the last', async () => {
    const torn = await fileWith(Buffer.from('{"a":1}\n{"a":"\xc3', 'latin1'));
    await expect(readAll(torn)).rejects.toThrow('not valid UTF-8 (the last line has no newline');
    expect(await readAll(torn, true)).toEqual([{ line: 1, value: { a: 1 } }]);
    await expect(readAll(await fileWith('{"a":\n{"a":1}\n'), true)).rejects.toThrow('not valid JSON');
    await expect(readAll(await fileWith('{"a":1}\n{"a":\n'), true)).rejects.toThrow('not valid JSON');
  });

  it('reads lines across pieces of the stream', async () => {
    const rows = Array.from({ length: 30_000 }, (_, i) => ({ i, text: 'é'.repeat(i % 97) }));
    const file = await fileWith(rows.map((row) => JSON.stringify(row)).join('\n'));
    expect((await readAll(file)).map(({ value }) => value)).toEqual(rows);
  });

  it('fails with the path of a file that is not there', async () => {
    const file = join(await tempDir(), 'none.jsonl');
    await expect(readAll(file)).rejects.toMatchObject({ kind: 'failure', where: file });
  });
});

describe('openAppender', () => {
  it('writes what readJsonLines reads, in the order of the calls', async () => {
    const dir = await tempDir();
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.jsonValue()), async (values) => {
        const file = join(dir, `${run++}.jsonl`);
        const appender = await openAppender(file);
        await Promise.all(values.map((value) => appender.append(value)));
        await appender.sync();
        await appender.close();
        const expected = values.map((value, i) => ({
          line: i + 1,
          value: JSON.parse(JSON.stringify(value)) as unknown,
        }));
        expect(await readAll(file)).toEqual(expected);
      }),
      { numRuns: 30 },
    );
  });

  it('repairs any torn tail before it writes', async () => {
    const whole = '{"n":1}\n{"n":"two, é"}\n';
    const bytes = Buffer.from(whole);
    for (let length = 0; length <= bytes.length; length++) {
      const file = await fileWith(bytes.subarray(0, length));
      const appender = await openAppender(file);
      await appender.append({ n: 3 });
      await appender.close();
      const first = length >= 7 ? [{ n: 1 }] : [];
      const second = length >= bytes.length - 1 ? [{ n: 'two, é' }] : [];
      expect((await readAll(file)).map(({ value }) => value)).toEqual([...first, ...second, { n: 3 }]);
    }
  });

  it('repairs a torn tail that is longer than its first look', async () => {
    const file = await fileWith(`{"n":1}\n{"n":"${'x'.repeat(10_000)}`);
    await (await openAppender(file)).close();
    expect(await readFile(file, 'utf8')).toBe('{"n":1}\n');
  });

  it('stops for good after a failed write, and the journal stays readable', async () => {
    const file = join(await tempDir(), 'journal.jsonl');
    for (let n = 1; ; n++) {
      await writeFile(file, '{"n":0}\n{"to');
      const faulty = faultyIo(n);
      const accepted: number[] = [0];
      const appender = await openAppender(file, faulty.io).catch((error: unknown) => {
        expect(error).toMatchObject({ kind: 'failure', where: file });
      });
      for (let i = 1; i <= 3 && appender !== undefined; i++) {
        const done = await appender.append({ n: i }).then(
          () => true,
          () => false,
        );
        if (done) accepted.push(i);
      }
      await appender?.close().catch(() => undefined);
      const read = (await readAll(file, true)).map(({ value }) => (value as { n: number }).n);
      expect(read).toEqual(accepted);
      expect(accepted).toEqual(Array.from(accepted, (_, i) => i));
      if (!faulty.failed()) break;
    }
  });

  it('rejects a value without JSON form and goes on', async () => {
    const file = join(await tempDir(), 'journal.jsonl');
    const appender = await openAppender(file);
    await expect(appender.append(undefined)).rejects.toThrow(TypeError);
    await appender.append(1);
    await appender.close();
    expect(await readFile(file, 'utf8')).toBe('1\n');
  });
});
