// The demo's game as data: a small Llama, its tokenizer, and rows that the project generates itself. Used by index.ts
// (one seed, minutes) and by examples/evidence (several seeds, with controls).

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createModel, saveModel } from '../../src/checkpoint/index.ts';
import { onnxEngine } from '../../src/engine/index.ts';
import { trainBpe, writeTokenizer } from '../../src/tokens/index.ts';
import { makeSplits, type SplitSizes } from './tasks.ts';

/** About a million parameters at the demo's width. */
const WIDTH = 192;
const shape = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
  tie_word_embeddings: true,
  hidden_act: 'silu',
  initializer_range: 0.04,
};

const chatTemplate =
  "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
const special = ['<|user|>', '<|assistant|>', '<|end|>'];

export interface Game {
  /** Model directory with random weights. */
  readonly model: string;
  readonly train: string;
  readonly test: string;
}

/** Where `makeGame` puts things. */
export function gameFiles(directory: string): Game {
  const [model, train, test] = ['random-model', 'train.jsonl', 'test.jsonl'].map((name) => join(directory, name));
  return { model: model!, train: train!, test: test! };
}

/** Writes rows, tokenizer and a random model of some width below `directory`. */
export async function makeGame(directory: string, seed: number, sizes: SplitSizes, width = WIDTH): Promise<Game> {
  await mkdir(directory, { recursive: true });
  const splits = makeSplits({ seed, ...sizes });
  const files = gameFiles(directory);
  const lines = (rows: readonly { question: string; answer: string }[]) =>
    rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  await writeFile(files.train, lines([...splits.train, ...splits.dev]));
  await writeFile(files.test, lines(splits.test));

  const tokenizerDir = join(directory, 'tokenizer');
  const texts = splits.train.map(({ question, answer }) => `${question}\n${answer}`);
  const tokenizer = trainBpe(texts, { vocabSize: 512, special });
  await writeTokenizer(tokenizerDir, tokenizer, { chatTemplate, eos: '<|end|>', pad: '<|end|>' });
  const vocabulary = Object.keys(tokenizer.model.vocab).length;

  const engine = await onnxEngine({ threads: 2 });
  try {
    const vocab_size = Math.ceil((vocabulary + special.length) / 16) * 16;
    const config = { ...shape, hidden_size: width, intermediate_size: 3 * width, vocab_size };
    await saveModel(engine, await createModel(engine, config, seed, tokenizerDir), files.model);
    return files;
  } finally {
    await engine.dispose();
  }
}
