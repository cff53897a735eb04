// The shape that is measured: SmolLM2-135M with random weights, and pairs of GSM8K's mean lengths.

import { createModel, type LoadedModel } from '../src/checkpoint/index.ts';
import type { Engine } from '../src/engine/index.ts';
import { type Dim, type Graph, isNode, type Value } from '../src/graph/index.ts';
import { type LanguageModel, type LoraConfig, trainable } from '../src/models/index.ts';
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

/** With `rank` above 0 under an adapter of that rank on all layers. */
export function randomModel(
  engine: Engine,
  { rank, dropout }: Adapter = { rank: 0, dropout: 0 },
): Promise<LoadedModel> {
  return createModel(engine, config, 0, '.', adapterOf({ rank, dropout }));
}

/** Undefined where the rank is 0. */
export function adapterOf({ rank, dropout }: Adapter): LoraConfig | undefined {
  const lora = { rank, alpha: rank, rankStabilized: false, dropout, targets: 'all-linear' } as const;
  return rank === 0 ? undefined : { ...lora, rankPattern: {}, alphaPattern: {} };
}

export interface Adapter {
  readonly rank: number;
  readonly dropout: number;
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

const sizeOf = (parameters: readonly { readonly shape: readonly number[] }[]) =>
  parameters.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0);

/**
 * Parameters in the body (all matrices and norms without the embedding), in the head, and in an adapter.
 * @returns of body and head those of the base alone
 */
export function parameterCounts(model: LanguageModel): { body: number; head: number; adapter: number } {
  const adapter = model.parameters.some(({ frozen }) => frozen) ? sizeOf(trainable(model)) : 0;
  const head = model.vocabSize * model.hiddenSize;
  return { body: sizeOf(model.parameters) - head - adapter, head, adapter };
}

/**
 * FLOPs of the products with weights in a training graph, as it is built: 2·M·N·K each. What recomputation costs is not
 * counted, nor attention.
 */
export function productFlops({ nodes }: Graph, tokens: number, rows: number): number {
  const size = (dim: Dim) => (dim === 'tokens' ? tokens : dim === 'rows' ? rows : Number(dim));
  const area = ({ shape }: Value) => size(shape[0]!) * size(shape[1]!);
  let flops = 0;
  for (const node of nodes) {
    const { inputs, values } = node;
    if (isNode(node, 'linear')) for (const w of inputs.slice(1)) flops += 2 * tokens * area(w);
    else if (isNode(node, 'linearGradInput')) {
      for (const w of inputs.slice(inputs.length / 2)) flops += 2 * tokens * area(w);
    } else if (isNode(node, 'matmul')) {
      const [a] = inputs as [Value];
      flops += 2 * area(values[0]!) * size(a.shape[node.attributes.transposeA ? 0 : 1]!);
    } else if (isNode(node, 'tokenLogProbs')) flops += 2 * rows * area(inputs[1]!);
    else if (isNode(node, 'tokenLogProbsGrad')) flops += 2 * rows * area(inputs[2]!) * values.length;
  }
  return flops;
}

/**
 * Necessary FLOPs of forward and backward over packed pairs (performance.md): 6 per body parameter and token, 6 per
 * head parameter and response token, and attention's 12·L·H·d per visible (query, key) pair. Under an adapter 4 in place
 * of 6, and 6 per parameter of the adapter and token. A last response token is predicted but not computed on.
 */
export function trainingFlops(model: LanguageModel, groups: readonly Group[]): number {
  const { body, head, adapter } = parameterCounts(model);
  const each = adapter > 0 ? 4 : 6;
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
      flops += each * head * ids.length;
    }
    flops += (each * body + 6 * adapter) * tokens + 12 * width * visible;
  }
  return flops;
}
