// A small trained tokenizer in a temporary directory, and the place of the real data.

import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { onTestFinished } from 'vitest';
import { type BpeTokenizerJson, trainBpe, writeTokenizer } from '../../src/tokens/index.ts';

export const CHATML =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
export const SPECIAL = ['<pad>', '<|im_start|>', '<|im_end|>', '<s>'];

/** The folder with real inputs, or undefined with a loud warning. */
export function realData(): string | undefined {
  const folder = process.env['SELFPLAY_DATA'] ?? resolve(import.meta.dirname, '../../../shared/data');
  if (existsSync(join(folder, 'smollm2-135m-instruct', 'tokenizer.json'))) return folder;
  console.warn(`SKIPPED: no real data at ${folder}; set SELFPLAY_DATA to run these tests`);
  return undefined;
}

/** A directory that is removed after the test. */
export async function temporaryDirectory(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'selfplay-test-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** A tokenizer trained on a few sentences. */
export function smallTokenizer(): BpeTokenizerJson {
  const texts = Array.from(
    { length: 60 },
    (_, i) => `What is ${i} plus ${i * 3}? It is ${i * 4}, the sum of the two numbers; never less than any part of it.`,
  );
  return trainBpe(texts, { vocabSize: 300, special: SPECIAL });
}

export interface DirectoryParts {
  /** Changes tokenizer.json before it is written. */
  change?: (json: Record<string, unknown>) => void;
  template?: string;
  /** Further or replaced files: name -> content. */
  files?: Record<string, string | Uint8Array>;
}

/** A model directory with the small tokenizer. */
export async function tokenizerDirectory({
  change,
  template = CHATML,
  files = {},
}: DirectoryParts = {}): Promise<string> {
  const dir = await temporaryDirectory();
  const json = structuredClone(smallTokenizer());
  await writeTokenizer(dir, json, { chatTemplate: template, bos: '<s>', eos: '<|im_end|>', pad: '<pad>' });
  if (change !== undefined) {
    const changed = json as unknown as Record<string, unknown>;
    change(changed);
    await writeFile(join(dir, 'tokenizer.json'), JSON.stringify(changed));
  }
  for (const [name, content] of Object.entries(files)) await writeFile(join(dir, name), content);
  return dir;
}

/** Texts on which tokenizers tend to differ. */
export const AWKWARD_TEXTS = [
  '',
  ' ',
  '   ',
  '\n\n \t\r\n x',
  "don't can't WE'LL they've I'm you'd it's",
  'x\u0085y \u0085 \ufeffz \u00a0a \u2003b \u3000c \u200bd',
  '½ ² ٣٤ १२३ Ⅻ 一二三 0123456789',
  'naïve café Zürich \u0065\u0301 東京 привет שלום',
  '😀😀 👩‍👩‍👧 🇫🇷 \u{1f468}\u{1f3fd}',
  'a\u0000b \u0001\u001f\u007f',
  'a'.repeat(300),
  '<|im_start|>user\nhello<|im_end|><|im_en d|><pad>',
  '  leading and trailing  ',
  'constructor __proto__ toString hasOwnProperty',
  'if (x == 1) { return [y]; } // 100% #hash @at $5.00',
];
