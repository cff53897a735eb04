/** SmolLM3 (Bakouch et al. 2025): a Llama in which some layers, by default every fourth, do not turn by positions (NoPE). */
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
  readWindows,
} from './parts.ts';
import { readRope } from './rope.ts';

/** rope_theta where the config says nothing. */
const THETA = 2_000_000;

export function smollm3(config: Readonly<Record<string, unknown>>, file: string): LanguageModel {
  const c = readConfig(config, file);
  const sizes = readSizes(c);
  const { D, L, d } = sizes;
  const { turn, contextLength } = readRope(c, d, { longest: 32_768, theta: THETA });
  const bias = c.flag('attention_bias', false);
  const mlpBias = c.flag('mlp_bias', false);
  const norm = { eps: c.positive('rms_norm_eps', 1e-6) };
  const interval = c.size('no_rope_layer_interval', 4);
  /** Per layer 1 where it turns, 0 where not. */
  const turns = c.given('no_rope_layers') ?? Array.from({ length: L }, (_, i) => ((i + 1) % interval === 0 ? 0 : 1));
  const isList = Array.isArray(turns) && turns.length === L && turns.every((x) => x === 0 || x === 1);
  if (!isList) c.reject('no_rope_layers', `expected ${L} times 0 or 1, and there is ${JSON.stringify(turns)}`);
  const turnsIn = (layer: number) => (turns as number[])[layer] === 1;
  const window = c.flag('use_sliding_window', false) ? c.sizeOrNone('sliding_window') : undefined;
  const windows = readWindows(c, L, window, (layer) => window !== undefined && !turnsIn(layer));
  c.oneOf('hidden_act', ['silu'], 'silu');

  return decoder(c, {
    modelType: 'smollm3',
    sizes,
    contextLength,
    tied: true,
    norm,
    layer: {
      'input_layernorm.weight': [D],
      ...attentionShapes(sizes, { qkv: bias, o: bias }),
      'post_attention_layernorm.weight': [D],
      ...mlpShapes(sizes, mlpBias),
    },
    block: (b, w, x, context) => {
      const { layer } = context;
      const how = {
        turn: turnsIn(layer) ? turn : undefined,
        heads: { headDim: d, scale: 1 / Math.sqrt(d), window: windows[layer] },
      };
      return preNormBlock(
        b,
        w,
        x,
        norm,
        (normed) => mixHeads(b, w, project(b, w, normed, ...QKV), context, how),
        (normed) => gatedMlp(b, w, normed, 'silu'),
      );
    },
  });
}
