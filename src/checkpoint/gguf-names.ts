// GGUF tensors under their Hugging Face names and in their Hugging Face layout, and back.
// llama.cpp's converter renames everything and stores some tensors otherwise than Hugging Face:
// - permuted rows of the query and key projections where it turns pairs of neighbouring rows and Hugging Face row i of a head with
//   row i + D/2 (the architectures llama, which holds Mistral too, and smollm3);
// - 1 + w for the weights w of Gemma's norms;
// - GPT-2's matrices transposed, so that they are [out, in] as everywhere else.

import { failure, usageError } from '../util/index.ts';

/** Names of GGUF tensors (keys) and of Hugging Face's (values), without ".weight" and ".bias". */
type Names = readonly (readonly [gguf: string, huggingFace: string])[];

/** How tensors of an architecture of llama.cpp are named and stored. */
export interface TensorLayout {
  readonly outside: Names;
  /** Behind `blk.N.` and behind `layers`. */
  readonly inside: Names;
  /** Prefix of layers in Hugging Face names, before the number. */
  readonly layers: string;
  readonly permuted?: true;
  readonly normsPlusOne?: true;
  /** Hugging Face names inside layers whose matrices are transposed. */
  readonly transposed?: readonly string[];
}

const OUTSIDE: Names = [
  ['token_embd', 'model.embed_tokens'],
  ['output_norm', 'model.norm'],
  ['output', 'lm_head'],
];
const ATTENTION: Names = [
  ['attn_q', 'self_attn.q_proj'],
  ['attn_k', 'self_attn.k_proj'],
  ['attn_v', 'self_attn.v_proj'],
  ['attn_output', 'self_attn.o_proj'],
];
const HEAD_NORMS: Names = [
  ['attn_q_norm', 'self_attn.q_norm'],
  ['attn_k_norm', 'self_attn.k_norm'],
];
const MLP: Names = [
  ['ffn_gate', 'mlp.gate_proj'],
  ['ffn_up', 'mlp.up_proj'],
  ['ffn_down', 'mlp.down_proj'],
];
const NORMS_BEFORE: Names = [
  ['attn_norm', 'input_layernorm'],
  ['ffn_norm', 'post_attention_layernorm'],
];
const plain = { outside: OUTSIDE, layers: 'model.layers' } as const;
const llama: TensorLayout = { ...plain, inside: [...NORMS_BEFORE, ...ATTENTION, ...MLP], permuted: true };

/** By general.architecture. */
const LAYOUTS: Readonly<Record<string, TensorLayout>> = {
  llama,
  smollm3: llama,
  qwen2: { ...plain, inside: [...NORMS_BEFORE, ...ATTENTION, ...MLP] },
  qwen3: { ...plain, inside: [...NORMS_BEFORE, ...ATTENTION, ...HEAD_NORMS, ...MLP] },
  gemma: { ...plain, inside: [...NORMS_BEFORE, ...ATTENTION, ...MLP], normsPlusOne: true },
  gemma2: {
    ...plain,
    inside: [
      ['attn_norm', 'input_layernorm'],
      ['post_attention_norm', 'post_attention_layernorm'],
      ['ffn_norm', 'pre_feedforward_layernorm'],
      ['post_ffw_norm', 'post_feedforward_layernorm'],
      ...ATTENTION,
      ...MLP,
    ],
    normsPlusOne: true,
  },
  phi3: {
    ...plain,
    inside: [
      ...NORMS_BEFORE,
      ['attn_qkv', 'self_attn.qkv_proj'],
      ['attn_output', 'self_attn.o_proj'],
      ['ffn_up', 'mlp.gate_up_proj'],
      ['ffn_down', 'mlp.down_proj'],
    ],
  },
  olmo2: {
    ...plain,
    inside: [
      ['post_attention_norm', 'post_attention_layernorm'],
      ['post_ffw_norm', 'post_feedforward_layernorm'],
      ...ATTENTION,
      ...HEAD_NORMS,
      ...MLP,
    ],
  },
  gpt2: {
    outside: [
      ['token_embd', 'transformer.wte'],
      ['position_embd', 'transformer.wpe'],
      ['output_norm', 'transformer.ln_f'],
      ['output', 'lm_head'],
    ],
    layers: 'transformer.h',
    inside: [
      ['attn_norm', 'ln_1'],
      ['attn_qkv', 'attn.c_attn'],
      ['attn_output', 'attn.c_proj'],
      ['ffn_norm', 'ln_2'],
      ['ffn_up', 'mlp.c_fc'],
      ['ffn_down', 'mlp.c_proj'],
    ],
    transposed: ['attn.c_attn', 'attn.c_proj', 'mlp.c_fc', 'mlp.c_proj'],
  },
};

/** Tensors of factors on rotary frequencies, which config.json says in its own way. */
const ROPE_TENSORS: readonly string[] = ['rope_freqs.weight', 'rope_factors_long.weight', 'rope_factors_short.weight'];

/** How the tensors of a file are named and stored. Throws a usage error for an architecture that is not known. */
export function tensorLayout(architecture: unknown, file: string): TensorLayout {
  const layout = Object.entries(LAYOUTS).find(([name]) => name === architecture)?.[1];
  if (layout !== undefined) return layout;
  throw usageError({
    what: `GGUF files of the architecture ${JSON.stringify(architecture)} are not supported`,
    where: file,
    fix: `use one of ${Object.keys(LAYOUTS).join(', ')}; or safetensors, if its config.json is of a supported model_type`,
  });
}

/** The Hugging Face name, or undefined for a tensor that config.json replaces. Unknown names are a failure. */
export function huggingFaceName(layout: TensorLayout, file: string, name: string): string | undefined {
  if (ROPE_TENSORS.includes(name)) return undefined;
  const [, layer, part, leaf] = /^(?:blk\.(\d+)\.)?([a-z_]+)\.(weight|bias)$/.exec(name) ?? [];
  const found = (layer === undefined ? layout.outside : layout.inside).find(([gguf]) => gguf === part)?.[1];
  if (found === undefined) throw failure({ what: `unknown tensor ${JSON.stringify(name)}`, where: file });
  return layer === undefined ? `${found}.${leaf}` : `${layout.layers}.${layer}.${found}.${leaf}`;
}

/** The name in a GGUF file of a tensor with a Hugging Face name. A usage error for one that GGUF has no name for. */
export function ggufName(layout: TensorLayout, name: string): string {
  const dot = name.lastIndexOf('.');
  const [stem, leaf] = [name.slice(0, dot), name.slice(dot + 1)];
  const outside = layout.outside.find(([, huggingFace]) => huggingFace === stem)?.[0];
  if (outside !== undefined) return `${outside}.${leaf}`;
  const [layer, inside] = stem.startsWith(`${layout.layers}.`) ? splitLayer(stem.slice(layout.layers.length + 1)) : [];
  const part = layout.inside.find(([, huggingFace]) => huggingFace === inside)?.[0];
  if (part !== undefined && (leaf === 'weight' || leaf === 'bias')) return `blk.${layer}.${part}.${leaf}`;
  throw usageError({
    what: `GGUF has no name for the tensor ${name} in files of this architecture`,
    fix: 'export to Hugging Face format',
  });
}

function splitLayer(name: string): [layer: string, inside: string] | [] {
  const [, layer, inside] = /^(\d+)\.(.+)$/.exec(name) ?? [];
  return layer === undefined || inside === undefined ? [] : [layer, inside];
}

/** Heads of the projections whose rows may be permuted. */
export interface HeadCounts {
  readonly query: number;
  readonly keyValue: number;
}

/** What must be done to a tensor, by its Hugging Face name, between the two layouts; nothing for most. */
export type Change =
  | { readonly what: 'permute'; readonly heads: number }
  | { readonly what: 'transpose' }
  | { readonly what: 'plus one' };

/** The change that a tensor needs. */
export function changeOf(layout: TensorLayout, name: string, heads: HeadCounts): Change | undefined {
  if (layout.permuted) {
    if (/\.self_attn\.q_proj\.(weight|bias)$/.test(name)) return { what: 'permute', heads: heads.query };
    if (/\.self_attn\.k_proj\.(weight|bias)$/.test(name)) return { what: 'permute', heads: heads.keyValue };
  }
  if (layout.normsPlusOne && name.endsWith('norm.weight')) return { what: 'plus one' };
  const transposed = layout.transposed?.some((part) => name.endsWith(`.${part}.weight`));
  return transposed ? { what: 'transpose' } : undefined;
}

/** Shape in the other layout. */
export function changedShape(shape: readonly number[], change: Change | undefined): number[] {
  return change?.what === 'transpose' ? [...shape].reverse() : [...shape];
}

/** A tensor of a GGUF file as Hugging Face has it. @param shape in the file */
export function toHuggingFace(
  values: Float32Array,
  shape: readonly number[],
  change: Change | undefined,
): Float32Array {
  if (change?.what === 'permute') return movedRows(values, shape[0] ?? 0, change.heads, restoredRow);
  if (change?.what === 'transpose') return transpose(values, shape[0] ?? 0, shape[1] ?? 0);
  return change === undefined ? values : values.map((value) => value - 1);
}

/** The reverse of `toHuggingFace`. @param shape in Hugging Face's layout */
export function toGguf(values: Float32Array, shape: readonly number[], change: Change | undefined): Float32Array {
  if (change?.what === 'permute') return movedRows(values, shape[0] ?? 0, change.heads, permutedRow);
  if (change?.what === 'transpose') return transpose(values, shape[0] ?? 0, shape[1] ?? 0);
  return change === undefined ? values : values.map((value) => value + 1);
}

/** Row 2i + j of a head of D rows is row j D/2 + i in Hugging Face's order. */
const restoredRow = (row: number, perHead: number) => (row % 2) * (perHead / 2) + Math.floor(row / 2);
const permutedRow = (row: number, perHead: number) => 2 * (row % (perHead / 2)) + Math.floor(row / (perHead / 2));

/** Moves every row of a head to the place that `target` says. */
function movedRows(
  values: Float32Array,
  rows: number,
  heads: number,
  target: (row: number, perHead: number) => number,
): Float32Array {
  const perHead = rows / heads;
  if (!Number.isInteger(perHead) || perHead % 2 !== 0) {
    throw failure({ what: `${rows} rows cannot be split into ${heads} heads of an even size` });
  }
  const width = values.length / rows;
  const moved = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const inHead = row % perHead;
    moved.set(values.subarray(row * width, (row + 1) * width), (row - inHead + target(inHead, perHead)) * width);
  }
  return moved;
}

function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const turned = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) turned[column * rows + row] = values[row * columns + column]!;
  }
  return turned;
}
