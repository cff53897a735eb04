// Streaming decoding: complete characters only, and the same text in the end.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Encoder } from '../../src/tokens/encoder.ts';
import { loadTokenizer } from '../../src/tokens/index.ts';
import { createStreamDecoder } from '../../src/tokens/streamDecoder.ts';
import { tokenizerDirectory } from './support.ts';

describe('streamDecoder', () => {
  it('joins to the text of all ids and never shows half a character', async () => {
    const tokenizer = await loadTokenizer(await tokenizerDirectory());
    const stream = tokenizer.streamDecoder();
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), (text) => {
        const pieces = [...tokenizer.encode(text)].map((id) => stream.push(id));
        expect(pieces.every((piece) => text.includes(piece))).toBe(true);
        expect(pieces.join('') + stream.end()).toBe(text);
      }),
      { seed: 8 },
    );
  });

  it('joins to the same text for ids in any order, control tokens left out', async () => {
    const tokenizer = await loadTokenizer(await tokenizerDirectory());
    const ids = fc.array(fc.integer({ min: 0, max: tokenizer.vocabSize + 5 }), { maxLength: 30 });
    fc.assert(
      fc.property(ids, (list) => {
        const stream = tokenizer.streamDecoder();
        expect(list.map((id) => stream.push(id)).join('') + stream.end()).toBe(tokenizer.decode(list));
      }),
      { seed: 9 },
    );
  });

  it('waits for the bytes of an emoji and marks an unfinished one', async () => {
    const tokenizer = await loadTokenizer(await tokenizerDirectory());
    const stream = tokenizer.streamDecoder();
    const ids = [...tokenizer.encode('😀')];
    expect(ids.map((id) => stream.push(id))).toEqual(['', '', '', '😀']);
    expect(ids.slice(0, 2).map((id) => stream.push(id))).toEqual(['', '']);
    expect(stream.end()).toBe('\ufffd');
    expect(stream.push(ids[0] as number) + stream.push(tokenizer.encode('x')[0] as number)).toBe('\ufffdx');
  });

  it('works where a space belongs to the word before it (no byte-level tokens)', () => {
    const words = ['\u2581Hello', '\u2581wor', 'ld', '<0xC3>', '<0xA9>'];
    const decode = (ids: ArrayLike<number>): string => {
      const bytes = Array.from(ids, (id) => Buffer.from(id === 3 ? [0xc3] : id === 4 ? [0xa9] : (words[id] as string)));
      return Buffer.concat(bytes).toString('utf8').replaceAll('\u2581', ' ').replace(/^ /, '');
    };
    const encoder: Encoder = { encode: () => [], decode, prefix: [] };
    const stream = createStreamDecoder(encoder, (id) => id === 9);
    expect([0, 1, 2, 9, 3, 4].map((id) => stream.push(id))).toEqual(['Hello', ' wor', 'ld', '', '', 'é']);
    expect(stream.push(3) + stream.end()).toBe('\ufffd');
  });
});
