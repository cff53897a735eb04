/**
 * GPT-2 (Radford et al. 2019): LayerNorm, learned positions, one matrix for queries, keys and values, biases everywhere, GELU
 * by tanh. Files hold the matrices of its layers the other way round (Conv1D), and older ones leave "transformer." out of the
 * names. The config's dropout is not applied: log-probs are compared, and must not be random.
 */
import type { GraphBuilder } from '../graph/index.ts';
import { readConfig } from './config.ts';
import type { LanguageModel, Parameter } from './model.ts';
import {
  attendIn,
  layerNorm,
  linearShapes,
  MOST_LAYERS,
  project,
  readQuantization,
  type Shapes,
  weightsOf,
} from './parts.ts';

export function gpt2(config: Readonly<Record<string, unknown>>, file: string): LanguageModel {
  const c = readConfig(config, file);
  const [D, V, L, H] = [
    c.size('n_embd', 768),
    c.size('vocab_size', 50_257),
    c.size('n_layer', 12, MOST_LAYERS),
    c.size('n_head', 12),
  ];
  const F = c.size('n_inner', 4 * D);
  const T = c.size('n_positions', 1024);
  if (D % H !== 0) c.reject('n_embd', `${D} is not a multiple of n_head ${H}`);
  const d = Math.floor(D / H);
  const eps = c.positive('layer_norm_epsilon', 1e-5);
  const initializerRange = c.positive('initializer_range', 0.02);
  const tied = c.flag('tie_word_embeddings', true);
  const isScaled = c.flag('scale_attn_weights', true);
  const isScaledByLayer = c.flag('scale_attn_by_inverse_layer_idx', false);
  c.oneOf('activation_function', ['gelu_new', 'gelu_pytorch_tanh'], 'gelu_new');
  c.only('add_cross_attention', false);
  readQuantization(c);
  c.finish();

  const PREFIX = 'transformer.';
  const shapes: Shapes = {
    'ln_1.weight': [D],
    'ln_1.bias': [D],
    ...linearShapes('attn.c_attn', [3 * D, D], true),
    ...linearShapes('attn.c_proj', [D, D], true),
    'ln_2.weight': [D],
    'ln_2.bias': [D],
    ...linearShapes('mlp.c_fc', [F, D], true),
    ...linearShapes('mlp.c_proj', [D, F], true),
  };
  const tables: Shapes = { 'wte.weight': [V, D], 'wpe.weight': [T, D] };
  const last: Shapes = { 'ln_f.weight': [D], 'ln_f.bias': [D] };
  const head = 'lm_head.weight';
  const parametersOf = (of: Shapes, prefix: string): Parameter[] =>
    Object.entries(of).map(([part, shape]) => ({
      name: `${PREFIX}${prefix}${part}`,
      shape,
      aliases: [`${prefix}${part}`, ...(tied && part === 'wte.weight' ? [head] : [])],
      initial: shape.length > 1 ? 'normal' : part.endsWith('.bias') ? 'zeros' : 'ones',
      ...(shape.length > 1 && of === shapes ? { transposed: true } : {}),
    }));
  const tablesOf = (b: GraphBuilder) => weightsOf(b, PREFIX, tables);
  const scaleIn = (layer: number) => (isScaled ? 1 / Math.sqrt(d) : 1) / (isScaledByLayer ? layer + 1 : 1);

  return {
    modelType: 'gpt2',
    vocabSize: V,
    hiddenSize: D,
    layers: L,
    headDim: d,
    keyValueHeads: H,
    contextLength: T,
    initializerRange,
    parameters: [
      ...parametersOf(tables, ''),
      ...Array.from({ length: L }, (_, layer) => parametersOf(shapes, `h.${layer}.`)).flat(),
      ...parametersOf(last, ''),
      ...(tied ? [] : [{ name: head, shape: [V, D], aliases: [], initial: 'normal' } as const]),
    ],
    head: (b) => (tied ? tablesOf(b).of('wte.weight') : b.state(head, [V, D])),
    hidden: (b, ids, positions, attend) => {
      const table = tablesOf(b);
      const embedded = b.gatherRows(table.of('wte.weight'), ids);
      let x = b.checkpoint(b.add(embedded, b.gatherRows(table.of('wpe.weight'), positions)));
      for (let layer = 0; layer < L; layer++) {
        const w = weightsOf(b, `${PREFIX}h.${layer}.`, shapes);
        const [qkv] = project(b, w, layerNorm(b, x, w, 'ln_1', eps), 'attn.c_attn');
        const [q, k, v] = b.split(qkv!, [D, D, D]);
        const mixed = attendIn(attend, layer)(q!, k!, v!, { headDim: d, scale: scaleIn(layer) });
        const middle = b.add(x, project(b, w, mixed, 'attn.c_proj')[0]!);
        const [wide] = project(b, w, layerNorm(b, middle, w, 'ln_2', eps), 'mlp.c_fc');
        x = b.checkpoint(b.add(middle, project(b, w, b.glu('gelu_tanh', wide!), 'mlp.c_proj')[0]!));
      }
      return layerNorm(b, x, weightsOf(b, PREFIX, last), 'ln_f', eps);
    },
  };
}
