/**
 * Llama (Touvron et al. 2023): RMSNorm, rotary positions, grouped-query attention, SwiGLU; tied or untied head; biases where
 * the config asks for them. Weight names are those of Hugging Face's LlamaForCausalLM, as in every page here of its own class.
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

export function llama(config: Readonly<Record<string, unknown>>, file: string): LanguageModel {
  const c = readConfig(config, file);
  const sizes = readSizes(c);
  const { D, d } = sizes;
  const { turn, contextLength } = readRope(c, d, { longest: 2048 });
  const bias = c.flag('attention_bias', false);
  const mlpBias = c.flag('mlp_bias', false);
  const norm = { eps: c.positive('rms_norm_eps', 1e-6) };
  const heads = { headDim: d, scale: 1 / Math.sqrt(d) };
  c.oneOf('hidden_act', ['silu'], 'silu');
  c.only('pretraining_tp', 1);

  return decoder(c, {
    modelType: 'llama',
    sizes,
    contextLength,
    tied: false,
    norm,
    layer: {
      'input_layernorm.weight': [D],
      ...attentionShapes(sizes, { qkv: bias, o: bias }),
      'post_attention_layernorm.weight': [D],
      ...mlpShapes(sizes, mlpBias),
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
