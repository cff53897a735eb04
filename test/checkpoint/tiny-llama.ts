// A Llama, or another model, with random weights and a tokenizer, as a model directory. The Llama's rows are whole blocks of 32.

import { join } from 'node:path';
import { saveModelDirectory } from '../../src/checkpoint/index.ts';
import { parameterTensor } from '../../src/checkpoint/layout.ts';
import { modelFromConfig } from '../../src/models/index.ts';
import { normals } from '../../src/util/index.ts';
import { writeTinyTokenizer } from '../recipes/tiny-game.ts';

/** Writes a Llama below `folder`, and gives its directory. @param change of its config.json */
export function writeTinyLlama(folder: string, change: Readonly<Record<string, unknown>> = {}): Promise<string> {
  return writeTinyModel(folder, {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: 288,
    hidden_size: 64,
    intermediate_size: 96,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 128,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: false,
    ...change,
  });
}

/** The same of a model with this config.json; the vocabulary must hold 260 tokens. */
export async function writeTinyModel(folder: string, config: Readonly<Record<string, unknown>>): Promise<string> {
  const tokenizer = join(folder, 'tokenizer');
  const rows = Array.from({ length: 20 }, (_, i) => ({ question: `${i}+1`, answer: `it is ${i + 1}` }));
  await writeTinyTokenizer(tokenizer, rows);
  const model = join(folder, 'model');
  const tensors = modelFromConfig(config, 'config.json').parameters.map((parameter) => {
    const count = parameter.shape.reduce((n, dimension) => n * dimension, 1);
    const values = normals(count, 7, parameter.name);
    const data = parameter.initial === 'ones' ? values.map((x) => 1 + 0.1 * x) : values.map((x) => 0.3 * x);
    return parameterTensor(parameter, async () => data);
  });
  await saveModelDirectory(model, { sourceDir: tokenizer, config, tensors });
  return model;
}
