// A config.json of every model_type as small as a GGUF file and llama.cpp take it: rows of whole blocks of 32, windows and caps at work,
// and what llama.cpp has no key for as its own code assumes it.

const sizes = {
  vocab_size: 288,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 1000,
  tie_word_embeddings: false,
};
const silu = { ...sizes, hidden_act: 'silu' };
const gelu = { ...sizes, hidden_act: 'gelu_pytorch_tanh', hidden_activation: 'gelu_pytorch_tanh' };

/** By model_type. */
export const TINY: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  llama: { ...silu, model_type: 'llama', attention_bias: true },
  mistral: { ...silu, model_type: 'mistral', head_dim: 32, sliding_window: 64 },
  qwen2: { ...silu, model_type: 'qwen2', tie_word_embeddings: true },
  qwen3: { ...silu, model_type: 'qwen3', head_dim: 32 },
  gemma: { ...gelu, model_type: 'gemma', head_dim: 32, num_key_value_heads: 1, tie_word_embeddings: true },
  gemma2: {
    ...gelu,
    model_type: 'gemma2',
    head_dim: 32,
    query_pre_attn_scalar: 32,
    sliding_window: 6,
    attn_logit_softcapping: 3,
    final_logit_softcapping: 5,
    tie_word_embeddings: true,
  },
  phi3: { ...silu, model_type: 'phi3', partial_rotary_factor: 0.5, sliding_window: 64 },
  olmo2: { ...silu, model_type: 'olmo2' },
  gpt2: {
    model_type: 'gpt2',
    vocab_size: 288,
    n_positions: 128,
    n_embd: 64,
    n_inner: 96,
    n_layer: 4,
    n_head: 4,
    layer_norm_epsilon: 1e-5,
    activation_function: 'gelu_new',
  },
  smollm3: { ...silu, model_type: 'smollm3', tie_word_embeddings: true },
};
