// The vocabularies that npm ci does not bring, against the same fixture (SELFPLAY_TOKENIZERS, see scripts/fetch-for-tests.mjs), and all of
// them on random texts, ids and back, against the native package.

import { Tokenizer as NativeTokenizer } from 'tokenizers';
import { describe, expect, it } from 'vitest';
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
