// The weights of a model directory under their Hugging Face names, whatever files they are in, one tensor at a time as fp32.

import {
  type GgufTensorInfo,
  readGgufTensorF32,
  readModelGguf,
  readSafetensorsHeader,
  readTensorF32,
  type TensorInfo,
} from '../formats/index.ts';
import { failure, problemLines } from '../util/index.ts';
import { changedShape, changeOf, type HeadCounts, huggingFaceName, tensorLayout, toHuggingFace } from './gguf-names.ts';
import { locateWeights, type WeightFiles } from './locate.ts';

/** Named tensors of a model, read on demand. Names and shapes (row-major) are those of Hugging Face files. */
export interface WeightSource {
  readonly kind: 'safetensors' | 'gguf';
  readonly files: string[];
  names(): string[];
  /** Throws a failure if there is no such tensor, as does `read`. */
  shape(name: string): number[];
  /** All elements as fp32, row-major, in memory of their own. */
  read(name: string): Promise<Float32Array>;
}

/**
 * Opens the weights of a model: a directory with model.safetensors, shards with an index, or one GGUF file; or a GGUF file. Headers are checked now,
 * data are read later. `config` is the directory's config.json (its head counts undo llama.cpp's order of rows).
 */
export async function openWeights(modelDir: string, config: Readonly<Record<string, unknown>>): Promise<WeightSource> {
  const located = await locateWeights(modelDir);
  return located.kind === 'gguf' ? openGguf(located, config) : openSafetensors(located);
}

async function openSafetensors({ files, map, index }: WeightFiles): Promise<WeightSource> {
  const tensors = new Map<string, TensorInfo>();
  for (const file of files) {
    for (const [name, info] of (await readSafetensorsHeader(file)).tensors) {
      if (map !== undefined && map.get(name) !== file) {
        const says = map.get(name) ?? 'no shard';
        throw failure({ what: `tensor ${name} is in ${file}, but the index says ${says}`, where: index });
      }
      tensors.set(name, info);
    }
  }
  for (const [name, file] of map ?? []) {
    if (!tensors.has(name)) {
      throw failure({ what: `the index says that ${file} holds the tensor ${name}, but it does not`, where: index });
    }
  }
  return sourceOf('safetensors', files, tensors, readTensorF32);
}

async function openGguf({ files }: WeightFiles, config: Readonly<Record<string, unknown>>): Promise<WeightSource> {
  const file = files[0] as string;
  const { metadata, tensors } = await readModelGguf(file);
  const layout = tensorLayout(metadata.get('general.architecture'), file);
  const heads = agreedHeads(file, metadata, config);
  const named = new Map<string, GgufTensorInfo>();
  for (const [ggufTensor, info] of tensors) {
    const name = huggingFaceName(layout, file, ggufTensor);
    if (name === undefined) continue;
    // The shape is that of Hugging Face's layout from here on; the bytes are those of the file.
    named.set(name, { ...info, shape: changedShape(info.shape, changeOf(layout, name, heads)) });
  }
  return sourceOf('gguf', files, named, async (info, name) => {
    const change = changeOf(layout, name, heads);
    return toHuggingFace(await readGgufTensorF32(file, info), changedShape(info.shape, change), change);
  });
}

/** The head counts, on which config.json and the file must agree: they decide in which order rows are. */
function agreedHeads(
  file: string,
  metadata: Map<string, unknown>,
  config: Readonly<Record<string, unknown>>,
): HeadCounts {
  const query = config['num_attention_heads'] ?? config['n_head'];
  const keyValue = config['num_key_value_heads'] ?? query;
  const key = `${String(metadata.get('general.architecture'))}.attention.head_count`;
  const inFile = metadata.get(key);
  const keyValueInFile = metadata.get(`${key}_kv`) ?? inFile;
  if (query === inFile && keyValue === keyValueInFile) {
    return { query: query as number, keyValue: keyValue as number };
  }
  throw failure({
    what: `config.json has ${query} query and ${keyValue} key-value heads, the GGUF file ${inFile} and ${keyValueInFile}`,
    where: file,
    fix: 'use the config.json and the GGUF file of the same model',
  });
}

function sourceOf<Info extends { readonly shape: readonly number[] }>(
  kind: WeightSource['kind'],
  files: string[],
  tensors: Map<string, Info>,
  readInfo: (info: Info, name: string) => Promise<Float32Array>,
): WeightSource {
  const find = (name: string): Info => {
    const info = tensors.get(name);
    if (info === undefined) throw failure({ what: `the model has no tensor ${name}`, where: files.join(', ') });
    return info;
  };
  return {
    kind,
    files,
    names: () => [...tensors.keys()],
    shape: (name) => [...find(name).shape],
    read: async (name) => readInfo(find(name), name),
  };
}

/** Buffers of old files that are computed, not learned: frequencies, and GPT-2's causal masks. */
const COMPUTED = /\.rotary_emb\.inv_freq$|\.attn\.(masked_)?bias$/;

/**
 * Checks that the source has exactly the tensors a model needs; throws one failure that lists all that are missing, extra or
 * misshaped. Not extra: buffers that are computed, and an lm_head that the model ties to its embedding.
 */
export function checkWeights(
  source: WeightSource,
  expected: readonly { name: string; shape: readonly number[] }[],
  config = 'config.json',
): void {
  const problems: string[] = [];
  const present = new Set(source.names());
  const wanted = new Set(expected.map(({ name }) => name));
  for (const { name, shape } of expected) {
    if (!present.has(name)) {
      problems.push(`missing: ${name} [${shape.join(', ')}]`);
    } else if (source.shape(name).join() !== shape.join()) {
      problems.push(`misshaped: ${name} [${source.shape(name).join(', ')}], expected [${shape.join(', ')}]`);
    }
  }
  for (const name of present) {
    if (wanted.has(name) || COMPUTED.test(name) || name === 'lm_head.weight') continue;
    problems.push(`extra: ${name} [${source.shape(name).join(', ')}]`);
  }
  if (problems.length === 0) return;
  throw failure({
    what: `the weights do not fit ${config}:${problemLines(problems, '    ')}`,
    where: source.files.join(', '),
    fix: `use the weights and the ${config} of the same model`,
  });
}
