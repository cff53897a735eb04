/**
 * Gemma 2 (Rivière et al. 2024): a Gemma with a norm before and after attention and MLP, caps on the scores of attention and on
 * the logits, every second layer with a window, and a scale of q·k of its own.
 */
import type { Value } from '../graph/index.ts';
import { readConfig } from './config.ts';
import type { LanguageModel } from './model.ts';
import {
  attentionShapes,
  decoder,
  gatedMlp,
  mixHeads,
  mlpShapes,
  project,
  QKV,
  readSizes,
  readWindows,
  rmsNorm,
} from './parts.ts';
import { readRope } from './rope.ts';

/** Where the config says nothing; null says of window and caps that there are none. */
const USUAL = { headDim: 256, queryScalar: 256, window: 4096, scoreCap: 50, logitCap: 30 };

export function gemma2(config: Readonly<Record<string, unknown>>, file: string): LanguageModel {
  const c = readConfig(config, file);
  const sizes = readSizes(c, USUAL.headDim);
  const { D, L, d } = sizes;
  const { turn, contextLength } = readRope(c, d, { longest: 8192 });
  const bias = c.flag('attention_bias', false);
  const norm = { eps: c.positive('rms_norm_eps', 1e-6), plusOne: true };
  const scale = 1 / Math.sqrt(c.positive('query_pre_attn_scalar', USUAL.queryScalar));
  const softcap = c.positiveOrNone('attn_logit_softcapping', USUAL.scoreCap);
  const windows = readWindows(c, L, c.sizeOrNone('sliding_window', USUAL.window), (layer) => layer % 2 === 0);
  c.oneOf('hidden_activation', ['gelu_pytorch_tanh'], 'gelu_pytorch_tanh');
  c.only('use_bidirectional_attention', false);

  return decoder(c, {
    modelType: 'gemma2',
    sizes,
    contextLength,
    tied: true,
    norm,
    embeddingScale: Math.sqrt(D),
    logitSoftcap: c.positiveOrNone('final_logit_softcapping', USUAL.logitCap),
    layer: {
      'input_layernorm.weight': [D],
      ...attentionShapes(sizes, { qkv: bias, o: bias }),
      'post_attention_layernorm.weight': [D],
      'pre_feedforward_layernorm.weight': [D],
      ...mlpShapes(sizes),
      'post_feedforward_layernorm.weight': [D],
    },
    block: (b, w, x, context) => {
      const normed = (value: Value, name: string) => rmsNorm(b, value, w.of(`${name}.weight`), norm);
      const heads = { headDim: d, scale, window: windows[context.layer], softcap };
      const qkv = project(b, w, normed(x, 'input_layernorm'), ...QKV);
      const mixed = mixHeads(b, w, qkv, context, { turn, heads });
      const middle = b.add(x, normed(mixed, 'post_attention_layernorm'));
      const thought = gatedMlp(b, w, normed(middle, 'pre_feedforward_layernorm'), 'gelu_tanh');
      return b.add(middle, normed(thought, 'post_feedforward_layernorm'));
    },
  });
}
