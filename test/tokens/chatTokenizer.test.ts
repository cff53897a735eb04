// Prompt and response ids under several templates, and rows that must be refused.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Message } from '../../src/data/index.ts';
import { loadTokenizer } from '../../src/tokens/index.ts';
import { CHATML, tokenizerDirectory } from './support.ts';

const user = (content: string): Message[] => [{ role: 'user', content }];
const PAIR = { prompt: user('What is 2 plus 2?'), response: 'It is 4.' };
const LLAMA2 =
  "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]" +
  "{% elif message.role == 'assistant' %} {{ message.content | trim }}{{ eos_token }}{% else %}{{ raise_exception('no system message here') }}{% endif %}{% endfor %}";
const NO_END =
  '{% for message in messages %}### {{ message.role }}:\n{{ message.content }}\n\n{% endfor %}{% if add_generation_prompt %}### assistant:\n{% endif %}';

describe('encodePair', () => {
  it('splits at the answer and cuts right after the end of the turn', async () => {
    const tokenizer = await loadTokenizer(await tokenizerDirectory());
    const { promptIds, responseIds } = tokenizer.encodePair(PAIR);
    expect(tokenizer.endId).toBe(2);
    expect([...responseIds].slice(0, -1)).toEqual([...tokenizer.encode('It is 4.')]);
    expect(responseIds.at(-1)).toBe(2);
    expect([...promptIds]).toEqual([
      ...tokenizer.encode('<|im_start|>user\nWhat is 2 plus 2?<|im_end|>\n<|im_start|>assistant\n'),
    ]);
    expect([...tokenizer.encodePrompt(PAIR.prompt)]).toEqual([...promptIds]);
    const prompt = { text: '<|im_start|>user\nWhat is 2 plus 2?<|im_end|>\n<|im_start|>assistant\n', part: 'prompt' };
    expect(tokenizer.describeMask({ promptIds, responseIds })).toEqual([
      prompt,
      { text: 'It is 4.', part: 'response' },
      { text: '<|im_end|>', part: 'end' },
    ]);
    // An answer that was cut has no end token.
    expect(tokenizer.describeMask({ promptIds, responseIds: responseIds.slice(0, -1) })).toEqual([
      prompt,
      { text: 'It is 4.', part: 'response' },
    ]);
  });

  it('has exactly one end id, at the end, and the prompt ids of generation, for any text', async () => {
    const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 });
    for (const template of [CHATML, LLAMA2, NO_END]) {
      const tokenizer = await loadTokenizer(await tokenizerDirectory({ template }));
      fc.assert(
        fc.property(text, text, (prompt, answer) => {
          // Letters at both ends: leading spaces may merge with the template, which is refused (tested below).
          const example = { prompt: user(prompt), response: `A${answer}Z` };
          const { promptIds, responseIds } = tokenizer.encodePair(example);
          expect([...responseIds].filter((id) => tokenizer.endIds.has(id))).toEqual([tokenizer.endId]);
          expect(responseIds.at(-1)).toBe(tokenizer.endId);
          expect([...promptIds]).toEqual([...tokenizer.encodePrompt(example.prompt)]);
          expect(tokenizer.decode(responseIds).trim()).toBe(example.response);
        }),
        { numRuns: 100, seed: 5 },
      );
    }
  });

  it('adds one BOS when both template and post-processor write one', async () => {
    const dir = await tokenizerDirectory({
      template: LLAMA2,
      change: (json) => {
        json['post_processor'] = bosProcessor;
      },
    });
    const tokenizer = await loadTokenizer(dir);
    const { promptIds } = tokenizer.encodePair(PAIR);
    expect([...promptIds].filter((id) => id === 3)).toEqual([3]);
    expect(promptIds[0]).toBe(3);
  });

  it('appends the end id where the template writes none, in place of its tail', async () => {
    const tokenizer = await loadTokenizer(await tokenizerDirectory({ template: NO_END }));
    expect(tokenizer.describeMask(tokenizer.encodePair(PAIR)).slice(1)).toEqual([
      { text: 'It is 4.', part: 'response' },
      { text: '<|im_end|>', part: 'end' },
    ]);
  });

  it('uses the end of the turn that the template writes, not only the eos of the files', async () => {
    const template = CHATML.replaceAll('<|im_end|>', '<pad>');
    const tokenizer = await loadTokenizer(
      await tokenizerDirectory({ template, files: { 'generation_config.json': '{"eos_token_id":[2,3]}' } }),
    );
    expect(tokenizer.endId).toBe(0);
    expect([...tokenizer.endIds].sort()).toEqual([0, 2, 3]);
  });

  it('refuses a template whose prompt is not the beginning of prompt and answer', async () => {
    const template =
      '{% if add_generation_prompt %}think: {% endif %}{{ messages[0].content }}{{ messages[1].content if messages[1] }}<|im_end|>';
    const tokenizer = await loadTokenizer(await tokenizerDirectory({ template }));
    expect(() => tokenizer.encodePair(PAIR)).toThrowError(/not the beginning/);
  });

  it('passes on what a template refuses, and names its file', async () => {
    const tokenizer = await loadTokenizer(await tokenizerDirectory({ template: LLAMA2 }));
    const prompt: Message[] = [{ role: 'system', content: 'Be brief.' }, ...user('hi')];
    expect(() => tokenizer.encodePrompt(prompt)).toThrowError(/no system message here[\s\S]*chat_template/);
  });
});

const bosProcessor = {
  type: 'TemplateProcessing',
  single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
  special_tokens: { '<s>': { id: '<s>', ids: [3], tokens: ['<s>'] } },
};

describe('a model without a chat template', () => {
  it('puts the answer directly after the prompt, then the end id', async () => {
    const dir = await tokenizerDirectory({ change: (json) => void (json['post_processor'] = bosProcessor) });
    await writeFile(join(dir, 'tokenizer_config.json'), '{"eos_token":{"content":"<|im_end|>"}}');
    const tokenizer = await loadTokenizer(dir);
    const ids = tokenizer.encodePair({ prompt: user('2 + 2 ='), response: ' 4' });
    expect(tokenizer.describeMask(ids)).toEqual([
      { text: '<s>2 + 2 =', part: 'prompt' },
      { text: ' 4', part: 'response' },
      { text: '<|im_end|>', part: 'end' },
    ]);
    expect(tokenizer.render(user('2 + 2 ='), true)).toBe('2 + 2 =');
  });
});

describe('user text never becomes a control token', () => {
  it.each(['a <|im_end|> b', '<s>', 'x<|im_start|>'])('refuses %j in prompt or answer', async (text) => {
    const tokenizer = await loadTokenizer(await tokenizerDirectory());
    expect(() => tokenizer.encodePair({ ...PAIR, response: text })).toThrowError(/assistant text contains the control/);
    expect(() => tokenizer.encodePrompt(user(text))).toThrowError(/user text contains the control/);
  });

  it('refuses text that becomes one only together with the template', async () => {
    const template =
      "{% for m in messages %}{{ m.content }}{{ '|im_end|>' if m.role == 'assistant' else '\n' }}{% endfor %}";
    const tokenizer = await loadTokenizer(await tokenizerDirectory({ template }));
    expect(() => tokenizer.encodePair({ ...PAIR, response: 'x<' })).toThrowError(/together form a control token/);
  });

  it('accepts text that only looks similar', async () => {
    const tokenizer = await loadTokenizer(await tokenizerDirectory());
    for (const text of ['a < b', 'x |> f', '> quoted', '<', '<|im_', 'im_end|>', '<pa']) {
      expect(tokenizer.decode(tokenizer.encodePair({ ...PAIR, response: text }).responseIds)).toBe(text);
    }
  });

  it('holds for any text made of pieces of control tokens', async () => {
    const tokenizer = await loadTokenizer(await tokenizerDirectory());
    const controls = new Set([0, 1, 2, 3]);
    const text = fc
      .array(fc.constantFrom('<', '|', '>', 'im_end', 'im_start', '<|im_', 'end|>', 's', '<s', 'pad', 'x'), {
        minLength: 1,
      })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(text, (content) => {
        let ids: Int32Array;
        try {
          ids = tokenizer.encodePrompt(user(content));
        } catch (error) {
          expect(String(error)).toMatch(/control token/);
          return;
        }
        expect([...ids].filter((id) => controls.has(id))).toEqual([1, 2, 1]);
      }),
      { numRuns: 500, seed: 6 },
    );
  });
});

describe('awkward rows', () => {
  it('refuses a row of millions of characters instead of encoding for minutes', async () => {
    const tokenizer = await loadTokenizer(await tokenizerDirectory());
    expect(() => tokenizer.encodePrompt(user('a'.repeat(10_000_000)))).toThrowError(/10000000 characters/);
  });

  it('takes NUL and lone surrogates as ordinary text', async () => {
    const tokenizer = await loadTokenizer(await tokenizerDirectory());
    expect(tokenizer.decode(tokenizer.encode('a\u0000b'))).toBe('a\u0000b');
    expect(tokenizer.decode(tokenizer.encode('a\ud800b'))).toBe('a\ufffdb');
  });

  it('refuses an answer of which the template leaves nothing', async () => {
    const tokenizer = await loadTokenizer(
      await tokenizerDirectory({ template: CHATML.replace("message['content']", "message['content'] | trim") }),
    );
    expect(() => tokenizer.encodePair({ ...PAIR, response: '  ' })).toThrowError(/no tokens/);
  });
});

describe('hash', () => {
  it('changes with the template and with nothing else', async () => {
    const [one, same, other] = await Promise.all([
      loadTokenizer(await tokenizerDirectory()),
      loadTokenizer(await tokenizerDirectory()),
      loadTokenizer(await tokenizerDirectory({ template: `${CHATML} ` })),
    ]);
    expect(same.hash).toBe(one.hash);
    expect(other.hash).not.toBe(one.hash);
  });
});
