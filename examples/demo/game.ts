// The demo's game as data: a small Llama, its tokenizer, and rows that the project generates itself. Used by index.ts
// (one seed, under five minutes) and evidence.ts (five seeds, with controls).

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createModel, saveModel } from '../../src/checkpoint/index.ts';
import { onnxEngine } from '../../src/engine/index.ts';
import { trainBpe, writeTokenizer } from '../../src/tokens/index.ts';
import { makeSplits, type SplitSizes } from './tasks.ts';

/** About a million parameters. */
const shape = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_size: 192,
  intermediate_size: 576,
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

/** Writes rows, tokenizer and a random model below `directory`. */
export async function makeGame(directory: string, seed: number, sizes: SplitSizes): Promise<Game> {
  await mkdir(directory, { recursive: true });
  const splits = makeSplits({ seed, ...sizes });
  const file = async (name: string, rows: readonly { question: string; answer: string }[]) => {
    const path = join(directory, name);
    await writeFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    return path;
  };
  const train = await file('train.jsonl', [...splits.train, ...splits.dev]);
  const test = await file('test.jsonl', splits.test);

  const tokenizerDir = join(directory, 'tokenizer');
  const texts = splits.train.map(({ question, answer }) => `${question}\n${answer}`);
  const tokenizer = trainBpe(texts, { vocabSize: 512, special });
  await writeTokenizer(tokenizerDir, tokenizer, { chatTemplate, eos: '<|end|>', pad: '<|end|>' });
  const vocabulary = Object.keys(tokenizer.model.vocab).length;

  const engine = await onnxEngine({ threads: 2 });
  try {
    const config = { ...shape, vocab_size: Math.ceil((vocabulary + special.length) / 16) * 16 };
    const model = join(directory, 'random-model');
    await saveModel(engine, await createModel(engine, config, seed, tokenizerDir), model);
    return { model, train, test };
  } finally {
    await engine.dispose();
  }
}
