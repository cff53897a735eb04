// The shape that is measured: SmolLM2-135M with random weights, and pairs of GSM8K's mean lengths.

import { createModel, type LoadedModel } from '../src/checkpoint/index.ts';
import type { Engine } from '../src/engine/index.ts';
import type { LanguageModel } from '../src/models/index.ts';
import type { Group } from '../src/pairs/index.ts';
import { uniform } from '../src/util/index.ts';

export const config = {
  model_type: 'llama',
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  vocab_size: 49_152,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  rope_theta: 100_000,
  tie_word_embeddings: true,
};

export function randomModel(engine: Engine): Promise<LoadedModel> {
  return createModel(engine, config, 0, '.');
}

/** Means over GSM8K's first 32 rows through the chat template, and 128 new tokens. */
export const lengths = { prompt: 95, real: 135, generated: 127 };

/** Random ids with lengths spread by ±40 % around the means, so that padding would cost what it costs in practice. */
export function randomPairs(count: number): Group[] {
  const draw = (stream: number, row: number, at: number) => uniform(0, stream, 0, [row, 0], 0, at);
  const ids = (row: number, which: number, mean: number) => {
    const length = Math.round(mean * (0.6 + 0.8 * draw(3, row, which)));
    return Int32Array.from({ length }, (_, i) => Math.floor(draw(4 + which, row, i) * config.vocab_size));
  };
  return Array.from({ length: count }, (_, row) => {
    const responses = [lengths.real, lengths.generated].map((mean, i) => {
      const answer = ids(row, i + 1, mean);
      return { ids: answer, reference: new Float32Array(answer.length).fill(-10.8) };
    });
    return { promptIds: ids(row, 0, lengths.prompt), responses };
  });
}

/** Parameters in the body (all matrices and norms without the embedding) and in the head. */
export function parameterCounts(model: LanguageModel): { body: number; head: number } {
  const sizes = model.parameters.map(({ shape }) => shape.reduce((a, b) => a * b, 1));
  const head = model.vocabSize * model.hiddenSize;
  return { body: sizes.reduce((a, b) => a + b, 0) - head, head };
}

/**
 * Necessary FLOPs of forward and backward over packed pairs (performance.md): 6 per body parameter and token, 6 per
 * head parameter and response token, and attention's 12·L·H·d per visible (query, key) pair. A last response token is
 * predicted but not computed on.
 */
export function trainingFlops(model: LanguageModel, groups: readonly Group[]): number {
  const { body, head } = parameterCounts(model);
  const width = model.layers * config.num_attention_heads * model.headDim;
  let flops = 0;
  for (const { promptIds, responses } of groups) {
    const P = promptIds.length;
    let visible = (P * (P + 1)) / 2;
    let tokens = P;
    for (const { ids } of responses) {
      const n = ids.length - 1;
      tokens += n;
      visible += n * P + (n * (n + 1)) / 2;
      flops += 6 * head * ids.length;
    }
    flops += 6 * body * tokens + 12 * width * visible;
  }
  return flops;
}
