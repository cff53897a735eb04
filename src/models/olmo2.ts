/**
 * OLMo 2 (Groeneveld et al. 2024): a Llama with norms after attention and MLP in place of before them, and on all heads of
 * queries and keys together.
 */
import { readConfig } from './config.ts';
import type { LanguageModel } from './model.ts';
import { attentionShapes, decoder, gatedMlp, mixHeads, mlpShapes, project, QKV, readSizes, rmsNorm } from './parts.ts';
import { readRope } from './rope.ts';

export function olmo2(config: Readonly<Record<string, unknown>>, file: string): LanguageModel {
  const c = readConfig(config, file);
  const sizes = readSizes(c);
  const { D, H, G, d } = sizes;
  const { turn, contextLength } = readRope(c, d, { longest: 2048 });
  const bias = c.flag('attention_bias', false);
  const norm = { eps: c.positive('rms_norm_eps', 1e-5) };
  const heads = { headDim: d, scale: 1 / Math.sqrt(d) };
  c.oneOf('hidden_act', ['silu'], 'silu');
  c.only('clip_qkv', undefined);

  return decoder(c, {
    modelType: 'olmo2',
    sizes,
    contextLength,
    tied: false,
    norm,
    layer: {
      ...attentionShapes(sizes, { qkv: bias, o: bias }),
      'self_attn.q_norm.weight': [H * d],
      'self_attn.k_norm.weight': [G * d],
      'post_attention_layernorm.weight': [D],
      ...mlpShapes(sizes),
      'post_feedforward_layernorm.weight': [D],
    },
    block: (b, w, x, context) => {
      const normed = (value: typeof x, name: string) => rmsNorm(b, value, w.of(`${name}.weight`), norm);
      const [q, k, v] = project(b, w, x, ...QKV);
      const qkv = [normed(q!, 'self_attn.q_norm'), normed(k!, 'self_attn.k_norm'), v!];
      const mixed = mixHeads(b, w, qkv, context, { turn, heads });
      const middle = b.add(x, normed(mixed, 'post_attention_layernorm'));
      return b.add(middle, normed(gatedMlp(b, w, middle, 'silu'), 'post_feedforward_layernorm'));
    },
  });
}
