/** Qwen2 and Qwen2.5 (Yang et al. 2024): a Llama with biases on queries, keys and values; upper layers may have a window. */
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
} from './parts.ts';
import { readRope } from './rope.ts';

export function qwen2(config: Readonly<Record<string, unknown>>, file: string): LanguageModel {
  const c = readConfig(config, file);
  const sizes = readSizes(c);
  const { D, L, d } = sizes;
  const { turn, contextLength } = readRope(c, d, { longest: 32_768 });
  const norm = { eps: c.positive('rms_norm_eps', 1e-6) };
  const windows = readQwenWindows(c, L);
  c.oneOf('hidden_act', ['silu'], 'silu');

  return decoder(c, {
    modelType: 'qwen2',
    sizes,
    contextLength,
    tied: false,
    norm,
    layer: {
      'input_layernorm.weight': [D],
      ...attentionShapes(sizes, { qkv: true, o: false }),
      'post_attention_layernorm.weight': [D],
      ...mlpShapes(sizes),
    },
    block: (b, w, x, context) => {
      const heads = { headDim: d, scale: 1 / Math.sqrt(d), window: windows[context.layer] };
      return preNormBlock(
        b,
        w,
        x,
        norm,
        (normed) => mixHeads(b, w, project(b, w, normed, ...QKV), context, { turn, heads }),
        (normed) => gatedMlp(b, w, normed, 'silu'),
      );
    },
  });
}
