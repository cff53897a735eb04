/** A tiny Llama, two packed groups of prompt|real|generated, and a SPIN-like loss of them: the whole training graph. */
import type { GraphBuilder } from '../../src/graph/index.ts';
import { type LanguageModel, modelFromConfig } from '../../src/models/index.ts';
import { type Array64, array } from './array.ts';
import type { Differentiable } from './differentiate.ts';
import { randomArray, randomIds } from './random.ts';
import { packedSegments } from './segments.ts';

/** Two layers, six query heads on two key heads, head width 4. */
export function tinyLlama(tied: boolean): LanguageModel {
  const config = {
    model_type: 'llama',
    hidden_size: 12,
    intermediate_size: 10,
    vocab_size: 11,
    num_hidden_layers: 2,
    num_attention_heads: 6,
    num_key_value_heads: 2,
    head_dim: 4,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: tied,
  };
  return modelFromConfig(config, 'config.json');
}

/** Random weights under their names. */
export function tinyWeights(model: LanguageModel): Record<string, Array64> {
  return Object.fromEntries(
    model.parameters.map(({ name, shape, initial }) => [
      name,
      randomArray(name, shape, initial === 'ones' ? 0.7 : 0.4),
    ]),
  );
}

/** Inputs of two groups: prompt of 3 with responses of 2 and 4, prompt of 1 with responses of 1 and 2. */
export function pairInputs(model: LanguageModel): Record<string, Array64> {
  const { segments, positions, tokens } = packedSegments([
    [3, 2, 4],
    [1, 1, 2],
  ]);
  // The row before each response token: for the first of a generated response that is the end of the prompt.
  const rows = array([2, 3, 2, 5, 6, 7, 9, 9, 11]);
  return {
    ids: randomIds('ids', tokens, model.vocabSize),
    positions,
    segments,
    rows,
    signs: array([1, 1, -1, -1, -1, -1, 1, -1, -1]),
    targets: randomIds('targets', rows.data.length, model.vocabSize),
  };
}

/** softplus(−0.1·(Σ log p of real tokens − Σ log p of generated tokens)), by every parameter. */
export function pairLoss(b: GraphBuilder, model: LanguageModel): Differentiable {
  const segments = b.input('segments', ['segments', 6], 'i32');
  const hidden = model.hidden(
    b,
    b.input('ids', ['tokens'], 'i32'),
    b.input('positions', ['tokens'], 'i32'),
    (_, q, k, v, heads) => b.attention(q, k, v, segments, heads),
  );
  const scored = b.gatherRows(hidden, b.input('rows', ['rows'], 'i32'));
  const targets = b.input('targets', ['rows'], 'i32');
  const logProbs = b.tokenLogProbs(scored, model.head(b), targets, { softcap: model.logitSoftcap });
  const margin = b.sumTo(b.mul(logProbs, b.input('signs', ['rows'])), []);
  return {
    loss: b.softplus(b.affine(margin, -0.1)),
    wrt: Object.fromEntries(model.parameters.map(({ name, shape }) => [name, b.state(name, shape)])),
  };
}
