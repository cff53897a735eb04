// Tokenizers that GGUF files carry: the ids of the libraries that they come from, the same from saved files, written back, and
// files that do not say what they must. Fixtures: scripts/fixtures/gguf-tokenizers.py.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as NativeTokenizer } from 'tokenizers';
import { describe, expect, it } from 'vitest';
import { type GgufValue, readGguf, writeGguf } from '../../src/formats/index.ts';
import { ggufCompanions, ggufTokenizer, loadTokenizer } from '../../src/tokens/index.ts';
import { realData, smallTokenizer, temporaryDirectory, tokenizerDirectory } from './support.ts';

const FIXTURES = join(import.meta.dirname, '../fixtures/gguf');
const fileOf = (name: string) => join(FIXTURES, `${name}.gguf`);

interface Ids {
  readonly texts: readonly string[];
  readonly ids: Readonly<Record<string, readonly (readonly number[])[]>>;
}
const { texts, ids } = JSON.parse(await readFile(join(FIXTURES, 'ids.json'), 'utf8')) as Ids;

/** The texts of a tokenizer's ids: byte-level ones have two more, the last in NFD for one that brings it into NFC. */
const textsOf = (name: string) => [
  ...texts,
  ...(ids[name]!.length === texts.length
    ? []
    : ['<|im_start|>user\n12 <tool> x<|im_end|>', name === 'qwen2' ? 'cafe\u0301' : 'cafe']),
];

/** A directory with the files that a GGUF file stands for. */
async function savedFiles(name: string): Promise<string> {
  const dir = await temporaryDirectory();
  for (const [file, text] of (await ggufCompanions(fileOf(name)))!) await writeFile(join(dir, file), text);
  return dir;
}

describe.each(Object.keys(ids))('the tokenizer of %s.gguf', (name) => {
  it('gives the ids of the library that it comes from', async () => {
    const tokenizer = await loadTokenizer(fileOf(name));
    const found = textsOf(name).map((text) => [text, [...tokenizer.encode(text)]]);
    expect(found).toEqual(textsOf(name).map((text, i) => [text, ids[name]![i]]));
  });

  it('turns ids back into the text', async () => {
    const tokenizer = await loadTokenizer(fileOf(name));
    for (const text of texts) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it('is the same, and gives the same ids in the native package, as files', async () => {
    const dir = await savedFiles(name);
    const [ours, saved] = [await loadTokenizer(fileOf(name)), await loadTokenizer(dir)];
    expect(saved.hash).toBe(ours.hash);
    expect([saved.vocabSize, saved.endId, [...saved.endIds]]).toEqual([ours.vocabSize, ours.endId, [...ours.endIds]]);
    const native = NativeTokenizer.fromFile(join(dir, 'tokenizer.json'));
    for (const text of textsOf(name)) {
      const expected = (await native.encode(text, null, { addSpecialTokens: false })).getIds();
      expect([text, ...ours.encode(text)]).toEqual([text, ...expected]);
    }
    const messages = [{ role: 'user', content: 'x' }] as const;
    expect(ours.render(messages, true)).toBe('<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n');
  });

  it('is written back as it was', async () => {
    const { metadata } = await readGguf(fileOf(name));
    const rows = (metadata.get('tokenizer.ggml.tokens') as string[]).length + 2;
    const written = await ggufTokenizer(fileOf(name), rows, { architecture: 'llama' });
    const file = join(await temporaryDirectory(), 'again.gguf');
    await writeGguf(file, written, []);
    const again = await loadTokenizer(file);
    const tokenizer = await loadTokenizer(fileOf(name));
    for (const text of textsOf(name)) expect([...again.encode(text)]).toEqual([...tokenizer.encode(text)]);
    expect([again.vocabSize, again.endId]).toEqual([rows, tokenizer.endId]);
    for (const key of ['model', 'pre', 'merges', 'bos_token_id', 'eos_token_id', 'add_bos_token']) {
      expect([key, written.get(`tokenizer.ggml.${key}`)?.value]).toEqual([key, metadata.get(`tokenizer.ggml.${key}`)]);
    }
    const { value } = written.get('tokenizer.ggml.token_type') as unknown as { value: number[] };
    expect(value.slice(0, -2)).toEqual(metadata.get('tokenizer.ggml.token_type'));
    expect(value.slice(-2)).toEqual([5, 5]);
  });
});

it('writes the tokenizer that the library trains', async () => {
  const dir = await tokenizerDirectory();
  const metadata = await ggufTokenizer(dir, smallTokenizer().added_tokens.length + 400, { architecture: 'llama' });
  expect(metadata.get('tokenizer.ggml.pre')?.value).toBe('smollm');
  const file = join(await temporaryDirectory(), 'x.gguf');
  await writeGguf(file, metadata, []);
  const text = 'What is 12 plus 30?<|im_end|>';
  expect((await loadTokenizer(file)).encode(text)).toEqual((await loadTokenizer(dir)).encode(text));
});

describe('what cannot be written is refused', () => {
  it.each([
    ['a cutter without a name', { pre_tokenizer: { type: 'Whitespace' } }, 'no name that is known here'],
    ['a change of texts', { normalizer: { type: 'Lowercase' } }, 'no name that is known here'],
  ])('%s', async (_, change, message) => {
    const dir = await tokenizerDirectory({ change: (json) => Object.assign(json, change) });
    await expect(ggufTokenizer(dir, 1000, { architecture: 'llama' })).rejects.toThrow(message);
  });

  it('tokens that take spaces along, and merges that are no order of pieces', async () => {
    const dir = await tokenizerDirectory({
      change: (json) => ((json['added_tokens'] as { lstrip: boolean }[])[0]!.lstrip = true),
    });
    await expect(ggufTokenizer(dir, 1000, { architecture: 'llama' })).rejects.toThrow('takes spaces beside it along');
    const saved = await savedFiles('pieces');
    const file = join(saved, 'tokenizer.json');
    const json = JSON.parse(await readFile(file, 'utf8')) as { model: { merges: unknown[] } };
    json.model.merges.splice(5, 1);
    await writeFile(file, JSON.stringify(json));
    await expect(ggufTokenizer(saved, 1000, { architecture: 'llama' })).rejects.toThrow(
      'cannot be written as scores of pieces',
    );
  });
});

describe('metadata that do not make a tokenizer', () => {
  const tokens = ['<unk>', '<s>', '</s>', 'a', 'b', 'ab', 'aba', '▁'];
  const types = [2, 3, 3, 1, 1, 1, 1, 1];
  const scores = [0, 0, 0, -9, -9, -1, -2, -9];
  const good: Record<string, GgufValue> = {
    model: { type: 'string', value: 'llama' },
    tokens: { type: 'strings', value: tokens },
    token_type: { type: 'i32s', value: types },
    scores: { type: 'f32s', value: scores },
    eos_token_id: { type: 'u32', value: 2 },
    bos_token_id: { type: 'u32', value: 1 },
  };
  const load = async (change: Record<string, GgufValue | undefined>) => {
    const file = join(await temporaryDirectory(), 'x.gguf');
    const entries = Object.entries({ ...good, ...change }).flatMap(([key, value]) =>
      value === undefined ? [] : [[`tokenizer.ggml.${key}`, value] as const],
    );
    await writeGguf(file, new Map(entries), []);
    return loadTokenizer(file);
  };
  const strings = (value: string[]): GgufValue => ({ type: 'strings', value });
  const with1 = (value: string) => strings([...tokens.slice(0, 3), value, ...tokens.slice(4)]);
  const gpt2 = { model: { type: 'string', value: 'gpt2' }, pre: { type: 'string', value: 'gpt-2' } } as const;

  it('are good as they are', async () => {
    // "▁ab" and "a": the pair of the highest score is joined first.
    expect([...(await load({})).encode('aba')]).toEqual([7, 6]);
  });

  it.each<[string, Record<string, GgufValue | undefined>, string]>([
    ['no tokens', { tokens: undefined }, 'has no tokenizer'],
    ['an unknown kind', { model: { type: 'string', value: 'bert' } }, 'kind "bert" is not supported'],
    ['no kind', { model: undefined }, 'kind undefined is not supported'],
    ['an unknown cutter', { ...gpt2, pre: { type: 'string', value: 'viking' } }, 'cuts text by "viking"'],
    ['no cutter', { ...gpt2, pre: undefined }, 'nothing says how the tokenizer cuts text'],
    ['the default cutter', { ...gpt2, pre: { type: 'string', value: 'default' } }, 'cuts text by "default"'],
    ['a merge of absent tokens', { ...gpt2, merges: strings(['a b', 'b b']) }, '"b b" at 1'],
    ['a merge of one', { ...gpt2, merges: strings(['ab']) }, '"ab" at 0'],
    ['a token twice', { tokens: with1('b') }, '"b" twice, as 3 and 4'],
    ['an empty token', { tokens: with1('') }, 'an empty token, 3'],
    ['fewer types', { token_type: { type: 'i32s', value: [1] } }, 'has 1 entries for 8 tokens'],
    ['fewer scores', { scores: { type: 'f32s', value: [1] } }, 'has 1 entries for 8 tokens'],
    ['no scores', { scores: undefined }, 'has 0 entries for 8 tokens'],
    ['two equal scores', { scores: { type: 'f32s', value: scores.with(6, -1) } }, 'is -1 for both "ab" and "aba"'],
    ['a score that is NaN', { scores: { type: 'f32s', value: scores.with(6, Number.NaN) } }, 'is NaN for "aba"'],
    ['an endless piece', { tokens: with1('a'.repeat(5000)) }, 'a piece of 5000 characters'],
    ['an eos beyond the tokens', { eos_token_id: { type: 'u32', value: 8 } }, 'is 8, and there are 8 tokens'],
    ['an eos of text', { eos_token_id: { type: 'string', value: '2' } }, 'eos_token_id is not a number'],
    ['tokens of numbers', { tokens: { type: 'i32s', value: [1] } }, 'is not a list of texts'],
    [
      'a BOS that is not there',
      { bos_token_id: undefined, add_bos_token: { type: 'bool', value: true } },
      'there is no BOS',
    ],
    ['squeezed spaces', { remove_extra_whitespaces: { type: 'bool', value: true } }, 'which is not supported'],
    ['a map of characters', { precompiled_charsmap: { type: 'i32s', value: [] } }, 'is not supported'],
    ['no end', { eos_token_id: undefined }, 'no end token'],
  ])('%s', async (_, change, message) => {
    await expect(load(change)).rejects.toThrow(message);
  });
});

const data = realData();
it.skipIf(data === undefined)('of the real GGUF file is that of the tokenizer.json beside it', async () => {
  const dir = join(data!, 'smollm2-135m-instruct');
  const [file, beside] = [await loadTokenizer(join(dir, 'model-q4_1.gguf')), await loadTokenizer(dir)];
  const rows = (await readFile(join(data!, 'gsm8k/test.jsonl'), 'utf8')).split('\n').slice(0, 200);
  for (const text of [...texts, ...rows]) expect([...file.encode(text)]).toEqual([...beside.encode(text)]);
  expect([file.vocabSize, file.endId, [...file.endIds]]).toEqual([beside.vocabSize, beside.endId, [...beside.endIds]]);
  const messages = [{ role: 'user', content: 'What is 2 + 2?' }] as const;
  expect(file.render(messages, true)).toBe(beside.render(messages, true));
});
