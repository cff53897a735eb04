// Chat templates of real models against Python transformers' apply_chat_template: with and without system message, one and more turns,
// with and without generation prompt, and what a template refuses (scripts/fixtures/templates.py).

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Message } from '../../src/data/index.ts';
import { compileTemplate } from '../../src/tokens/template.ts';
import { sha256Hex } from '../../src/util/index.ts';
import { realTemplates } from './realTemplates.ts';

type Rendered = string | { refused: string } | { error: string };
const { time, named, conversations, rendered, constructs } = JSON.parse(
  await readFile(join(import.meta.dirname, '../fixtures/tokens/templates.json'), 'utf8'),
) as {
  time: string;
  named: Record<string, string>;
  conversations: Record<string, Message[]>;
  rendered: Record<string, [without: Rendered, generation: Rendered][]>;
  constructs: [source: string, text: string][];
};
const templates = await realTemplates();

/** What the library has no word for, and says so: Python takes a text for a list of characters. */
const REFUSED: Readonly<Record<string, string>> = {
  'llama-guard3:1b': 'Unknown StringValue filter: selectattr',
  'llama3.2-vision:90b': 'Expected iterable or object type in for loop: got StringValue',
  'llama3.2-vision:latest': 'Expected iterable or object type in for loop: got StringValue',
};

it('every template is in the fixture', () => {
  expect(Object.keys(templates)).toEqual(Object.keys(rendered));
  expect(Object.keys(templates).length).toBeGreaterThan(90);
});

describe.each(Object.keys(templates))('%s', (name) => {
  const render = compileTemplate(templates[name]!, `${name}.jinja`, time);
  const outcome = (messages: readonly Message[], add_generation_prompt: boolean): Rendered => {
    try {
      const text = render({ ...named, messages, add_generation_prompt, tools: null, documents: null });
      return sha256Hex(text).slice(0, 8);
    } catch (error) {
      const [what] = (error as Error).message.split('\n');
      const refused = /^chat template: refuses this conversation: (.*)$/s.exec(what!)?.[1];
      return refused === undefined ? { error: what! } : { refused };
    }
  };

  it('renders as transformers does', () => {
    Object.entries(conversations).forEach(([title, messages], i) => {
      rendered[name]![i]!.forEach((expected, generation) => {
        const found = outcome(messages, generation === 1);
        const known = REFUSED[name];
        if (known !== undefined && typeof found === 'object' && 'error' in found) {
          expect(found.error).toContain(known);
        } else if (typeof expected === 'object' && 'error' in expected) {
          expect([title, found]).toEqual([title, { error: expect.any(String) }]);
        } else {
          expect([title, generation, found]).toEqual([title, generation, expected]);
        }
      });
    });
  });
});

it.each(constructs)('%s', (source, text) => {
  const render = compileTemplate(source, 'construct.jinja');
  expect(render({ messages: conversations['turns'], add_generation_prompt: false })).toBe(text);
});

it('a template that refuses a system message names itself and the reason', () => {
  const render = compileTemplate(templates['gemma2:2b']!, 'gemma2.jinja');
  const messages = conversations['system'];
  expect(() => render({ ...named, messages, add_generation_prompt: true })).toThrow(
    /System role not supported[\s\S]*gemma2\.jinja/,
  );
});
