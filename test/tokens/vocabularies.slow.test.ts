// The vocabularies that npm ci does not bring, against the same fixture (SELFPLAY_TOKENIZERS, see scripts/fetch-for-tests.mjs), and all of
// them on random texts, ids and back, against the native package, and written as GGUF files, for us and for llama.cpp.

import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as NativeTokenizer } from 'tokenizers';
import { describe, expect, it } from 'vitest';
import { type GgufValue, writeGguf } from '../../src/formats/index.ts';
import { ggufTokenizer, loadTokenizer } from '../../src/tokens/index.ts';
import { temporaryDirectory } from './support.ts';
import { expectKnownIds, namesOfTokenizers, openTokenizer, TEXTS } from './vocabularies.ts';

const { installed, further, missing } = namesOfTokenizers();
if (missing.length > 0) {
  console.warn(
    `SKIPPED: no vocabulary for ${missing.join(', ')}; set SELFPLAY_TOKENIZERS (scripts/fetch-for-tests.mjs)`,
  );
}
const RANDOM_TEXTS = 1000;
const PIECES = [
  'the',
  'Ing',
  "'s",
  "'LL",
  'e\u0301',
  '\u0301',
  '▁',
  '.',
  '!?',
  '한',
  'é',
  '\u1112\u1161',
  '\ud83d',
  '1/2',
];
const SPACES = [' ', '  ', '\n', '\t', '\r\n', '\u00a0', ' \n', '\u3000', '\u0085'];

/** Texts of letters, any characters, spaces, digits, parts of the known texts and control tokens. */
function randomTexts(controls: readonly string[]): string[] {
  let state = 7;
  const below = (n: number): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state % n;
  };
  const one = (from: readonly string[]): string => from[below(from.length)] ?? '';
  const kinds = [
    () => String.fromCodePoint(below(0x250)),
    () => String.fromCodePoint(below(0x10000)),
    () => String.fromCodePoint(0x10000 + below(0x20000)),
    () => one(SPACES),
    () => one(TEXTS).slice(0, 9),
    () => one(controls),
    () => String(below(100_000)),
    () => one(PIECES),
    () => String.fromCodePoint(97 + below(26)).repeat(1 + below(4)),
  ];
  return Array.from({ length: RANDOM_TEXTS }, () =>
    Array.from({ length: 1 + below(12) }, () => kinds[below(kinds.length)]!()).join(''),
  );
}

describe.skipIf(further.length === 0)('ids of the fixture', () => {
  it.each(further)('%s', expectKnownIds);
});

describe('random texts, as the native package', () => {
  it.each([...installed, ...further])('%s', async (name) => {
    const { json, definition, encoder } = await openTokenizer(name);
    const native = NativeTokenizer.fromString(json);
    const controls = definition.added.map(({ content }) => content);
    for (const text of randomTexts([...controls.slice(0, 5), ...controls.slice(-5)])) {
      const ids = (
        await native.encode(text.replace(/\p{Surrogate}/gu, '\ufffd'), null, { addSpecialTokens: false })
      ).getIds();
      expect([text, encoder.encode(text)]).toEqual([text, ids]);
      expect([text, encoder.decode(ids, false)]).toEqual([text, await native.decode(ids, true)]);
      expect([text, encoder.decode(ids, true)]).toEqual([text, await native.decode(ids, false)]);
    }
  });
});

const hasLlama = process.env['SELFPLAY_LLAMA_CPP'] !== undefined;
if (!hasLlama) console.warn('SKIPPED: no llama.cpp; set SELFPLAY_LLAMA_CPP (scripts/fetch-for-tests.mjs)');

/** Those that llama.cpp cannot imitate: a cutter without a name, spaces put before the first piece of a text alone, merges that no scores say. */
const REFUSED: Readonly<Record<string, string>> = {
  'gpt2 cut as tekken': 'llama.cpp has no name',
  'llama2 as mistral': 'llama.cpp has no name',
  'llama2 as gemma': 'it would cut',
  gemma: 'cannot be written as scores',
};
/**
 * Texts that llama.cpp itself cuts otherwise: it does not bring text into NFC, its \p{M} leaves out scripts of India and its neighbours,
 * tokens of Phi-3 take ASCII's spaces along alone, and rows of spaces longer than Gemma's longest piece are split as SentencePiece does.
 */
const KNOWN: Readonly<Record<string, RegExp>> = {
  qwen2_5: /[\u0301\u0323\u0344]|\u1112/u,
  qwen3: /[\u0301\u0323\u0344]|\u1112/u,
  mistral_nemo: /^[\p{sc=Deva}\p{sc=Thai}]/u,
  'llama2 as phi3': /[|s]>[\u00a0\u0085\u2028]/u,
  'gemma with rows': / {32}/,
};

describe('as a GGUF file', () => {
  it.each([...installed, ...further])('%s gives the same ids, and llama.cpp does too', async (name) => {
    const { json, definition, encoder, texts } = await openTokenizer(name);
    const dir = await temporaryDirectory();
    const named = definition.added.find(({ content }) => ['<s>', '<bos>'].includes(content)) ?? definition.added[0]!;
    const config = { bos_token: named.content, eos_token: definition.added[1]?.content ?? named.content };
    await writeFile(join(dir, 'tokenizer.json'), json);
    await writeFile(join(dir, 'tokenizer_config.json'), JSON.stringify(config));
    const rows = 1 + [...definition.tokenOf.keys()].reduce((highest, id) => Math.max(highest, id));
    const architecture = name.endsWith('phi3') ? 'phi3' : 'llama';
    const reason = REFUSED[name];
    if (reason !== undefined) {
      await expect(ggufTokenizer(dir, rows, { architecture })).rejects.toThrow(reason);
      return;
    }
    const file = join(dir, 'tokenizer.gguf');
    const metadata = await ggufTokenizer(dir, rows, { architecture });
    const text = (value: string): GgufValue => ({ type: 'string', value });
    await writeGguf(
      file,
      new Map([['general.architecture', text(architecture)], ['general.name', text(architecture)], ...metadata]),
      [],
    );
    const again = await loadTokenizer(file);
    const all = [...TEXTS, ...texts].filter((each) => each !== '' && !KNOWN[name]?.test(each));
    const expected = all.map((text) => [text, ...encoder.encode(text)]);
    expect(all.map((text) => [text, ...again.encode(text)])).toEqual(expected);
    if (!hasLlama) return;
    const script = join(import.meta.dirname, '../../scripts/llama-cpp.mjs');
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [script, JSON.stringify({ model: file, texts: all })],
      { encoding: 'utf8', maxBuffer: 2 ** 26 },
    );
    expect(status, stderr).toBe(0);
    const theirs = JSON.parse(stdout.trim().split('\n').at(-1)!) as number[][];
    expect(all.map((each, i) => [each, ...theirs[i]!])).toEqual(expected);
  });
});
