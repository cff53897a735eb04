// Kinds of files: what each gives as rows, with lines; and what is cut, damaged, packed to explode, or no data at all.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { type ColumnSource, parquetWriteBuffer } from 'hyparquet-writer';
import { describe, expect, it } from 'vitest';
import { readExamples } from '../../src/data/index.ts';
import { readRows } from '../../src/data/readRows.ts';
import { readParquet } from '../../src/formats/index.ts';
import { boundedFile, parquetRows } from '../../src/formats/parquetRows.ts';
import { SelfplayError } from '../../src/util/index.ts';
import { tempDir } from '../util/temp.ts';

async function file(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(await tempDir(), name);
  await writeFile(path, content);
  return path;
}

async function rowsOf(path: string): Promise<[number, unknown][]> {
  const rows: [number, unknown][] = [];
  for await (const { line, value } of await readRows(path)) rows.push([line, value]);
  return rows;
}

async function refusal(path: string): Promise<SelfplayError> {
  const error: unknown = await rowsOf(path).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SelfplayError);
  return error as SelfplayError;
}

describe('CSV and TSV', () => {
  it('quotes, separators and line ends inside fields, CRLF, a byte order mark, blank lines: each row with its first line', async () => {
    const text = '\ufeffquestion,answer\r\n"a, ""b""\r\nc",1\r\n\r\nplain,"x\n\ny"\r\nlast,é';
    expect(await rowsOf(await file('rows.csv', text))).toEqual([
      [2, { question: 'a, "b"\r\nc', answer: '1' }],
      [5, { question: 'plain', answer: 'x\n\ny' }],
      [8, { question: 'last', answer: 'é' }],
    ]);
    expect(await rowsOf(await file('rows.tsv', 'q\ta\n1,2\t"3\t4"\n'))).toEqual([[2, { q: '1,2', a: '3\t4' }]]);
  });

  it('characters that lie across pieces', async () => {
    const answer = 'é'.repeat(5000);
    expect(await rowsOf(await file('rows.csv', `q,a\nx,${answer}\ny,z\n`))).toEqual([
      [2, { q: 'x', a: answer }],
      [3, { q: 'y', a: 'z' }],
    ]);
  });

  it.each<[string, string | Uint8Array, RegExp, RegExp]>([
    ['a field too many', 'q,a\n1,2\n"x\ny",2,3\n', /has 3 fields, and there are 2 columns \(q, a\)/, /rows\.csv:3$/],
    ['a field too few', 'q,a\n1,2\n\n3\n', /has 1 fields/, /rows\.csv:4$/],
    [
      'a quote that does not end',
      'q,a\n1,2\n3,"x\ny\n',
      /not valid CSV, in the record that begins here: Quote Not Closed/,
      /rows\.csv:3$/,
    ],
    [
      'a quote in the middle',
      'q,a\r\n"1\r\n\r\n",2\r\n3,x"y\r\n',
      /not valid CSV.*: Invalid Opening Quote/,
      /rows\.csv:5$/,
    ],
    ['text behind a quote', 'q,a\n1,2\n3,"x"y\n', /not valid CSV.*: Invalid Closing Quote/, /rows\.csv:3$/],
    ['two columns of one name', 'q,q\n1,2\n', /two columns are called "q"/, /rows\.csv:1$/],
    ['invalid UTF-8', Buffer.from('q,a\n1,2\n\xff,3\n', 'latin1'), /not valid UTF-8/, /rows\.csv:1$/],
  ])('%s', async (_, content, what, where) => {
    const error = await refusal(await file('rows.csv', content));
    expect(error.what).toMatch(what);
    expect(error.where).toMatch(where);
  });
});

describe('gzip', () => {
  const lines = Array.from({ length: 200 }, (_, i) => `{"question":"q${i}","answer":"a"}\n`).join('');
  it.each([
    ['rows.jsonl.gz', lines],
    ['packed-under-another-name.jsonl', lines],
    ['rows.json.gz', `[${lines.trim().replaceAll('\n', ',\n')}]`],
    ['rows.csv.gz', `question,answer\n${Array.from({ length: 200 }, (_, i) => `q${i},a\n`).join('')}`],
  ])('%s', async (name, text) => {
    const { examples, format } = await readExamples(await file(name, gzipSync(text)));
    expect([examples.length, format, examples[199]!.line]).toEqual([
      200,
      'question/answer',
      name.includes('csv') ? 201 : 200,
    ]);
  });

  it('cut at every length, and with a byte changed: one error that names the file', async () => {
    const packed = gzipSync(lines);
    const dir = await tempDir();
    for (let length = 3; length < packed.length; length += 7) {
      const path = join(dir, 'rows.jsonl.gz');
      await writeFile(path, packed.subarray(0, length));
      expect((await refusal(path)).message, `${length}`).toMatch(/damaged or cut off[\s\S]*rows\.jsonl\.gz/);
    }
    const changed = Buffer.from(packed);
    changed[packed.length >> 1]! ^= 0xff;
    expect((await refusal(await file('rows.jsonl.gz', changed))).kind).toBe('failure');
  });

  it('a line that unpacks to more than may be', async () => {
    const bomb = gzipSync(Buffer.alloc(80 * 1024 * 1024, 'x'));
    expect(bomb.length).toBeLessThan(100_000);
    expect((await refusal(await file('rows.jsonl.gz', bomb))).what).toMatch(/longer than 67108864 bytes/);
  });
});

describe('files that are no data', () => {
  it.each<[string, string | Uint8Array, RegExp]>([
    ['x.jsonl', 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n', /pointer of Git LFS/],
    ['x.jsonl', '<!DOCTYPE html><html></html>', /page in HTML/],
    ['x.csv', '<!doctype html>', /page in HTML/],
    ['x.jsonl', 'PK\x03\x04abc', /zip archive/],
    ['x.txt', 'once upon a time', /not a kind of file/],
    ['x.parquet', 'PARE....', /does not begin with PAR1/],
    ['x.parquet', '', /does not begin with PAR1/],
  ])('%s: %j', async (name, content, what) => {
    expect((await refusal(await file(name, content))).what).toMatch(what);
  });
});

const chat = (i: number) => [
  { role: 'user', content: `question ${i}` },
  { role: 'assistant', content: `answer ${i}` },
];
const columns = (count: number): ColumnSource[] => [
  { name: 'question', data: Array.from({ length: count }, (_, i) => `q${i}`), type: 'STRING' },
  { name: 'answer', data: Array.from({ length: count }, (_, i) => `a${i % 3}`), type: 'STRING' },
  { name: 'n', data: Array.from({ length: count }, (_, i) => BigInt(i)), type: 'INT64' },
];

describe('parquet', () => {
  it('texts and 64-bit numbers, over several row groups', async () => {
    const bytes = parquetWriteBuffer({ columnData: columns(250), rowGroupSize: 100 });
    const rows = await rowsOf(await file('rows.parquet', new Uint8Array(bytes)));
    expect(rows).toHaveLength(250);
    expect(rows[199]).toEqual([200, { question: 'q199', answer: 'a1', n: 199 }]);
    expect((await readExamples(await file('no-ending', new Uint8Array(bytes)))).format).toBe('question/answer');
  });

  it('chats as lists of messages', async () => {
    const data = Array.from({ length: 30 }, (_, i) => chat(i));
    const bytes = parquetWriteBuffer({ columnData: [{ name: 'messages', data, type: 'JSON' }] });
    const { examples, format } = await readExamples(await file('rows.parquet', new Uint8Array(bytes)));
    expect([examples.length, format, examples[7]!.response]).toEqual([30, 'messages', 'answer 7']);
  });

  it('no rows at all', async () => {
    const bytes = parquetWriteBuffer({ columnData: columns(0) });
    const error = await readExamples(await file('rows.parquet', new Uint8Array(bytes))).catch(
      (thrown: unknown) => thrown,
    );
    expect((error as SelfplayError).what).toMatch(/no rows/);
  });

  it('cut at every length: an error, never rows that are not there', async () => {
    const bytes = new Uint8Array(parquetWriteBuffer({ columnData: columns(20) }));
    const read = async (given: Uint8Array) => {
      const rows = [];
      const source = boundedFile(
        given.length,
        async (start, length) => new Uint8Array(given.slice(start, start + length)),
      );
      for await (const group of parquetRows(source)) rows.push(...group);
      return rows;
    };
    expect(await read(bytes)).toHaveLength(20);
    for (let length = 0; length < bytes.length; length++) {
      await expect(read(bytes.subarray(0, length)), `${length}`).rejects.toThrow();
    }
  });

  it('a file that is cut names itself', async () => {
    const bytes = new Uint8Array(parquetWriteBuffer({ columnData: columns(20) }));
    const error = await refusal(await file('rows.parquet', bytes.subarray(0, bytes.length - 5)));
    expect(error.message).toMatch(/damaged or not supported: .*footer[\s\S]*rows\.parquet/);
  });

  it('a codec that is not known is named', async () => {
    const bytes = parquetWriteBuffer({ columnData: columns(20), codec: 'LZO', compressors: { LZO: (input) => input } });
    expect((await refusal(await file('rows.parquet', new Uint8Array(bytes)))).what).toMatch(
      /unsupported compression codec: LZO/,
    );
  });

  it('a page that unpacks to more than it says', async () => {
    const compressors = { BROTLI: () => new Uint8Array(brotliCompressSync(Buffer.alloc(50_000_000))) };
    const bytes = parquetWriteBuffer({ columnData: columns(20), codec: 'BROTLI', compressors });
    expect((await refusal(await file('rows.parquet', new Uint8Array(bytes)))).kind).toBe('failure');
  });

  // The first page begins at 4: type, sizes, then its header of version 2 from 12 on.
  const whole = Buffer.from(parquetWriteBuffer({ columnData: columns(20) }));
  const footer = whole.length - 8;
  it.each<[string, (bytes: Buffer) => void, RegExp]>([
    ['no magic at the end', (bytes) => bytes.fill(0, footer + 4), /file is damaged .*footer/],
    ['a footer longer than the file', (bytes) => bytes.writeUInt32LE(2 ** 31, footer), /is damaged/],
    ['a footer of no bytes', (bytes) => bytes.writeUInt32LE(0, footer), /is damaged/],
    [
      'a footer that begins too late',
      (bytes) => bytes.writeUInt32LE(whole.readUInt32LE(footer) - 3, footer),
      /is damaged/,
    ],
    ['a page of another kind', (bytes) => bytes.writeUInt8(0x02, 5), /unsupported page type: INDEX_PAGE/],
    [
      'a page of less than no bytes',
      (bytes) => bytes.writeUInt8(bytes[7]! | 1, 7),
      /a page is said to have -\d+ bytes/,
    ],
    ['a page that ends behind the file', (bytes) => bytes.writeUInt8(0x7f, 11), /Invalid typed array length/],
    ['less than no values', (bytes) => bytes.writeUInt8(0x29, 14), /Invalid array length/],
    ['more values than there are', (bytes) => bytes.writeUInt8(0x7e, 14), /is damaged/],
    ['a page without a number of values', (bytes) => bytes.writeUInt8(0x05, 13), /takes more than 2 s, or is damaged/],
  ])('with %s: one error that names it', async (_, damage, what) => {
    const bytes = Buffer.from(whole);
    damage(bytes);
    const path = await file('rows.parquet', bytes);
    const read = async () => {
      for await (const _row of readParquet(path, { seconds: 2 })) expect.unreachable();
    };
    const error: unknown = await read().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(SelfplayError);
    expect((error as SelfplayError).what).toMatch(what);
    expect((error as SelfplayError).where).toContain(path);
  });

  it('with columns that are not known', async () => {
    const bytes = parquetWriteBuffer({ columnData: columns(20).slice(2) });
    const error = await readExamples(await file('rows.parquet', new Uint8Array(bytes))).catch(
      (thrown: unknown) => thrown,
    );
    expect((error as SelfplayError).what).toMatch(/the rows have the columns "n": none of the known/);
  });

  it('a run of values that no memory holds takes its own process down, not this one', async () => {
    // One run of 2^21 booleans, whose length is then made 2^27: in fp64 slots a gigabyte.
    const data = Array<boolean>(2 ** 21).fill(true);
    const column = { name: 'n', data, type: 'BOOLEAN', encoding: 'RLE', nullable: false } as const;
    const bytes = parquetWriteBuffer({ columnData: [column], codec: 'UNCOMPRESSED', rowGroupSize: 2 ** 22 });
    const path = await file('rows.parquet', explode(new Uint8Array(bytes)));
    const read = async () => {
      for await (const _ of readParquet(path, { heap: 128 })) expect.unreachable();
    };
    await expect(read()).rejects.toThrow(
      /cannot be read: a row group takes more than 128 MB, or is damaged[\s\S]*rows\.parquet:1/,
    );
  });
});

/** Makes the length of the only run, a number of four bytes, as large as four bytes can say. */
function explode(bytes: Uint8Array): Uint8Array {
  // Behind the length of the run's five bytes.
  const pattern = [5, 0, 0, 0, 0x80, 0x80, 0x80, 0x02];
  const at = 4 + bytes.findIndex((_, i) => pattern.every((byte, k) => bytes[i + k] === byte));
  expect(at).toBeGreaterThan(4);
  return bytes.map((byte, i) => (i === at ? 0xfe : at < i && i < at + 3 ? 0xff : i === at + 3 ? 0x7f : byte));
}
