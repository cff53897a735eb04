/**
 * Mistral (Jiang et al. 2023): a Llama in which every token sees only the last `sliding_window` tokens, where the config has
 * a window.
 */
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
  readSizes,
} from './parts.ts';
import { readRope } from './rope.ts';

/** Where the config says nothing; null says that there is none. */
const WINDOW = 4096;

export function mistral(config: Readonly<Record<string, unknown>>, file: string): LanguageModel {
  const c = readConfig(config, file);
  const sizes = readSizes(c);
  const { D, d } = sizes;
  const { turn, contextLength } = readRope(c, d, { longest: 131_072 });
  const norm = { eps: c.positive('rms_norm_eps', 1e-6) };
  const heads = { headDim: d, scale: 1 / Math.sqrt(d), window: c.sizeOrNone('sliding_window', WINDOW) };
  c.oneOf('hidden_act', ['silu'], 'silu');
  c.only('layer_types', undefined);

  return decoder(c, {
    modelType: 'mistral',
    sizes,
    contextLength,
    tied: false,
    norm,
    layer: {
      'input_layernorm.weight': [D],
      ...attentionShapes(sizes, { qkv: false, o: false }),
      'post_attention_layernorm.weight': [D],
      ...mlpShapes(sizes),
    },
    block: (b, w, x, context) =>
      preNormBlock(
        b,
        w,
        x,
        norm,
        (normed) => mixHeads(b, w, project(b, w, normed, ...QKV), context, { turn, heads }),
        (normed) => gatedMlp(b, w, normed, 'silu'),
      ),
  });
}
