// Modelfiles as Ollama reads them: Go's own text/template writes the prompts that the Jinja templates write. Needs Go: SELFPLAY_GO, else
// `go`; without it they are skipped, loudly. The real model's template is that of SELFPLAY_DATA.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Message } from '../../src/data/index.ts';
import { loadTokenizer, modelfile, ollamaChat } from '../../src/tokens/index.ts';
import { SHAPES } from './ollama-templates.ts';
import { realData, tokenizerDirectory } from './support.ts';

const go = process.env['SELFPLAY_GO'] ?? 'go';
const hasGo = spawnSync(go, ['version']).status === 0;
if (!hasGo) console.warn('SKIPPED: no Go, whose templates Ollama uses; set SELFPLAY_GO');
const real = realData();
const script = fileURLToPath(new URL('../../scripts/ollama-template.go', import.meta.url));

const talk = (...contents: string[]): Message[] =>
  contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content }));
const TALKS = [
  talk('Hello?'),
  talk('What is 2 + 2?', 'It is 4.', 'And "3 + 3"?\nTwo lines.'),
  talk('a', 'b', 'c {{ .System }}', 'd', 'é 東京 😀'),
];
const told = (messages: Message[]): Message[] => [
  { role: 'system', content: 'You are "brief",\nand kind.' },
  ...messages,
];

/** What Ollama would send for these conversations, and what the model's own template writes. */
async function prompts(model: string, conversations: readonly Message[][]) {
  const input = JSON.stringify({ modelfile: modelfile('m.gguf', await ollamaChat(model)), conversations });
  const { stdout, stderr, status } = spawnSync(go, ['run', script], { input, encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  const { render } = await loadTokenizer(model);
  return { ollama: JSON.parse(stdout) as string[], own: conversations.map((messages) => render(messages, true)) };
}

describe.skipIf(!hasGo)('Go writes what the chat template writes', () => {
  it.each(SHAPES)('$name', async ({ template, system }) => {
    const model = await tokenizerDirectory({ template });
    const { ollama, own } = await prompts(model, system === null ? TALKS : [...TALKS, ...TALKS.map(told)]);
    expect(ollama).toEqual(own);
  });

  it.skipIf(!real)('SmolLM2, with its default system message', async () => {
    const { ollama, own } = await prompts(join(real!, 'smollm2-135m-instruct'), [...TALKS, ...TALKS.map(told)]);
    expect(ollama).toEqual(own);
    expect(ollama[0]).toContain('You are a helpful AI assistant named SmolLM');
    expect(ollama[3]).not.toContain('SmolLM');
  });

  it('characters that a Modelfile drops, or that end a text in it', async () => {
    const odd = '\u00a0\u0007\u2028"""{{ x }}\t';
    const template = `{% for m in messages %}{{ '${odd.replaceAll('\u0007', '\\x07')}' + m.role + ': ' + m.content + '\n' }}{% endfor %}`;
    const { ollama, own } = await prompts(await tokenizerDirectory({ template }), TALKS);
    expect(ollama).toEqual(own);
  });

  it('a model without a chat template', async () => {
    const files = { 'tokenizer_config.json': '{"eos_token": "<|im_end|>"}' };
    const { ollama, own } = await prompts(await tokenizerDirectory({ files }), [...TALKS, told(TALKS[1]!)]);
    expect(ollama).toEqual(own);
  });
});
