/**
 * Parts that the model files share. A page of a model reads its config and says with them which weights a layer has and what
 * it computes; names of weights are those of the files.
 */
import type { Activation, GraphBuilder, HeadAttributes, OpAttributes, Value } from '../graph/index.ts';
import type { ConfigReader } from './config.ts';
import type { Attend, LanguageModel, Parameter } from './model.ts';

export interface Sizes {
  /** Width of the residual stream. */
  readonly D: number;
  /** Width inside the MLP. */
  readonly F: number;
  /** Vocabulary. */
  readonly V: number;
  /** Layers. */
  readonly L: number;
  /** Query heads, key-value heads, and the width of each. */
  readonly H: number;
  readonly G: number;
  readonly d: number;
}

/** Far above every model that there is; what is made for each layer, or each column of a head, is bounded by these. */
export const MOST_LAYERS = 10_000;
const MOST_HEAD_COLUMNS = 65_536;

/** Fields that all models of this kind have. @param headDim where the config has no head_dim; else D/H */
export function readSizes(c: ConfigReader, headDim?: number): Sizes {
  const [D, F, V] = [c.size('hidden_size'), c.size('intermediate_size'), c.size('vocab_size')];
  const [L, H] = [c.size('num_hidden_layers', undefined, MOST_LAYERS), c.size('num_attention_heads')];
  const G = c.size('num_key_value_heads', H);
  if (H % G !== 0) c.reject('num_attention_heads', `${H} is not a multiple of num_key_value_heads ${G}`);
  const isDerived = headDim === undefined && c.given('head_dim') === undefined;
  if (isDerived && D % H !== 0) c.reject('hidden_size', `${D} is not a multiple of num_attention_heads ${H}`);
  // It would make log-probs random.
  c.only('attention_dropout', 0);
  readQuantization(c);
  return { D, F, V, L, H, G, d: c.size('head_dim', headDim ?? Math.floor(D / H), MOST_HEAD_COLUMNS) };
}

/** Gradients of quantised weights are not those of the model. */
export function readQuantization(c: ConfigReader): void {
  const quantization = c.given('quantization_config');
  if (quantization !== undefined) {
    const { quant_method: method } = quantization as { quant_method?: unknown };
    c.reject(
      'quantization_config',
      `the weights are quantised (${method ?? 'by a method without a name'}), which is not supported`,
    );
  }
}

/**
 * The window of each layer, undefined where it sees everything: as `layer_types` says, or else `slides`.
 * @param window sliding_window, undefined where there is none
 */
export function readWindows(
  c: ConfigReader,
  layers: number,
  window: number | undefined,
  slides: (layer: number) => boolean,
): readonly (number | undefined)[] {
  const types = c.given('layer_types');
  const known = ['full_attention', 'sliding_attention'];
  if (
    types !== undefined &&
    !(Array.isArray(types) && types.length === layers && types.every((t) => known.includes(t)))
  ) {
    c.reject('layer_types', `expected ${layers} of ${known.join(' and ')}, and there is ${JSON.stringify(types)}`);
  }
  return Array.from({ length: layers }, (_, layer) => {
    const isLocal = Array.isArray(types) ? types[layer] === 'sliding_attention' : slides(layer);
    if (isLocal && window === undefined) c.reject('sliding_window', `layer ${layer} has a window of no width`);
    return isLocal ? window : undefined;
  });
}

/** As Qwen2 and Qwen3 spell it: layers from `max_window_layers` on, where `use_sliding_window` is true. */
export function readQwenWindows(c: ConfigReader, layers: number): readonly (number | undefined)[] {
  const window = c.sizeOrNone('sliding_window', 4096);
  const first = c.given('max_window_layers') === 0 ? 0 : c.size('max_window_layers', 28);
  const isUsed = c.flag('use_sliding_window', false);
  return readWindows(
    c,
    layers,
    isUsed ? window : undefined,
    (layer) => isUsed && window !== undefined && layer >= first,
  );
}

/** Shapes of the weights of a layer, by the end of their names. */
export type Shapes = Readonly<Record<string, readonly number[]>>;

/** Shapes of a layer's projections for attention, each of which may have a bias. */
export function attentionShapes({ D, H, G, d }: Sizes, biases: { readonly qkv: boolean; readonly o: boolean }): Shapes {
  return {
    ...linearShapes('self_attn.q_proj', [H * d, D], biases.qkv),
    ...linearShapes('self_attn.k_proj', [G * d, D], biases.qkv),
    ...linearShapes('self_attn.v_proj', [G * d, D], biases.qkv),
    ...linearShapes('self_attn.o_proj', [D, H * d], biases.o),
  };
}

/** Shapes of a gated MLP. */
export function mlpShapes({ D, F }: Sizes, bias = false): Shapes {
  return {
    ...linearShapes('mlp.gate_proj', [F, D], bias),
    ...linearShapes('mlp.up_proj', [F, D], bias),
    ...linearShapes('mlp.down_proj', [D, F], bias),
  };
}

export function linearShapes(module: string, shape: readonly [number, number], bias = false): Shapes {
  return { [`${module}.weight`]: shape, ...(bias ? { [`${module}.bias`]: [shape[0]] } : {}) };
}

/** The weights of one layer, by the end of their names. */
export interface Weights {
  readonly of: (part: string) => Value;
  readonly has: (part: string) => boolean;
}

export const weightsOf = (b: GraphBuilder, prefix: string, shapes: Shapes): Weights => ({
  of: (part) => b.state(`${prefix}${part}`, shapes[part]!),
  has: (part) => Object.hasOwn(shapes, part),
});

/** x·Wᵀ, plus a bias where there is one, of each module. */
export function project(b: GraphBuilder, w: Weights, x: Value, ...modules: readonly string[]): Value[] {
  const products = b.linear(x, ...modules.map((module) => w.of(`${module}.weight`)));
  return modules.map((module, i) => {
    const bias = `${module}.bias`;
    return w.has(bias) ? b.add(products[i]!, w.of(bias)) : products[i]!;
  });
}

/** RMSNorm (Zhang & Sennrich 2019); with `plusOne` the factor is 1 + w. */
export interface RmsNorm {
  readonly eps: number;
  readonly plusOne?: boolean;
}

export function rmsNorm(b: GraphBuilder, x: Value, w: Value, { eps, plusOne = false }: RmsNorm): Value {
  return b.rmsNorm(x, plusOne ? b.affine(w, 1, 1) : w, eps)[0];
}

/** LayerNorm (Ba et al. 2016): (x − mean)/√(variance + eps)·w + bias, which is RMSNorm of x − mean. */
export function layerNorm(b: GraphBuilder, x: Value, w: Weights, name: string, eps: number): Value {
  const [rows, width] = x.shape as [string, number];
  const mean = b.affine(b.sumTo(x, [rows, 1]), 1 / width);
  return b.add(b.rmsNorm(b.sub(x, mean), w.of(`${name}.weight`), eps)[0], w.of(`${name}.bias`));
}

/** What a layer is told besides its input. */
export interface LayerContext {
  readonly layer: number;
  /** [T] */
  readonly positions: Value;
  readonly attend: (q: Value, k: Value, v: Value, heads: HeadAttributes) => Value;
}

/** Queries, keys and values, turned by their positions unless there is no turn, mixed, and projected back to [T,D]. */
export function mixHeads(
  b: GraphBuilder,
  w: Weights,
  [q, k, v]: readonly Value[],
  { positions, attend }: LayerContext,
  { turn, heads }: { readonly turn: OpAttributes['rope'] | undefined; readonly heads: HeadAttributes },
): Value {
  const [turnedQ, turnedK] = turn ? b.rope([q!, k!], positions, turn) : [q, k];
  return project(b, w, attend(turnedQ!, turnedK!, v!, heads), 'self_attn.o_proj')[0]!;
}

export const QKV = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'] as const;

/** down(f(gate(x))·up(x)) */
export function gatedMlp(b: GraphBuilder, w: Weights, x: Value, activation: Activation): Value {
  const [gate, up] = project(b, w, x, 'mlp.gate_proj', 'mlp.up_proj');
  return project(b, w, b.glu(activation, gate!, up), 'mlp.down_proj')[0]!;
}

/** h = x + attention(norm(x)), then h + mlp(norm(h)); the norms' names are Llama's. */
export function preNormBlock(
  b: GraphBuilder,
  w: Weights,
  x: Value,
  norm: RmsNorm,
  attention: (x: Value) => Value,
  mlp: (x: Value) => Value,
): Value {
  const middle = b.add(x, attention(rmsNorm(b, x, w.of('input_layernorm.weight'), norm)));
  return b.add(middle, mlp(rmsNorm(b, middle, w.of('post_attention_layernorm.weight'), norm)));
}

/** A model of embedding, layers, a norm and a head, under the names that all but GPT-2 use. */
interface Decoder {
  readonly modelType: string;
  readonly sizes: Sizes;
  readonly contextLength: number;
  /** tie_word_embeddings where the config is silent. */
  readonly tied: boolean;
  readonly norm: RmsNorm;
  readonly layer: Shapes;
  /** Factor on the embeddings, 1 when left out. */
  readonly embeddingScale?: number;
  readonly logitSoftcap?: number | undefined;
  readonly block: (b: GraphBuilder, w: Weights, x: Value, context: LayerContext) => Value;
}

/** The model of a page. Throws the usage error with everything that was wrong in its config. */
export function decoder(c: ConfigReader, page: Decoder): LanguageModel {
  const { modelType, contextLength, norm, layer: shapes, embeddingScale = 1, logitSoftcap, block } = page;
  const { D, V, L, G, d } = page.sizes;
  const tied = c.flag('tie_word_embeddings', page.tied);
  const initializerRange = c.positive('initializer_range', 0.02);
  c.finish();

  const names = { embedding: 'model.embed_tokens.weight', norm: 'model.norm.weight', head: 'lm_head.weight' };
  const prefix = (layer: number) => `model.layers.${layer}.`;
  const parameter = (name: string, shape: readonly number[], aliases: string[] = []): Parameter => ({
    name,
    shape,
    aliases,
    initial: shape.length > 1 ? 'normal' : name.endsWith('.bias') || norm.plusOne ? 'zeros' : 'ones',
  });
  const parameters = [
    parameter(names.embedding, [V, D], tied ? [names.head] : []),
    ...Array.from({ length: L }, (_, layer) =>
      Object.entries(shapes).map(([part, shape]) => parameter(`${prefix(layer)}${part}`, shape)),
    ).flat(),
    parameter(names.norm, [D]),
    ...(tied ? [] : [parameter(names.head, [V, D])]),
  ];
  const embedding = (b: GraphBuilder) => b.state(names.embedding, [V, D]);

  return {
    modelType,
    vocabSize: V,
    hiddenSize: D,
    layers: L,
    headDim: d,
    keyValueHeads: G,
    contextLength,
    initializerRange,
    logitSoftcap,
    parameters,
    head: (b) => (tied ? embedding(b) : b.state(names.head, [V, D])),
    hidden: (b, ids, positions, attend) => {
      const embedded = b.gatherRows(embedding(b), ids);
      let x = b.checkpoint(embeddingScale === 1 ? embedded : b.affine(embedded, embeddingScale));
      for (let layer = 0; layer < L; layer++) {
        const w = weightsOf(b, prefix(layer), shapes);
        x = b.checkpoint(block(b, w, x, { layer, positions, attend: attendIn(attend, layer) }));
      }
      return rmsNorm(b, x, b.state(names.norm, [D]), norm);
    },
  };
}

export const attendIn =
  (attend: Attend, layer: number): LayerContext['attend'] =>
  (q, k, v, heads) =>
    attend(layer, q, k, v, heads);
