// Which prompts count as overlapping: runs of 13 words, short prompts as a whole, templates not at all.

import { describe, expect, it } from 'vitest';
import { type Example, type Message, promptOverlaps } from '../../src/data/index.ts';

const row = (prompt: string | Message[], line: number): Example => ({
  file: 'f',
  id: `row-${line}`,
  line,
  prompt: typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt,
  response: 'yes',
});
const rows = (...prompts: (string | Message[])[]) => prompts.map((prompt, i) => row(prompt, i + 1));
/** [line of train, line of held-out, words] of each overlap. */
const overlaps = (train: Example[], heldOut: Example[]) =>
  promptOverlaps(train, heldOut).map((found) => [found.train.line, found.heldOut.line, found.words]);
/** n different words. */
const words = (n: number, name = 'w') => Array.from({ length: n }, (_, i) => `${name}${i}`).join(' ');

describe('promptOverlaps', () => {
  it('finds 13 words in a row, wherever they stand, and not 12', () => {
    const held = rows(`${words(20, 'x')} ${words(13)} tail`);
    expect(overlaps(rows(`before ${words(13)} after`), held)).toEqual([[1, 1, words(13)]]);
    expect(overlaps(rows(`before ${words(12)} after`), held)).toEqual([]);
    const gap = words(13).replace('w6', 'other');
    expect(overlaps(rows(`before ${gap} after`), held)).toEqual([]);
  });

  it('looks for a held-out prompt of 8 to 12 words as a whole, at either end of the train prompt too', () => {
    for (const n of [8, 12]) {
      const held = rows(words(n));
      for (const prompt of [`a ${words(n)} b`, `${words(n)} b`, `a ${words(n)}`]) {
        expect(overlaps(rows(prompt), held), prompt).toEqual([[1, 1, words(n)]]);
      }
      expect(overlaps(rows(`a ${words(n - 1)} b`), held)).toEqual([]);
    }
  });

  it('takes a held-out prompt of fewer words only for the whole prompt', () => {
    const held = rows(words(7));
    expect(overlaps(rows(`a ${words(7)}`), held)).toEqual([]);
    expect(overlaps(rows('a', words(7)), held)).toEqual([[2, 1, words(7)]]);
  });

  it('does not mind case, spaces, quotes and sentence marks, but signs', () => {
    const held = rows('What is “12 + 30”?');
    expect(overlaps(rows('what  is\n12 + 30'), held)).toEqual([[1, 1, 'what is 12 + 30']]);
    expect(overlaps(rows('What is 12 - 30?'), held)).toEqual([]);
    expect(overlaps(rows('1+2', '-5', '?'), rows('1-2', '5', '!'))).toEqual([]);
    expect(overlaps(rows('?'), rows('?'))).toEqual([[1, 1, '?']]);
  });

  it('cuts languages without spaces into characters', () => {
    const sentence = '今天天气很好我们去公园散步';
    expect(sentence).toHaveLength(13);
    expect(overlaps(rows(`好的，${sentence}吧`), rows(`请问${sentence}吗？`))).toHaveLength(1);
  });

  it('leaves out the system message and compares all other turns', () => {
    const system: Message = { role: 'system', content: words(20, 's') };
    const turns = (...contents: string[]): Message[] =>
      contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content }));
    expect(overlaps(rows([system, ...turns('one')]), rows([system, ...turns('two')]))).toEqual([]);
    const chat = turns('hello', words(13), 'and');
    expect(overlaps(rows([system, ...chat]), rows(`so ${words(13)}`))).toEqual([[1, 1, words(13)]]);
  });

  it('takes a run in more than ten different train prompts for a template, a whole prompt never', () => {
    const template = words(13, 't');
    const asked = (n: number) => rows(...Array.from({ length: n }, (_, i) => `${template} case${i}`));
    const held = rows(`${template} other`);
    expect(overlaps(asked(10), held)).toHaveLength(10);
    expect(overlaps(asked(11), held)).toEqual([]);
    // The same prompt again is no further prompt.
    const again = rows(...asked(10).flatMap(({ prompt }) => [prompt, prompt]));
    expect(overlaps(again, held)).toHaveLength(20);
    // Beyond the template something else in common is still found, and so is a prompt that is the template's only words.
    const more = [...asked(11), row(`${template} ${words(13)}`, 12)];
    expect(overlaps(more, rows(`${template} and ${words(13)}`))).toEqual([[12, 1, words(13)]]);
    expect(overlaps(asked(11), rows(`${template} case3`))).toEqual([[4, 1, `${template} case3`]]);
  });

  it('names the first held-out row, and each train row once', () => {
    expect(overlaps(rows('b', 'a', 'b'), rows('c', 'b', 'b'))).toEqual([
      [1, 2, 'b'],
      [3, 2, 'b'],
    ]);
    expect(overlaps(rows('a'), [])).toEqual([]);
    expect(overlaps([], rows('a'))).toEqual([]);
  });
});
