// The metadata of a GGUF file <-> config.json, one row per kind of model. llama.cpp names an architecture and its sizes; what all
// models of an architecture have in common it does not write, so that stands here.
// A new kind of model is a row in FAMILIES and, if its tensors are named otherwise, one in gguf-names.ts.

import {
  type GgufTensorInfo,
  type GgufValue,
  type Metadata,
  readGgufTensorF32,
  readMetadata,
  readModelGguf,
} from '../formats/index.ts';
import { usageError } from '../util/index.ts';
import { type ReadTensor, type RopeToWrite, ropeConfig, ropeMetadata, shortest } from './gguf-rope.ts';

type Config = Readonly<Record<string, unknown>>;

/** A key behind "ARCHITECTURE." and the field of config.json that says the same. */
interface Field {
  readonly key: string;
  readonly field: string;
  readonly type: 'u32' | 'f32';
  /** May be absent. */
  readonly optional?: true;
}

interface Family {
  /** general.architecture */
  readonly architecture: string;
  readonly modelType: string;
  /** Class of Python transformers. */
  readonly className: string;
  readonly fields: readonly Field[];
  /** Fields of config.json that the metadata leave out, and their only value. */
  readonly fixed: Config;
  /** Whether positions are rotary; gpt2's are learned. */
  readonly rope: boolean;
  /** llama.cpp reads biases of attention and MLP where a file has them. */
  readonly biases?: true;
  /**
   * llama.cpp's own code of this architecture looks back without limit, so a window is not told it: the context is cut to the
   * window, within which both see the same.
   */
  readonly windowCuts?: true;
}

const u32 = (key: string, field: string): Field => ({ key, field, type: 'u32' });
const f32 = (key: string, field: string): Field => ({ key, field, type: 'f32' });
const optional = (field: Field): Field => ({ ...field, optional: true });

const SIZES: readonly Field[] = [
  u32('context_length', 'max_position_embeddings'),
  u32('embedding_length', 'hidden_size'),
  u32('block_count', 'num_hidden_layers'),
  u32('feed_forward_length', 'intermediate_size'),
  u32('attention.head_count', 'num_attention_heads'),
  optional(u32('attention.head_count_kv', 'num_key_value_heads')),
  f32('attention.layer_norm_rms_epsilon', 'rms_norm_eps'),
];
const WINDOW = u32('attention.sliding_window', 'sliding_window');
const SILU = { hidden_act: 'silu', attention_dropout: 0 };
const GELU = { hidden_act: 'gelu_pytorch_tanh', hidden_activation: 'gelu_pytorch_tanh', attention_dropout: 0 };
const plain = { fields: SIZES, fixed: { ...SILU, attention_bias: false }, rope: true } as const;

const FAMILIES: readonly Family[] = [
  {
    ...plain,
    architecture: 'llama',
    modelType: 'mistral',
    className: 'MistralForCausalLM',
    fields: [...SIZES, WINDOW],
    fixed: SILU,
    windowCuts: true,
  },
  {
    ...plain,
    architecture: 'llama',
    modelType: 'llama',
    className: 'LlamaForCausalLM',
    fixed: { ...plain.fixed, mlp_bias: false },
    biases: true,
  },
  { ...plain, architecture: 'smollm3', modelType: 'smollm3', className: 'SmolLM3ForCausalLM' },
  { ...plain, architecture: 'qwen2', modelType: 'qwen2', className: 'Qwen2ForCausalLM', fixed: SILU },
  { ...plain, architecture: 'qwen3', modelType: 'qwen3', className: 'Qwen3ForCausalLM' },
  {
    ...plain,
    architecture: 'gemma',
    modelType: 'gemma',
    className: 'GemmaForCausalLM',
    fixed: { ...GELU, attention_bias: false },
  },
  {
    ...plain,
    architecture: 'gemma2',
    modelType: 'gemma2',
    className: 'Gemma2ForCausalLM',
    fields: [
      ...SIZES,
      WINDOW,
      f32('attn_logit_softcapping', 'attn_logit_softcapping'),
      f32('final_logit_softcapping', 'final_logit_softcapping'),
    ],
    fixed: { ...GELU, attention_bias: false },
  },
  {
    ...plain,
    architecture: 'phi3',
    modelType: 'phi3',
    className: 'Phi3ForCausalLM',
    fields: [...SIZES, optional(WINDOW)],
    fixed: { ...SILU, resid_pdrop: 0, embd_pdrop: 0 },
    windowCuts: true,
  },
  { ...plain, architecture: 'olmo2', modelType: 'olmo2', className: 'Olmo2ForCausalLM' },
  {
    architecture: 'gpt2',
    modelType: 'gpt2',
    className: 'GPT2LMHeadModel',
    fields: [
      u32('context_length', 'n_positions'),
      u32('embedding_length', 'n_embd'),
      u32('block_count', 'n_layer'),
      u32('feed_forward_length', 'n_inner'),
      u32('attention.head_count', 'n_head'),
      f32('attention.layer_norm_epsilon', 'layer_norm_epsilon'),
    ],
    fixed: { activation_function: 'gelu_new', attn_pdrop: 0, embd_pdrop: 0, resid_pdrop: 0 },
    rope: false,
  },
];

/** sliding_window of a Mistral whose config.json leaves it out; null says that there is none. */
const MISTRAL_WINDOW = 4096;
/** The number of blocks of the Gemma 2 (27B) whose attention is scaled by the width per head, not by head_dim. */
const GEMMA2_27B_BLOCKS = 46;

/** The scale of attention that llama.cpp gives a Gemma 2, which GGUF files leave out. */
const gemma2Scalar = (blocks: unknown, width: unknown, heads: unknown, headDim: number): number =>
  blocks === GEMMA2_27B_BLOCKS ? Number(width) / Number(heads) : headDim;

/** The config.json that a GGUF file stands for. Throws a usage error for an architecture that is not known, or missing keys. */
export async function configOfGguf(file: string): Promise<Record<string, unknown>> {
  const { metadata, tensors } = await readModelGguf(file);
  return configOfMetadata(readMetadata(metadata, file), tensors, async (name) => {
    const info = tensors.get(name);
    return info === undefined ? undefined : readGgufTensorF32(file, info);
  });
}

/** The same of what a file has, or will have. */
export async function configOfMetadata(
  metadata: Metadata,
  tensors: ReadonlyMap<string, Pick<GgufTensorInfo, 'shape'>>,
  readTensor: ReadTensor,
): Promise<Record<string, unknown>> {
  const architecture = metadata.text('general.architecture');
  const family = FAMILIES.find(
    (each) =>
      each.architecture === architecture && each.fields.every((field) => field.optional || has(metadata, each, field)),
  );
  if (family === undefined) throw unknownFamily(metadata, architecture);
  const experts = `${architecture}.expert_count`;
  if ((metadata.number(experts) ?? 0) > 0)
    throw metadata.bad(experts, 'says that it is a mixture of experts, which is not supported');
  const config: Record<string, unknown> = {
    architectures: [family.className],
    model_type: family.modelType,
    vocab_size: vocabularySize(metadata, tensors),
    ...Object.fromEntries(family.fields.flatMap((field) => readField(metadata, family, field))),
    ...family.fixed,
    ...biases(family, tensors),
    tie_word_embeddings: !tensors.has('output.weight'),
    ...controlIds(metadata),
  };
  if (!family.rope) return config;
  const headDim = readHeadDim(metadata, family, config);
  return {
    ...config,
    ...headDim,
    ...(family.modelType === 'gemma2'
      ? {
          query_pre_attn_scalar: gemma2Scalar(
            config['num_hidden_layers'],
            config['hidden_size'],
            config['num_attention_heads'],
            headDim.head_dim,
          ),
        }
      : {}),
    ...(await ropeConfig(metadata, family.architecture, headDim.head_dim, readTensor)),
  };
}

const has = (metadata: Metadata, { architecture }: Family, { key }: Field) => metadata.has(`${architecture}.${key}`);

function unknownFamily(metadata: Metadata, architecture: string | undefined): Error {
  const named = FAMILIES.filter((each) => each.architecture === architecture);
  const missing = named.at(-1)?.fields.find((field) => !field.optional && !has(metadata, named.at(-1)!, field));
  if (missing !== undefined) return metadata.bad(`${architecture}.${missing.key}`, 'is missing');
  const known = [...new Set(FAMILIES.map((each) => each.architecture))].join(', ');
  return usageError({
    what: `a GGUF file of the architecture ${JSON.stringify(architecture)} does not say what its config.json would be`,
    where: metadata.file,
    fix: `use one of ${known}; or put its config.json and tokenizer beside it, in a directory of their own`,
  });
}

function readField(metadata: Metadata, { architecture }: Family, { key, field, type }: Field): [string, number][] {
  const value = metadata.number(`${architecture}.${key}`);
  return value === undefined ? [] : [[field, type === 'f32' ? shortest(value) : value]];
}

/** The rows of the embedding, which may be more than there are tokens, never fewer. */
function vocabularySize(metadata: Metadata, tensors: ReadonlyMap<string, Pick<GgufTensorInfo, 'shape'>>): number {
  const rows = tensors.get('token_embd.weight')?.shape[0];
  if (rows === undefined) throw metadata.bad('token_embd.weight', 'is missing');
  const tokens = metadata.texts('tokenizer.ggml.tokens')?.length ?? 0;
  if (tokens <= rows) return rows;
  throw metadata.bad('tokenizer.ggml.tokens', `has ${tokens} entries, and the embedding ${rows} rows`);
}

/** Which layers have biases, where that may differ. */
function biases(family: Family, tensors: ReadonlyMap<string, unknown>): Config {
  if (!family.biases) return {};
  return { attention_bias: tensors.has('blk.0.attn_q.bias'), mlp_bias: tensors.has('blk.0.ffn_gate.bias') };
}

function controlIds(metadata: Metadata): Config {
  const ids = [
    ['bos_token_id', 'bos_token_id'],
    ['eos_token_id', 'eos_token_id'],
    ['pad_token_id', 'padding_token_id'],
  ] as const;
  return Object.fromEntries(
    ids.flatMap(([field, key]) => {
      const id = metadata.number(`tokenizer.ggml.${key}`);
      return id === undefined ? [] : [[field, id]];
    }),
  );
}

function readHeadDim(
  metadata: Metadata,
  { architecture, modelType }: Family,
  config: Config,
): { head_dim: number; partial_rotary_factor?: number } {
  const usual = Number(config['hidden_size']) / Number(config['num_attention_heads']);
  const key = `${architecture}.attention.key_length`;
  const headDim = metadata.number(key) ?? usual;
  if (!Number.isInteger(headDim) || headDim < 1) throw metadata.bad(key, `is ${headDim}`);
  const valueKey = `${architecture}.attention.value_length`;
  const valueDim = metadata.number(valueKey) ?? headDim;
  if (valueDim !== headDim) throw metadata.bad(valueKey, `is ${valueDim} and not ${headDim}, which is not supported`);
  const turnedKey = `${architecture}.rope.dimension_count`;
  const turned = metadata.number(turnedKey) ?? headDim;
  if (turned === headDim) return { head_dim: headDim };
  if (modelType === 'phi3') return { head_dim: headDim, partial_rotary_factor: turned / headDim };
  throw metadata.bad(turnedKey, `is ${turned} of ${headDim} columns of a head, which is not supported`);
}

/** Dimensions of a model that its config.json may leave to defaults. */
export interface ModelSizes {
  readonly headDim: number;
  readonly contextLength: number;
}

/** What is written of a config.json. */
export interface ConfigToWrite {
  readonly architecture: string;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly rope: RopeToWrite;
}

/** The reverse of `configOfGguf`. Throws a usage error that names what GGUF files cannot say. */
export function metadataOfConfig(config: Config, { headDim, contextLength }: ModelSizes): ConfigToWrite {
  const type = config['model_type'];
  const cannot = (what: string) =>
    usageError({ what: `${what} cannot be written to a GGUF file`, fix: 'export to Hugging Face format' });
  const family = FAMILIES.find(({ modelType }) => modelType === type);
  if (family === undefined) throw cannot(`a model of the type ${JSON.stringify(type)}`);
  const { architecture } = family;
  const given = (field: string) => config[field] ?? undefined;
  for (const field of ['hidden_activation', 'hidden_act', 'activation_function']) {
    const value = family.fixed[field];
    const own = given(field) ?? value;
    if (own !== value) throw cannot(`${field} ${JSON.stringify(own)}`);
    if (value !== undefined) break;
  }
  if (given('use_sliding_window') === true) throw cannot('use_sliding_window');
  const usualWindow = type === 'mistral' && config['sliding_window'] === undefined ? MISTRAL_WINDOW : undefined;
  const window = (given('sliding_window') as number | undefined) ?? usualWindow;
  const heads = given('num_attention_heads') ?? given('n_head');
  const defaults: Config = {
    num_key_value_heads: heads,
    rms_norm_eps: 1e-6,
    layer_norm_epsilon: 1e-5,
    n_inner: 4 * Number(given('n_embd')),
    sliding_window: window,
  };
  const context = family.windowCuts && window !== undefined ? Math.min(window, contextLength) : contextLength;
  const fields = family.fields.flatMap(({ key, field, type: kind }): [string, GgufValue][] => {
    const value = key === 'context_length' ? context : (given(field) ?? defaults[field]);
    return typeof value === 'number' ? [[`${architecture}.${key}`, { type: kind, value }]] : [];
  });
  const metadata = new Map<string, GgufValue>(fields);
  if (!family.rope) return { architecture, metadata, rope: { metadata: new Map() } };
  if (family.modelType === 'gemma2') {
    const scalar = given('query_pre_attn_scalar') ?? 256;
    const assumed = gemma2Scalar(given('num_hidden_layers'), given('hidden_size'), heads, headDim);
    if (scalar !== assumed) throw cannot(`query_pre_attn_scalar ${scalar}, where llama.cpp takes ${assumed},`);
  }
  const turned = headDim * Number(given('partial_rotary_factor') ?? 1);
  metadata.set(`${architecture}.attention.key_length`, { type: 'u32', value: headDim });
  metadata.set(`${architecture}.attention.value_length`, { type: 'u32', value: headDim });
  metadata.set(`${architecture}.rope.dimension_count`, { type: 'u32', value: turned });
  return { architecture, metadata, rope: ropeMetadata(config, architecture, turned) };
}
