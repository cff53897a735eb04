// SmolLM2's tokenizer on GSM8K against the native package and against Python transformers.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as NativeTokenizer } from 'tokenizers';
import { describe, expect, it } from 'vitest';
import { readExamples, take } from '../../src/data/index.ts';
import { loadTokenizer } from '../../src/tokens/index.ts';
import { AWKWARD_TEXTS, realData } from './support.ts';

const data = realData();

describe.skipIf(data === undefined)('the real tokenizer', () => {
  const model = join(data ?? '', 'smollm2-135m-instruct');

  it('encodes 500 questions and answers, and awkward texts, like the native package', async () => {
    const ours = await loadTokenizer(model);
    const native = NativeTokenizer.fromFile(join(model, 'tokenizer.json'));
    const { examples } = await readExamples(join(data as string, 'gsm8k', 'train.jsonl'));
    const rows = take(examples, { sample: 500, seed: 1 });
    const texts = [...rows.flatMap(({ prompt, response }) => [prompt[0]?.content ?? '', response]), ...AWKWARD_TEXTS];
    expect(texts).toHaveLength(1000 + AWKWARD_TEXTS.length);
    for (const text of texts) {
      const ids = (await native.encode(text, null, { addSpecialTokens: false })).getIds();
      expect([...ours.encode(text)]).toEqual(ids);
      expect(ours.decode(ids)).toBe(await native.decode(ids, true));
    }
  });

  it("gives the ids of transformers' apply_chat_template, the response cut after its end token", async () => {
    const tokenizer = await loadTokenizer(model);
    const { examples } = await readExamples(join(data as string, 'gsm8k', 'test.jsonl'));
    const path = join(import.meta.dirname, '../fixtures/tokens/chat-ids.json');
    const expected = JSON.parse(await readFile(path, 'utf8')) as { prompt: number[]; full: number[] }[];
    const newline = [...tokenizer.encode('\n')];
    expect(expected).toHaveLength(20);
    expected.forEach(({ prompt, full }, index) => {
      const { promptIds, responseIds } = tokenizer.encodePair(examples[index] as (typeof examples)[number]);
      expect([...promptIds]).toEqual(prompt);
      expect([...promptIds, ...responseIds, ...newline]).toEqual(full);
    });
  });
});
