// What config.json decides: windows, scales and positions by layer, contexts, and what is refused. Numbers are worked out by hand.
import { describe, expect, it } from 'vitest';
import { graphBuilder, type HeadAttributes, isNode } from '../../src/graph/index.ts';
import { modelFromConfig } from '../../src/models/index.ts';

const sizes = {
  hidden_size: 16,
  intermediate_size: 24,
  vocab_size: 20,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
};
const modelOf = (model_type: string, changes: Record<string, unknown> = {}) =>
  modelFromConfig({ model_type, ...sizes, ...changes }, 'config.json');

/** Attributes of attention by layer, and those of all rotations. */
function look(model_type: string, changes: Record<string, unknown> = {}) {
  const b = graphBuilder();
  const heads: HeadAttributes[] = [];
  const model = modelOf(model_type, changes);
  model.hidden(b, b.input('ids', ['t'], 'i32'), b.input('positions', ['t'], 'i32'), (layer, q, _, __, attributes) => {
    heads[layer] = attributes;
    return q;
  });
  const turns = b.build().nodes.flatMap((node) => (isNode(node, 'rope') ? [node.attributes] : []));
  return { model, heads, turns };
}
const windows = (...given: Parameters<typeof look>) => look(...given).heads.map(({ window }) => window);

describe('windows', () => {
  it.each<[string, Record<string, unknown>, (number | undefined)[]]>([
    ['llama', { sliding_window: 7 }, [undefined, undefined]],
    ['mistral', { sliding_window: 7 }, [7, 7]],
    ['mistral', { sliding_window: null }, [undefined, undefined]],
    ['mistral', {}, [4096, 4096]],
    ['qwen2', { sliding_window: 7, max_window_layers: 1 }, [undefined, undefined]],
    ['qwen2', { sliding_window: 7, max_window_layers: 1, use_sliding_window: true }, [undefined, 7]],
    ['qwen2', { sliding_window: 7, max_window_layers: 0, use_sliding_window: true }, [7, 7]],
    ['qwen3', { sliding_window: 7, use_sliding_window: true }, [undefined, undefined]],
    [
      'qwen3',
      { sliding_window: 7, use_sliding_window: true, layer_types: ['sliding_attention', 'full_attention'] },
      [7, undefined],
    ],
    ['gemma2', {}, [4096, undefined]],
    ['gemma2', { layer_types: ['full_attention', 'sliding_attention'], sliding_window: 5 }, [undefined, 5]],
    ['phi3', {}, [undefined, undefined]],
    ['phi3', { sliding_window: 9 }, [9, 9]],
    ['smollm3', { sliding_window: 7, use_sliding_window: true, no_rope_layers: [0, 1] }, [7, undefined]],
  ])('%s %j', (type, changes, expected) => {
    expect(windows(type, changes)).toEqual(expected);
  });
});

describe('scales', () => {
  it('are 1/√d, 1/√query_pre_attn_scalar for Gemma 2, and by layer for a GPT-2 that says so', () => {
    expect(look('llama').heads.map(({ scale }) => scale)).toEqual([0.5, 0.5]);
    expect(look('gemma2', { query_pre_attn_scalar: 16 }).heads[0]).toMatchObject({ scale: 0.25, softcap: 50 });
    expect(look('gemma2', { attn_logit_softcapping: null }).heads[0]!.softcap).toBeUndefined();
    const gpt2 = { n_embd: 16, n_head: 4, n_layer: 2 };
    expect(look('gpt2', { ...gpt2, scale_attn_by_inverse_layer_idx: true }).heads.map(({ scale }) => scale)).toEqual([
      0.5, 0.25,
    ]);
    expect(look('gpt2', { ...gpt2, scale_attn_weights: false }).heads[0]!.scale).toBe(1);
  });
});

describe('positions', () => {
  const rope = (rope_scaling: Record<string, unknown>, changes: Record<string, unknown> = {}) =>
    look('llama', { rope_theta: 100, rope_scaling, max_position_embeddings: 64, ...changes });

  it('turn by θ^(−2j/d): of heads of 4 at θ = 100 by 1 and 0.1', () => {
    expect(rope({ rope_type: 'default' }).turns[0]!.frequencies).toEqual([1, 0.1]);
    expect(rope({ type: 'linear', factor: 4 }).turns[0]!.frequencies).toEqual([0.25, 0.025]);
    expect(rope({ rope_type: 'dynamic', factor: 4 }).turns[0]!.frequencies).toEqual([1, 0.1]);
  });

  it('of Llama 3: long waves are stretched, short ones stay, between them by the share of waves', () => {
    // In 188 positions, about 2π·30, there are 30 and 3 waves. Above 4 they stay; 3 lies two thirds of the way from 1 to 4, and
    // 2/3·0.1 + 1/3·0.02 = 0.0733.
    const scaling = {
      rope_type: 'llama3',
      factor: 5,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 188,
    };
    const [first, second] = rope(scaling).turns[0]!.frequencies;
    expect(first).toBe(1);
    expect(second).toBeCloseTo(0.0733, 3);
  });

  it('of YaRN sharpen attention by 0.1·ln(factor) + 1 on each side, or as the config says', () => {
    const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 16 };
    expect(rope(yarn).turns[0]!.scale).toBeCloseTo(1.138629, 6);
    expect(rope({ ...yarn, attention_factor: 1.5 }).turns[0]!.scale).toBe(1.5);
    expect(rope({ ...yarn, mscale: 1, mscale_all_dim: 1 }).turns[0]!.scale).toBeUndefined();
  });

  it('of LongRoPE hold up to the original length, which is the context then', () => {
    const long = {
      rope_type: 'longrope',
      short_factor: [2, 4],
      long_factor: [8, 16],
      original_max_position_embeddings: 16,
    };
    const { model, turns } = rope(long);
    expect(model.contextLength).toBe(16);
    expect(turns[0]!.frequencies).toEqual([0.5, 0.025]);
    // √(1 + ln 4/ln 16)
    expect(turns[0]!.scale).toBeCloseTo(Math.sqrt(1.5), 12);
    expect(rope({ rope_type: 'dynamic', factor: 4 }).model.contextLength).toBe(64);
    expect(rope({ rope_type: 'linear', factor: 4 }).model.contextLength).toBe(64);
  });

  it('are left out in the layers that say so', () => {
    expect(look('smollm3', { no_rope_layers: [0, 1] }).turns).toHaveLength(1);
    expect(look('smollm3', { no_rope_layer_interval: 2 }).turns).toHaveLength(1);
    expect(look('gpt2', { n_embd: 16, n_head: 4, n_layer: 2 }).turns).toEqual([]);
  });

  it('turn a part of a head where Phi-3 says so', () => {
    const { turns } = look('phi3', { partial_rotary_factor: 0.5, rope_theta: 100 });
    expect(turns[0]).toMatchObject({ headDim: 4, frequencies: [1] });
  });
});

describe('what is refused', () => {
  it.each<[string, Record<string, unknown>, RegExp]>([
    [
      'bert',
      {},
      /model_type "bert" is not supported\n.*\n.*llama, mistral, qwen2, qwen3, gemma, gemma2, phi3, olmo2, gpt2, smollm3/,
    ],
    ['llama', { hidden_act: 'gelu' }, /hidden_act: is "gelu", which is not supported; "silu" is/],
    [
      'llama',
      { rope_scaling: { rope_type: 'axial' } },
      /rope_scaling\.rope_type: "axial" is not supported; default, linear, llama3/,
    ],
    ['llama', { rope_scaling: { type: 'ntk' } }, /rope_scaling\.type: "ntk" is not supported/],
    ['llama', { rope_scaling: { type: 'linear' } }, /rope_scaling\.factor: is missing/],
    ['llama', { rope_scaling: 'linear' }, /rope_scaling: is "linear", expected an object/],
    [
      'llama',
      { rope_parameters: { full_attention: { rope_theta: 1 } } },
      /rope_parameters\.full_attention: is .* only its absence/,
    ],
    ['llama', { partial_rotary_factor: 0.5 }, /partial_rotary_factor: is 0\.5, which changes the arithmetic/],
    ['llama', { attention_dropout: 0.1 }, /attention_dropout: is 0\.1/],
    ['llama', { head_dim: 5 }, /head_dim: 5 of 5 columns of a head would turn; positions turn pairs/],
    ['llama', { quantization_config: { quant_method: 'bitsandbytes' } }, /weights are quantised \(bitsandbytes\)/],
    ['llama', { quantization_config: {} }, /weights are quantised \(by a method without a name\)/],
    [
      'phi3',
      { rope_scaling: { type: 'longrope', short_factor: [1], long_factor: [1, 2] } },
      /short_factor: has 1 entries, expected 2/,
    ],
    [
      'phi3',
      { rope_scaling: { type: 'su', long_factor: [1, 2] } },
      /short_factor: is missing, expected 2 positive numbers/,
    ],
    ['phi3', { partial_rotary_factor: 0.3 }, /partial_rotary_factor: 1 of 4 columns/],
    ['phi3', { resid_pdrop: 0.1 }, /resid_pdrop: is 0\.1/],
    ['mistral', { sliding_window: 0 }, /sliding_window: is 0, expected a positive whole number or null/],
    [
      'qwen2',
      { layer_types: ['linear_attention', 'full_attention'] },
      /layer_types: expected 2 of full_attention and sliding/,
    ],
    [
      'qwen2',
      { layer_types: ['sliding_attention', 'full_attention'] },
      /sliding_window: layer 0 has a window of no width/,
    ],
    ['gemma', { hidden_activation: 'silu' }, /hidden_activation: is "silu"/],
    ['gemma2', { final_logit_softcapping: -1 }, /final_logit_softcapping: is -1, expected a positive number or null/],
    ['gemma2', { use_bidirectional_attention: true }, /use_bidirectional_attention: is true/],
    ['olmo2', { clip_qkv: 8 }, /clip_qkv: is 8/],
    ['gpt2', { activation_function: 'relu' }, /activation_function: is "relu"/],
    ['gpt2', { add_cross_attention: true }, /add_cross_attention: is true/],
    ['smollm3', { no_rope_layers: [1, 2] }, /no_rope_layers: expected 2 times 0 or 1/],
  ])('%s %j', (type, changes, message) => {
    expect(() => modelOf(type, changes)).toThrow(message);
  });

  const dims = ['hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads', 'vocab_size'] as const;
  it.each(dims)('%s that is no size', (key) => {
    for (const value of [0, -16, 1.5, 1e308, 2 ** 31, '16', [16], true]) {
      const shown = JSON.stringify(value).replace(/[[\]+]/g, '\\$&');
      expect(() => modelOf('llama', { [key]: value })).toThrow(
        new RegExp(`${key}: is ${shown}, expected a (positive )?whole number`),
      );
    }
    expect(() => modelOf('llama', { [key]: null })).toThrow(`${key}: is missing`);
  });

  it('everything at once: sizes that do not divide, and rates that are none', () => {
    const wrong = { num_attention_heads: 3, num_key_value_heads: 2, rms_norm_eps: 0, rope_theta: '1e4' };
    for (const problem of [
      'hidden_size: 16 is not a multiple of num_attention_heads 3',
      'num_attention_heads: 3 is not a multiple of num_key_value_heads 2',
      'rms_norm_eps: is 0, expected a positive number',
      'rope_theta: is "1e4", expected a positive number',
    ]) {
      expect(() => modelOf('llama', wrong)).toThrow(problem);
    }
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    [
      'llama',
      { num_hidden_layers: 2 ** 31 - 1 },
      /num_hidden_layers: is 2147483647, expected a whole number from 1 to/,
    ],
    ['llama', { hidden_size: 2 ** 31 - 4 }, /head_dim: is 536870911, expected a whole number from 1 to 65536/],
    ['qwen3', { head_dim: 2 ** 30 }, /head_dim: is 1073741824/],
    ['gpt2', { n_layer: 2 ** 30 }, /n_layer: is 1073741824/],
  ])('%s %j: lists that no memory holds are never made', (type, changes, message) => {
    expect(() => modelOf(type, changes)).toThrow(message);
  });

  it('of very many problems the first ones are told, and how many more there are', () => {
    const all = { num_hidden_layers: 10_000, layer_types: Array(10_000).fill('sliding_attention') };
    let message = '';
    try {
      modelOf('qwen2', all);
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toMatch(/sliding_window: layer 39 has a window of no width\n {2}and 9960 more\n/);
    expect(message.length).toBeLessThan(4000);
  });

  it('code that a config names is never run, and changes nothing', () => {
    const named = modelOf('llama', { auto_map: { AutoModelForCausalLM: 'modeling_evil.EvilForCausalLM' } });
    expect(named.parameters).toEqual(modelOf('llama').parameters);
    expect(() => modelOf('evil', { auto_map: { AutoConfig: 'evil.Config' } })).toThrow(
      /model_type "evil" is not supported/,
    );
  });
});
