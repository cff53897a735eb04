/**
 * Phi-3 and Phi-4 (Abdin et al. 2024): a Llama whose projections of queries, keys and values are one matrix, and those of gate
 * and up another. Only a part of each head may turn; longer contexts come from LongRoPE (rope.ts), also under its old names.
 */
import { readConfig } from './config.ts';
import type { LanguageModel } from './model.ts';
import { decoder, linearShapes, mixHeads, preNormBlock, project, readSizes } from './parts.ts';
import { readRope } from './rope.ts';

export function phi3(config: Readonly<Record<string, unknown>>, file: string): LanguageModel {
  const c = readConfig(config, file);
  const sizes = readSizes(c);
  const { D, F, H, G, d } = sizes;
  const { turn, contextLength } = readRope(c, d, {
    longest: 4096,
    original: 4096,
    partial: true,
    methods: { default: 'default', longrope: 'longrope', su: 'longrope', yarn: 'longrope' },
  });
  const norm = { eps: c.positive('rms_norm_eps', 1e-5) };
  const heads = { headDim: d, scale: 1 / Math.sqrt(d), window: c.sizeOrNone('sliding_window') };
  c.oneOf('hidden_act', ['silu'], 'silu');
  for (const key of ['resid_pdrop', 'embd_pdrop']) c.only(key, 0);
  for (const key of ['attention_bias', 'mlp_bias']) c.only(key, false);

  return decoder(c, {
    modelType: 'phi3',
    sizes,
    contextLength,
    tied: false,
    norm,
    layer: {
      'input_layernorm.weight': [D],
      ...linearShapes('self_attn.qkv_proj', [(H + 2 * G) * d, D]),
      ...linearShapes('self_attn.o_proj', [D, H * d]),
      'post_attention_layernorm.weight': [D],
      ...linearShapes('mlp.gate_up_proj', [2 * F, D]),
      ...linearShapes('mlp.down_proj', [D, F]),
    },
    block: (b, w, x, context) =>
      preNormBlock(
        b,
        w,
        x,
        norm,
        (normed) => {
          const [qkv] = project(b, w, normed, 'self_attn.qkv_proj');
          return mixHeads(b, w, b.split(qkv!, [H * d, G * d, G * d]), context, { turn, heads });
        },
        (normed) => {
          const [gate, up] = b.split(project(b, w, normed, 'mlp.gate_up_proj')[0]!, [F, F]);
          return project(b, w, b.glu('silu', gate!, up), 'mlp.down_proj')[0]!;
        },
      ),
  });
}
