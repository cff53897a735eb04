/**
 * Gemma (Mesnard et al. 2024): GeGLU, norms that count 1 + w, embeddings times √D, heads of a width of their own. The
 * activation is GELU by tanh under all names that the config has for it: "gelu" was written there by mistake.
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

/** head_dim where the config says nothing. */
const HEAD_DIM = 256;

export function gemma(config: Readonly<Record<string, unknown>>, file: string): LanguageModel {
  const c = readConfig(config, file);
  const sizes = readSizes(c, HEAD_DIM);
  const { D, d } = sizes;
  const { turn, contextLength } = readRope(c, d, { longest: 8192 });
  const bias = c.flag('attention_bias', false);
  const norm = { eps: c.positive('rms_norm_eps', 1e-6), plusOne: true };
  const heads = { headDim: d, scale: 1 / Math.sqrt(d) };
  c.oneOf('hidden_act', ['gelu_pytorch_tanh', 'gelu'], 'gelu_pytorch_tanh');
  c.oneOf('hidden_activation', ['gelu_pytorch_tanh', 'gelu'], 'gelu_pytorch_tanh');
  c.only('use_bidirectional_attention', false);

  return decoder(c, {
    modelType: 'gemma',
    sizes,
    contextLength,
    tied: true,
    norm,
    embeddingScale: Math.sqrt(D),
    layer: {
      'input_layernorm.weight': [D],
      ...attentionShapes(sizes, { qkv: bias, o: bias }),
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
        (normed) => gatedMlp(b, w, normed, 'gelu_tanh'),
      ),
  });
}
