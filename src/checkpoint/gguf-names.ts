// GGUF tensors under their Hugging Face names and in their Hugging Face layout.
// llama.cpp's converter renames everything and, for the architecture "llama" (Llama and Mistral), reorders the rows of the query
// and key projections: it rotates pairs of neighbouring rows where Hugging Face rotates row i of a head with row i + D/2.

import { failure, usageError } from '../util/index.ts';

const OUTSIDE_LAYERS = new Map([
  ['token_embd.weight', 'model.embed_tokens.weight'],
  ['output_norm.weight', 'model.norm.weight'],
  ['output.weight', 'lm_head.weight'],
]);

const INSIDE_LAYERS = new Map([
  ['attn_norm', 'input_layernorm'],
  ['attn_q', 'self_attn.q_proj'],
  ['attn_k', 'self_attn.k_proj'],
  ['attn_v', 'self_attn.v_proj'],
  ['attn_output', 'self_attn.o_proj'],
  ['ffn_norm', 'post_attention_layernorm'],
  ['ffn_gate', 'mlp.gate_proj'],
  ['ffn_up', 'mlp.up_proj'],
  ['ffn_down', 'mlp.down_proj'],
]);

/** Architectures whose tensors are known, and whether the rows of their q and k projections are reordered. */
const REORDERED = new Map([
  ['llama', true],
  ['qwen2', false],
]);

/** Heads of the projections whose rows are reordered. */
export interface HeadCounts {
  readonly query: number;
  readonly keyValue: number;
}

/** The head counts when the rows of this file must be put back in order, undefined when they are in order already. */
export function reorderedHeads(
  file: string,
  metadata: Map<string, unknown>,
  config: Readonly<Record<string, unknown>>,
): HeadCounts | undefined {
  const architecture = metadata.get('general.architecture');
  const reordered = typeof architecture === 'string' ? REORDERED.get(architecture) : undefined;
  if (reordered === undefined) {
    throw usageError({
      what: `GGUF files of the architecture ${JSON.stringify(architecture)} cannot be read`,
      where: file,
      fix: `use one of ${[...REORDERED.keys()].join(', ')}, or the original safetensors`,
    });
  }
  const query = config['num_attention_heads'];
  const keyValue = config['num_key_value_heads'] ?? query;
  const inFile = metadata.get(`${architecture}.attention.head_count`);
  const keyValueInFile = metadata.get(`${architecture}.attention.head_count_kv`) ?? inFile;
  if (query !== inFile || keyValue !== keyValueInFile) {
    throw failure({
      what: `config.json has ${query} query and ${keyValue} key-value heads, the GGUF file ${inFile} and ${keyValueInFile}`,
      where: file,
      fix: 'use the config.json and the GGUF file of the same model',
    });
  }
  return reordered ? { query: query as number, keyValue: keyValue as number } : undefined;
}

/** The Hugging Face name, or undefined for a tensor that config.json replaces (rope_freqs). Unknown names are a failure. */
export function huggingFaceName(file: string, name: string): string | undefined {
  if (name === 'rope_freqs.weight') return undefined;
  const outside = OUTSIDE_LAYERS.get(name);
  if (outside !== undefined) return outside;
  const [, layer, part, leaf] = /^blk\.(\d+)\.([a-z_]+)\.(weight|bias)$/.exec(name) ?? [];
  const inside = part === undefined ? undefined : INSIDE_LAYERS.get(part);
  if (inside === undefined) throw failure({ what: `unknown tensor ${JSON.stringify(name)}`, where: file });
  return `model.layers.${layer}.${inside}.${leaf}`;
}

/** How many heads the rows of this tensor (Hugging Face name) are reordered in, undefined if they are not. */
export function headsOfRows(name: string, heads: HeadCounts): number | undefined {
  if (/\.self_attn\.q_proj\.(weight|bias)$/.test(name)) return heads.query;
  return /\.self_attn\.k_proj\.(weight|bias)$/.test(name) ? heads.keyValue : undefined;
}

/** Puts the rows back in Hugging Face's order: row 2i + j of a head of D rows moves to row j D/2 + i. */
export function restoreRows(values: Float32Array, rows: number, heads: number): Float32Array {
  const perHead = rows / heads;
  if (!Number.isInteger(perHead) || perHead % 2 !== 0) {
    throw failure({ what: `${rows} rows cannot be split into ${heads} heads of an even size` });
  }
  const width = values.length / rows;
  const restored = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const inHead = row % perHead;
    const target = row - inHead + (inHead % 2) * (perHead / 2) + Math.floor(inHead / 2);
    restored.set(values.subarray(row * width, (row + 1) * width), target * width);
  }
  return restored;
}
