// The trainer against the native one (fixture of scripts/fixtures/tokens.py, and the npm package on the spot).

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import {
  BPE,
  byteLevelPreTokenizer,
  digitsPreTokenizer,
  Tokenizer as NativeTokenizer,
  sequencePreTokenizer,
} from 'tokenizers';
import { describe, expect, it } from 'vitest';
import { loadTokenizer, trainBpe, writeTokenizer } from '../../src/tokens/index.ts';
import { AWKWARD_TEXTS, CHATML, SPECIAL, smallTokenizer, temporaryDirectory, tokenizerDirectory } from './support.ts';

async function nativeMerges(texts: readonly string[]): Promise<unknown> {
  const dir = await temporaryDirectory();
  await writeFile(join(dir, 'corpus.txt'), texts.join('\n'));
  const native = new NativeTokenizer(BPE.empty());
  native.setPreTokenizer(sequencePreTokenizer([digitsPreTokenizer(true), byteLevelPreTokenizer(false, true)]));
  native.train([join(dir, 'corpus.txt')]);
  native.save(join(dir, 'out.json'));
  return JSON.parse(await readFile(join(dir, 'out.json'), 'utf8')).model.merges;
}

describe('trainBpe', () => {
  it('gives the merges and ids of the Python trainer on a corpus with ties, repeats and other scripts', async () => {
    const path = join(import.meta.dirname, '../fixtures/tokens/bpe.json');
    const fixture = JSON.parse(await readFile(path, 'utf8'));
    const ours = trainBpe(fixture.corpus, { vocabSize: fixture.vocabSize, special: fixture.special });
    expect(ours.model.merges).toEqual(fixture.merges);
    expect(ours.model.vocab).toEqual(fixture.vocab);
  });

  it('gives the merges of the native package when trained until no pair is left', async () => {
    const texts = ['abcabc bcabca cabcab', 'aaaa aaaaaaa aaa', 'to be or not to be', 'abab ababab 77 177 baba'];
    // The native trainer reads lines with their line ends; ours gets the same pieces.
    const lines = texts.map((text, index) => (index < texts.length - 1 ? `${text}\n` : text));
    expect(trainBpe(lines, { vocabSize: 20_000, special: [] }).model.merges).toEqual(await nativeMerges(texts));
  });

  it('agrees with the native package on random small alphabets, where ties abound', async () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c', 'é'), minLength: 1, maxLength: 9 });
    await fc.assert(
      fc.asyncProperty(fc.array(word, { minLength: 1, maxLength: 12 }), async (words) => {
        const text = words.join(' ');
        expect(trainBpe([text], { vocabSize: 20_000, special: [] }).model.merges).toEqual(await nativeMerges([text]));
      }),
      { numRuns: 40, seed: 7 },
    );
  });

  it('stops at the vocabulary size, special tokens first, and stops early when nothing is left to merge', () => {
    const small = smallTokenizer();
    expect(Object.keys(small.model.vocab)).toHaveLength(300);
    expect(SPECIAL.map((token) => small.model.vocab[token])).toEqual([0, 1, 2, 3]);
    expect(trainBpe(['ab'], { vocabSize: 1000, special: [] }).model.merges).toEqual([['a', 'b']]);
  });

  it('keeps tokens whose names are those of object members', () => {
    const text = 'constructor constructor __proto__ __proto__ ';
    const { vocab } = trainBpe([text, text], { vocabSize: 400, special: ['__proto__'] }).model;
    expect(Object.hasOwn(vocab, 'constructor')).toBe(true);
    expect(Object.getOwnPropertyDescriptor(vocab, '__proto__')?.value).toBe(0);
  });

  it.each([
    [200, []],
    [258, ['a', 'b', 'c']],
    [300.5, []],
    [400, ['x', 'x']],
    [400, ['']],
  ])('refuses a vocabulary of %s with special tokens %j', (vocabSize, special) => {
    expect(() => trainBpe(['text'], { vocabSize, special })).toThrowError(/vocabulary of|special token/);
  });
});

describe('a written tokenizer', () => {
  it('encodes and decodes like the native package', async () => {
    const dir = await tokenizerDirectory();
    const ours = await loadTokenizer(dir);
    const native = NativeTokenizer.fromFile(join(dir, 'tokenizer.json'));
    const check = async (text: string): Promise<void> => {
      const ids = (await native.encode(text, null, { addSpecialTokens: false })).getIds();
      expect([...ours.encode(text)]).toEqual(ids);
      expect(ours.decode(ids)).toBe(await native.decode(ids, true));
    };
    for (const text of AWKWARD_TEXTS) await check(text);
    await fc.assert(fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 60 }), check), { numRuns: 300, seed: 1 });
    await fc.assert(fc.asyncProperty(fc.string({ unit: 'grapheme', maxLength: 40 }), check), { numRuns: 300, seed: 2 });
  });

  it('takes every number character as a digit, where a merge would tell the difference', async () => {
    // " £" is a common word here, so a space and the first byte of £ are one token; ½ begins with the same byte.
    const dir = await temporaryDirectory();
    const json = trainBpe([' £ £ £ ¥ ¥ §'], { vocabSize: 260, special: ['<e>'] });
    await writeTokenizer(dir, json, { chatTemplate: CHATML, eos: '<e>', pad: '<e>' });
    const ours = await loadTokenizer(dir);
    const native = NativeTokenizer.fromFile(join(dir, 'tokenizer.json'));
    expect(json.model.merges[0]).toEqual(['Ġ', 'Â']);
    for (const text of [' ½', ' £', 'a ½ £', ' ٣']) {
      expect([...ours.encode(text)]).toEqual((await native.encode(text, null, { addSpecialTokens: false })).getIds());
    }
  });

  it('gives back every text without control tokens', async () => {
    const tokenizer = await loadTokenizer(await tokenizerDirectory());
    const text = fc.string({ unit: 'grapheme', maxLength: 60 });
    fc.assert(
      fc.property(text, (one) => {
        expect(tokenizer.decode(tokenizer.encode(one))).toBe(one);
      }),
      { seed: 3 },
    );
  });

  it('decodes broken byte sequences like the native package, and leaves out ids without a token', async () => {
    const dir = await tokenizerDirectory();
    const ours = await loadTokenizer(dir);
    const native = NativeTokenizer.fromFile(join(dir, 'tokenizer.json'));
    const ids = fc.array(fc.integer({ min: 0, max: ours.vocabSize - 1 }), { minLength: 1, maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(ids, async (list) => {
        expect(ours.decode(list)).toBe(await native.decode(list, true));
      }),
      { numRuns: 300, seed: 4 },
    );
    expect(ours.decode([100_000, ...ours.encode('is'), 5_000_000])).toBe('is');
    expect(ours.decode([])).toBe('');
  });
});
