// Dataset files: formats, ids, rows left out, files refused.

import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { readExamples } from '../../src/data/index.ts';
import { exitCode, SelfplayError } from '../../src/util/index.ts';

async function dataFile(content: string | Uint8Array, name = 'rows.jsonl'): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'selfplay-test-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  await writeFile(join(dir, name), content);
  return join(dir, name);
}

const lines = (...rows: unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const good = (count: number) => Array.from({ length: count }, (_, i) => ({ question: `q${i}`, answer: `a${i}` }));

async function readingError(content: string | Uint8Array, columns?: { prompt: string; response: string }) {
  const file = await dataFile(content);
  const error: unknown = await readExamples(file, columns ? { columns } : {}).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SelfplayError);
  return error as SelfplayError;
}

describe('formats', () => {
  const round = { prompt: [{ role: 'user', content: 'hi' }], response: 'hello' };
  const user = { role: 'user', content: 'hi' };
  const assistant = { role: 'assistant', content: 'hello' };
  const system = { role: 'system', content: 'Be kind.' };
  it.each([
    ['question/answer', { question: 'hi', answer: 'hello', source: 'x' }, round],
    ['prompt/completion', { prompt: 'hi', completion: 'hello' }, round],
    ['prompt/completion', { prompt: [user], completion: [assistant] }, round],
    ['prompt/completion', { prompt: [system, user], completion: 'hello' }, { ...round, prompt: [system, user] }],
    [
      'prompt/completion',
      { prompt: [user, assistant, user], completion: 'hello' },
      { ...round, prompt: [user, assistant, user] },
    ],
    ['messages', { messages: [user, assistant] }, round],
    ['messages', { messages: [system, user, assistant, user, assistant] }, { ...round, prompt: [system, user] }],
    [
      'conversations',
      {
        conversations: [
          { from: 'human', value: 'hi' },
          { from: 'gpt', value: 'hello' },
        ],
      },
      round,
    ],
    [
      'conversations',
      {
        system: 'Be kind.',
        conversations: [
          { from: 'USER', value: 'hi' },
          { from: 'ChatGPT', value: 'hello' },
        ],
      },
      { ...round, prompt: [system, user] },
    ],
    ['instruction/input/output', { instruction: 'hi', input: '', output: 'hello' }, round],
    ['instruction/input/output', { instruction: 'hi', output: 'hello' }, round],
    [
      'instruction/input/output',
      { instruction: 'Add.', input: '1+2', output: 'hello', system: 'Be kind.' },
      { ...round, prompt: [system, { role: 'user', content: 'Add.\n\n1+2' }] },
    ],
    ['real/generated', { real: [user, assistant], generated: [user, { ...assistant, content: 'no' }] }, round],
    ['chosen/rejected', { prompt: 'hi', chosen: 'hello', rejected: 'no' }, round],
    ['chosen/rejected', { prompt: 'hi', chosen: [user, assistant], rejected: [user, assistant] }, round],
    ['messages', { prompt: 'other', messages: [user, assistant, { role: 'tool', content: 'later' }] }, round],
  ])('%s: %j', async (format, row, expected) => {
    const file = await dataFile(lines(row));
    const found = await readExamples(file);
    expect(found.format).toBe(format);
    expect(found.examples).toEqual([{ id: expect.stringMatching(/^[0-9a-f]{16}$/), file, line: 1, ...expected }]);
  });

  it('takes the columns that the user names, before all others', async () => {
    const file = await dataFile(lines({ question: 'no', answer: 'no', q: 'hi', a: 'hello' }));
    const found = await readExamples(file, { columns: { prompt: 'q', response: 'a' } });
    expect(found.format).toBe('q/a');
    expect(found.examples[0]).toMatchObject(round);
  });

  it('takes texts with columns in braces', async () => {
    const file = await dataFile(
      lines({ city: 'Rome', year: 5, a: 'hello' }, ...Array(30).fill({ city: 'Oslo', year: 1, a: 'x' }), {
        city: null,
        year: 2,
        a: 'y',
      }),
    );
    const columns = { prompt: 'In {year}: {city}?', response: '{a}!' };
    const found = await readExamples(file, { columns });
    expect(found.format).toBe('In {year}: {city}?/{a}!');
    expect(found.examples[0]).toMatchObject({ prompt: [{ content: 'In 5: Rome?' }], response: 'hello!' });
    expect(found.skipped).toMatchObject([{ line: 32, reason: 'no "In {year}: {city}?"' }]);
    const missing = await readingError(lines({ city: 'Rome' }), columns);
    expect(missing.what).toMatch(/"city": not both/);
  });

  it('of a chat with several answers plays on the first, the last or each, and says how many it does not play on', async () => {
    const turn = (role: string, content: string) => ({ role, content });
    const chat = [
      turn('system', 's'),
      turn('user', 'u1'),
      turn('assistant', 'a1'),
      turn('user', 'u2'),
      turn('assistant', 'a2'),
    ];
    const file = await dataFile(lines({ messages: chat }, { messages: chat.slice(0, 3) }));
    const found = async (turns: 'first' | 'last' | 'each') => {
      const { examples, unused } = await readExamples(file, { turns });
      return [examples.map(({ line, prompt, response }) => [line, prompt.length, response]), unused];
    };
    expect(await found('first')).toEqual([
      [
        [1, 2, 'a1'],
        [2, 2, 'a1'],
      ],
      { answers: 1, rows: 1 },
    ]);
    expect(await found('last')).toEqual([
      [
        [1, 4, 'a2'],
        [2, 2, 'a1'],
      ],
      { answers: 1, rows: 1 },
    ]);
    expect(await found('each')).toEqual([
      [
        [1, 2, 'a1'],
        [1, 4, 'a2'],
        [2, 2, 'a1'],
      ],
      { answers: 0, rows: 0 },
    ]);
  });

  it('reads a JSON array with the line of each row, strings with brackets and quotes included', async () => {
    const rows = [
      { question: 'a ] } , \\ "x"', answer: '[1]' },
      { question: 'q\n', answer: 'é' },
    ];
    const pretty = await readExamples(await dataFile(`\ufeff\n${JSON.stringify(rows, null, 2)}\n`));
    expect(pretty.examples.map(({ line, response }) => [line, response])).toEqual([
      [3, '[1]'],
      [7, 'é'],
    ]);
    const dense = await readExamples(await dataFile(JSON.stringify(rows)));
    expect(dense.examples.map(({ id }) => id)).toEqual(pretty.examples.map(({ id }) => id));
  });

  it('reads any array as JSON.parse does', async () => {
    const text = fc.string({ unit: 'grapheme', minLength: 1 }).filter((one) => one.trim() !== '');
    const rows = fc.array(fc.record({ question: text, answer: text, extra: fc.jsonValue() }), {
      minLength: 1,
      maxLength: 5,
    });
    await fc.assert(
      fc.asyncProperty(rows, fc.constantFrom(0, 1, 4), async (list, indent) => {
        const { examples } = await readExamples(await dataFile(JSON.stringify(list, null, indent)));
        expect(examples.map(({ response }) => response)).toEqual(list.map(({ answer }) => answer));
      }),
      { numRuns: 50, seed: 1 },
    );
  });

  it('tolerates CRLF, blank lines, a byte order mark and a last line without newline', async () => {
    const found = await readExamples(
      await dataFile(`\ufeff${lines(...good(2)).replaceAll('\n', '\r\n\r\n')}{"question":"x","answer":"y"}`),
    );
    expect(found.examples.map(({ line }) => line)).toEqual([1, 3, 5]);
    expect(found).toMatchObject({ rows: 3, skipped: [] });
  });

  it('takes several files as one, each row with its own place', async () => {
    const [one, two] = [await dataFile(lines(...good(2))), await dataFile(lines(good(1)[0], 'text', ...good(40)), 'b')];
    const found = await readExamples([one, two]);
    expect(found.rows).toBe(44);
    expect(found.examples.slice(1, 4).map(({ file, line }) => [file, line])).toEqual([
      [one, 2],
      [two, 1],
      [two, 3],
    ]);
    expect(found.examples[2]!.id).toBe(`${found.examples[0]!.id}-2`);
    expect(found.skipped).toEqual([{ file: two, line: 2, reason: 'the row is not a JSON object' }]);
    const error: unknown = await readExamples([one, await dataFile('{"x":')]).catch((thrown: unknown) => thrown);
    expect((error as SelfplayError).where).toMatch(/rows\.jsonl:1$/);
  });

  it('gives the hash of the file', async () => {
    const content = lines(...good(3));
    const expected = createHash('sha256').update(content).digest('hex');
    expect((await readExamples(await dataFile(content))).sha256).toBe(expected);
  });
});

describe('ids', () => {
  it('depend on content alone; repeats are numbered', async () => {
    const [a, b] = good(2);
    const forward = await readExamples(await dataFile(lines(a, b, a)));
    const backward = await readExamples(await dataFile(lines(a, a, b)));
    const ids = forward.examples.map(({ id }) => id);
    expect(new Set(ids).size).toBe(3);
    expect(ids[2]).toBe(`${ids[0]}-2`);
    expect(backward.examples.map(({ id }) => id).sort()).toEqual([...ids].sort());
  });
});

describe('rows that cannot be used', () => {
  const turns = (...roles: string[]) => ({ messages: roles.map((role) => ({ role, content: 'x' })) });
  it.each<[unknown, RegExp]>([
    [turns('user'), /no answer/],
    [turns('user', 'user'), /followed by a user message/],
    [turns('assistant', 'user'), /do not alternate/],
    [turns('system', 'assistant'), /do not alternate/],
    [turns('system'), /does not end with a user message/],
    [turns('human', 'gpt'), /role "human"/],
    [turns(), /does not end with a user/],
    [{ messages: 'text' }, /not a list/],
    [{ messages: [null, 5] }, /role undefined/],
    [{ messages: [{ role: 'user', content: [{ type: 'text' }] }] }, /not a text/],
    [
      {
        messages: [
          { role: 'user', content: 'q' },
          { role: 'assistant', content: ' \n' },
        ],
      },
      /answer is empty/,
    ],
    [
      {
        messages: [
          { role: 'user', content: '' },
          { role: 'assistant', content: 'a' },
        ],
      },
      /prompt is empty/,
    ],
    [
      {
        messages: [
          { role: 'user', content: 'q' },
          { role: 'assistant', content: '\ud800' },
        ],
      },
      /valid Unicode/,
    ],
    ['text', /not a JSON object/],
    [[1], /not a JSON object/],
  ])('%j', async (row, reason) => {
    const chats = Array.from({ length: 40 }, (_, i) => ({
      messages: [
        { role: 'user', content: `q${i}` },
        { role: 'assistant', content: 'a' },
      ],
    }));
    const found = await readExamples(await dataFile(lines(...chats, row)));
    expect(found.examples).toHaveLength(40);
    expect(found.rows).toBe(41);
    expect(found.skipped).toMatchObject([{ line: 41, reason: expect.stringMatching(reason) }]);
  });

  it.each<[unknown, RegExp]>([
    [{ prompt: 'q' }, /no "completion": the row has no answer/],
    [{ completion: 'a' }, /no "prompt"/],
    [{ prompt: 5, completion: 'a' }, /neither a text nor a list/],
    [{ prompt: 'q', completion: { text: 'a' } }, /neither a text nor a list/],
    [{ prompt: 'q', completion: [{ role: 'user', content: 'a' }] }, /not one assistant message/],
    [{ prompt: [{ role: 'assistant', content: 'a' }], completion: 'a' }, /do not alternate/],
    [{ question: 'q', answer: 'a' }, /no "prompt"/],
  ])('%j among prompt/completion rows, even as the first', async (row, reason) => {
    const rows = Array.from({ length: 40 }, (_, i) => ({ prompt: `q${i}`, completion: 'a' }));
    const last = await readExamples(await dataFile(lines(...rows, row)));
    expect(last.skipped).toMatchObject([{ line: 41, reason: expect.stringMatching(reason) }]);
    if (!('question' in (row as object))) {
      const first = await readExamples(await dataFile(lines(row, ...rows)));
      expect(first.skipped).toMatchObject([{ line: 1, reason: expect.stringMatching(reason) }]);
    }
  });

  it('more than 5 % of them: refused, with the first five and what to do', async () => {
    const error = await readingError(
      lines(...good(93), ...Array.from({ length: 7 }, () => ({ question: 'q', answer: '' }))),
    );
    expect(exitCode(error)).toBe(2);
    expect(error.what).toMatch(/7 of 100 rows cannot be used/);
    expect(error.what.match(/rows\.jsonl:\d+: the answer is empty/g)).toHaveLength(5);
    expect(error.what).toMatch(/rows\.jsonl:94:[\s\S]*and 2 more/);
    expect(error.fix).toMatch(/--prompt-column/);
    const five = lines(...good(95), ...Array.from({ length: 5 }, () => ({ question: 'q', answer: '' })));
    expect((await readExamples(await dataFile(five))).skipped).toHaveLength(5);
  });
});

describe('files that cannot be used', () => {
  it.each<[string, string | Uint8Array, RegExp, RegExp]>([
    ['empty', '', /no rows/, /rows\.jsonl$/],
    ['blank', '\n \n', /no rows/, /rows\.jsonl$/],
    ['empty array', '[ ]', /no rows/, /rows\.jsonl$/],
    ['truncated last line', `${lines(...good(2))}{"question":"x","ans`, /not valid JSON.*truncated/, /:3$/],
    [
      'invalid UTF-8',
      Buffer.concat([Buffer.from(lines(...good(1))), Buffer.from([0x22, 0xff, 0x22, 10])]),
      /UTF-8/,
      /:2$/,
    ],
    ['truncated array', '[{"question":"x","answer":"y"},\n{"question":"x"', /does not end/, /:2$/],
    ['bad row in an array', '[{"question":"x","answer":"y"},\n\n{"question":x}]', /not valid JSON/, /:3$/],
    ['missing row in an array', '[{"question":"x","answer":"y"},\n]', /is missing/, /:2$/],
    ['text after an array', '[{"question":"x","answer":"y"}]\nmore', /after the end/, /:2$/],
    ['array closed by a brace', '[{"question":"x","answer":"y"}}', /not valid JSON|does not end|missing/, /:1$/],
    ['not text at all', new Uint8Array([0x51, 0x41, 0x52, 0x31, 0, 1, 2, 255]), /UTF-8/, /:1$/],
  ])('%s', async (_, content, what, where) => {
    const error = await readingError(content);
    expect(error.what).toMatch(what);
    expect(error.where).toMatch(where);
  });

  it('unknown columns: lists those seen and names the flags', async () => {
    const error = await readingError(lines({ task: 'q', output: 'a' }, { task: 'q', input: 'i' }));
    expect(exitCode(error)).toBe(2);
    expect(error.what).toMatch(/"task", "output", "input"/);
    expect(error.fix).toMatch(/--prompt-column and --response-column/);
    const named = await readingError(lines({ question: 'q', answer: 'a' }), { prompt: 'q', response: 'answer' });
    expect(named.what).toMatch(/"question", "answer": not both "q" and "answer"/);
    const inherited = await readingError(lines({ question: 'q' }), { prompt: 'toString', response: 'constructor' });
    expect(inherited.what).toMatch(/not both "toString"/);
  });

  it('missing file or directory', async () => {
    await expect(readExamples('no/such/file.jsonl')).rejects.toThrowError(
      /no such data file[\s\S]*no\/such\/file\.jsonl/,
    );
    await expect(readExamples(tmpdir())).rejects.toThrowError(/cannot be read/);
  });
});
