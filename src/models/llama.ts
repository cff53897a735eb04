/**
 * Llama: RMSNorm, rotary positions, grouped-query attention, SwiGLU; tied or untied head.
 * Weight names are those of Hugging Face's LlamaForCausalLM.
 */
import type { GraphBuilder, Value } from '../graph/index.ts';
import { type ConfigReader, readConfig } from './config.ts';
import type { LanguageModel, Parameter } from './model.ts';

/** The model that a config.json of model_type "llama" describes. Throws a usage error that names unsupported fields. */
export function llama(config: Readonly<Record<string, unknown>>, file: string): LanguageModel {
  const c = readConfig(config, file);
  const D = c.size('hidden_size');
  const F = c.size('intermediate_size');
  const V = c.size('vocab_size');
  const L = c.size('num_hidden_layers');
  const H = c.size('num_attention_heads');
  const G = c.size('num_key_value_heads', H);
  if (config['head_dim'] == null && D % H !== 0) {
    c.reject('hidden_size', `${D} is not a multiple of num_attention_heads ${H}`);
  }
  const d = c.size('head_dim', D / H);
  if (H % G !== 0) c.reject('num_attention_heads', `${H} is not a multiple of num_key_value_heads ${G}`);
  if (d % 2 !== 0) c.reject('head_dim', `${d} is odd; rotary positions turn pairs`);
  const eps = c.positive('rms_norm_eps', 1e-6);
  const tied = c.flag('tie_word_embeddings', false);
  const frequencies = ropeFrequencies(c, d);
  c.only('hidden_act', 'silu');
  c.only('attention_bias', false);
  c.only('mlp_bias', false);
  c.only('attention_dropout', 0);
  c.only('pretraining_tp', 1);
  c.only('quantization_config', undefined);
  c.only('partial_rotary_factor', 1);
  c.finish();

  const names = {
    embedding: 'model.embed_tokens.weight',
    norm: 'model.norm.weight',
    head: 'lm_head.weight',
    layer: (i: number, part: string) => `model.layers.${i}.${part}.weight`,
  };
  const shapes = {
    input_layernorm: [D],
    'self_attn.q_proj': [H * d, D],
    'self_attn.k_proj': [G * d, D],
    'self_attn.v_proj': [G * d, D],
    'self_attn.o_proj': [D, H * d],
    post_attention_layernorm: [D],
    'mlp.gate_proj': [F, D],
    'mlp.up_proj': [F, D],
    'mlp.down_proj': [D, F],
  } as const;
  const parameter = (name: string, shape: readonly number[], aliases: string[] = []): Parameter => ({
    name,
    shape,
    aliases,
    initial: shape.length === 1 ? 'ones' : 'normal',
  });
  const parameters = [
    parameter(names.embedding, [V, D], tied ? [names.head] : []),
    ...Array.from({ length: L }, (_, i) =>
      Object.entries(shapes).map(([part, shape]) => parameter(names.layer(i, part), shape)),
    ).flat(),
    parameter(names.norm, [D]),
    ...(tied ? [] : [parameter(names.head, [V, D])]),
  ];

  const embedding = (b: GraphBuilder) => b.state(names.embedding, [V, D]);

  function block(
    b: GraphBuilder,
    i: number,
    x: Value,
    positions: Value,
    attend: (q: Value, k: Value, v: Value) => Value,
  ) {
    const w = (part: keyof typeof shapes) => b.state(names.layer(i, part), shapes[part]);

    const [normed] = b.rmsNorm(x, w('input_layernorm'), eps);
    const [q, k, v] = b.linear(normed, w('self_attn.q_proj'), w('self_attn.k_proj'), w('self_attn.v_proj'));
    const [turnedQ, turnedK] = b.rope([q!, k!], positions, { headDim: d, frequencies, inverse: false });
    const mixed = attend(turnedQ!, turnedK!, v!);
    const [attended] = b.linear(mixed, w('self_attn.o_proj'));
    const middle = b.add(x, attended!);

    const [normedMiddle] = b.rmsNorm(middle, w('post_attention_layernorm'), eps);
    const [gate, up] = b.linear(normedMiddle, w('mlp.gate_proj'), w('mlp.up_proj'));
    const [down] = b.linear(b.swiglu(gate!, up!), w('mlp.down_proj'));
    return b.add(middle, down!);
  }

  return {
    modelType: 'llama',
    vocabSize: V,
    hiddenSize: D,
    layers: L,
    headDim: d,
    keyValueHeads: G,
    contextLength: c.size('max_position_embeddings', 2048),
    initializerRange: c.positive('initializer_range', 0.02),
    attentionScale: 1 / Math.sqrt(d),
    parameters,
    head: (b) => (tied ? embedding(b) : b.state(names.head, [V, D])),
    hidden: (b, ids, positions, attend) => {
      let x = b.checkpoint(b.gatherRows(embedding(b), ids));
      for (let i = 0; i < L; i++) x = b.checkpoint(block(b, i, x, positions, (q, k, v) => attend(i, q, k, v)));
      const [normed] = b.rmsNorm(x, b.state(names.norm, [D]), eps);
      return normed;
    },
  };
}

/**
 * θ^(−2j/d) for j < d/2, from the old spelling (rope_theta, rope_scaling) or the new one (rope_parameters). Only the
 * default type: scaled positions are refused, never approximated.
 */
function ropeFrequencies(c: ConfigReader, headDim: number): number[] {
  const spelled = c.section('rope_parameters');
  const scaling = spelled ?? c.section('rope_scaling');
  if (scaling) {
    scaling.only('rope_type', 'default');
    scaling.only('type', 'default');
    scaling.only('partial_rotary_factor', 1);
  }
  const outer = c.positive('rope_theta', 10_000);
  const theta = spelled ? spelled.positive('rope_theta', outer) : outer;
  return Array.from({ length: headDim / 2 }, (_, j) => theta ** ((-2 * j) / headDim));
}
