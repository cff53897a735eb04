// A model as one GGUF file for llama.cpp and what is built on it: weights in the type that is asked for, sizes, tokenizer, template.
// Norms and biases stay F32, as llama.cpp wants them, and so do matrices whose rows are not whole blocks of the type.

import {
  blockType,
  castTensor,
  type GgufTensorToWrite,
  type GgufValue,
  type WritableType,
  writeGguf,
} from '../formats/index.ts';
import { ggufTokenizer } from '../tokens/index.ts';
import { diskIo, type Io } from '../util/index.ts';
import { checkSaysAll } from './gguf-check.ts';
import { metadataOfConfig } from './gguf-config.ts';
import { changedShape, changeOf, ggufName, tensorLayout, toGguf } from './gguf-names.ts';
import { ROPE_FREQS } from './gguf-rope.ts';
import type { Cast, WholeModel } from './whole.ts';

/** general.file_type: what most tensors are. */
const FILE_TYPES: Readonly<Record<WritableType, number>> = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 7, BF16: 32 };
const QUANTIZATION_VERSION = 2;

export interface GgufFigures {
  readonly tensors: number;
  /** Matrices that stayed F32 because their rows are not whole blocks. */
  readonly unblocked: number;
}

export interface GgufOptions {
  /** What the file says that the model is called. */
  readonly name: string;
  /** Whether programs put a BOS before every text; default: whether the tokenizer does. */
  readonly addBos?: boolean;
}

/** The type in which a tensor is stored: norms and biases in F32, and so matrices whose rows are not whole blocks. */
const storedType = (shape: readonly number[], type: WritableType): WritableType =>
  shape.length > 1 && shape.at(-1)! % blockType(type).elements === 0 ? type : 'F32';

/** The weights as a GGUF file of this type holds them. */
export const castGguf =
  (type: WritableType): Cast =>
  ({ name, shape }, values) =>
    castTensor(values, storedType(shape, type), name);

/**
 * Writes a whole model to `file`, atomically.
 * @throws usage error for a model or tokenizer that llama.cpp could not run as it is; failure as `writeGguf`
 */
export async function writeGgufModel(
  { dir, config, model, weights }: WholeModel,
  file: string,
  type: WritableType,
  { name: title, addBos }: GgufOptions,
  io: Io = diskIo,
): Promise<GgufFigures> {
  const { parameters, headDim, contextLength, vocabSize } = model;
  const { architecture, metadata: sizes, rope } = metadataOfConfig(config, { headDim, contextLength });
  const query = Number(config['num_attention_heads'] ?? config['n_head']);
  const heads = { query, keyValue: Number(config['num_key_value_heads'] ?? query) };
  const layout = tensorLayout(architecture, file);
  let unblocked = 0;
  const tensors = parameters.map(({ name, shape, transposed }): GgufTensorToWrite => {
    // A parameter that Hugging Face's files hold the other way round is here as GGUF has it.
    const change = transposed ? undefined : changeOf(layout, name, heads);
    const stored = changedShape(shape, change);
    const own = storedType(stored, type);
    if (stored.length > 1 && own !== type) unblocked++;
    return {
      name: ggufName(layout, name),
      type: own,
      shape: stored,
      data: async () => toGguf(await weights.read(name), shape, change),
    };
  });
  const { divisors } = rope;
  if (divisors !== undefined) {
    tensors.unshift({ name: ROPE_FREQS, type: 'F32', shape: [divisors.length], data: async () => divisors });
  }
  const tokenizer = await ggufTokenizer(dir, vocabSize, { architecture, addBos });
  const text = (value: string): GgufValue => ({ type: 'string', value });
  const number = (value: number): GgufValue => ({ type: 'u32', value });
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', text(architecture)],
    ['general.type', text('model')],
    ['general.name', text(nameFor(title, architecture, tokenizer))],
    ['general.file_type', number(FILE_TYPES[type])],
    ['general.quantization_version', number(QUANTIZATION_VERSION)],
    ...sizes,
    [`${architecture}.vocab_size`, number(vocabSize)],
    ...rope.metadata,
    ...tokenizer,
  ]);
  await checkSaysAll(config, { file, metadata, tensors });
  await writeGguf(file, metadata, tensors, io);
  return { tensors: tensors.length, unblocked };
}

/** What the file is called. That the control tokens of Phi-3's pieces take the spaces after them along, llama.cpp sees from the name alone. */
function nameFor(title: string, architecture: string, tokenizer: ReadonlyMap<string, GgufValue>): string {
  const isPhi3 = architecture === 'phi3' && tokenizer.get('tokenizer.ggml.model')?.value === 'llama';
  return isPhi3 && !/phi-?3/i.test(title) ? `${title} (Phi-3)` : title;
}
