/** Qwen3 (Yang et al. 2025): a Llama that norms every head of queries and keys before it turns them. */
import { readConfig } from './config.ts';
import type { LanguageModel } from './model.ts';
import {
  attentionShapes,
  decoder,
  gatedMlp,
  mixHeads,
  mlpShapes,
  preNormBlock,
  project,
  QKV,
  readQwenWindows,
  readSizes,
  rmsNorm,
} from './parts.ts';
import { readRope } from './rope.ts';

/** head_dim where the config says nothing. */
const HEAD_DIM = 128;

export function qwen3(config: Readonly<Record<string, unknown>>, file: string): LanguageModel {
  const c = readConfig(config, file);
  const sizes = readSizes(c, HEAD_DIM);
  const { D, L, d } = sizes;
  const { turn, contextLength } = readRope(c, d, { longest: 32_768 });
  const bias = c.flag('attention_bias', false);
  const norm = { eps: c.positive('rms_norm_eps', 1e-6) };
  const windows = readQwenWindows(c, L);
  c.oneOf('hidden_act', ['silu'], 'silu');

  return decoder(c, {
    modelType: 'qwen3',
    sizes,
    contextLength,
    tied: false,
    norm,
    layer: {
      'input_layernorm.weight': [D],
      ...attentionShapes(sizes, { qkv: bias, o: bias }),
      'self_attn.q_norm.weight': [d],
      'self_attn.k_norm.weight': [d],
      'post_attention_layernorm.weight': [D],
      ...mlpShapes(sizes),
    },
    block: (b, w, x, context) => {
      const heads = { headDim: d, scale: 1 / Math.sqrt(d), window: windows[context.layer] };
      const attention = (normed: typeof x) => {
        const [q, k, v] = project(b, w, normed, ...QKV);
        const normedQ = rmsNorm(b, q!, w.of('self_attn.q_norm.weight'), norm);
        const normedK = rmsNorm(b, k!, w.of('self_attn.k_norm.weight'), norm);
        return mixHeads(b, w, [normedQ, normedK, v!], context, { turn, heads });
      };
      return preNormBlock(b, w, x, norm, attention, (normed) => gatedMlp(b, w, normed, 'silu'));
    },
  });
}
