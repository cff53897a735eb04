// A model as one GGUF file for llama.cpp and what is built on it: weights in the type that is asked for, sizes, tokenizer, template.
// Norms and biases stay F32, as llama.cpp wants them, and so do matrices whose rows are not whole blocks of the type.

import { basename } from 'node:path';
import { blockType, type GgufTensorToWrite, type GgufValue, type WritableType, writeGguf } from '../formats/index.ts';
import { modelFromConfig } from '../models/index.ts';
import { ggufTokenizer } from '../tokens/index.ts';
import { diskIo, type Io, usageError } from '../util/index.ts';
import { checkSaysAll } from './gguf-check.ts';
import { metadataOfConfig } from './gguf-config.ts';
import { changedShape, changeOf, ggufName, tensorLayout, toGguf } from './gguf-names.ts';
import { ROPE_FREQS } from './gguf-rope.ts';
import { asParameters } from './layout.ts';
import { configPlace, readModelConfig } from './modeldir.ts';
import { companionDirectory, isAdapterDirectory } from './peft.ts';
import { checkWeights, openWeights } from './weights.ts';

/** general.file_type: what most tensors are. */
const FILE_TYPES: Readonly<Record<WritableType, number>> = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 7, BF16: 32 };
const QUANTIZATION_VERSION = 2;

export interface GgufFigures {
  readonly tensors: number;
  /** Matrices that stayed F32 because their rows are not whole blocks. */
  readonly unblocked: number;
}

/**
 * Writes a whole model (a directory or a GGUF file) to `file`, atomically.
 * @throws usage error for an adapter, and for a model or tokenizer that llama.cpp could not run as it is; failure as `writeGguf`
 */
export async function writeGgufModel(
  model: string,
  file: string,
  type: WritableType,
  io: Io = diskIo,
): Promise<GgufFigures> {
  if (await isAdapterDirectory(model)) {
    throw usageError({
      what: 'an adapter alone cannot be written to a GGUF file',
      where: model,
      fix: `merge it first: selfplay merge ${model}`,
    });
  }
  const config = await readModelConfig(model);
  const { parameters, headDim, contextLength, vocabSize } = modelFromConfig(config, await configPlace(model));
  const { architecture, metadata: sizes, rope } = metadataOfConfig(config, { headDim, contextLength });
  const source = asParameters(await openWeights(model, config), parameters);
  checkWeights(source, parameters);
  const query = Number(config['num_attention_heads'] ?? config['n_head']);
  const heads = { query, keyValue: Number(config['num_key_value_heads'] ?? query) };
  const layout = tensorLayout(architecture, file);
  let unblocked = 0;
  const tensors = parameters.map(({ name, shape, transposed }): GgufTensorToWrite => {
    // A parameter that Hugging Face's files hold the other way round is here as GGUF has it.
    const change = transposed ? undefined : changeOf(layout, name, heads);
    const stored = changedShape(shape, change);
    const blocked = stored.length > 1 && stored.at(-1)! % blockType(type).elements === 0;
    if (stored.length > 1 && !blocked) unblocked++;
    return {
      name: ggufName(layout, name),
      type: blocked ? type : 'F32',
      shape: stored,
      data: async () => toGguf(await source.read(name), shape, change),
    };
  });
  const { divisors } = rope;
  if (divisors !== undefined) {
    tensors.unshift({ name: ROPE_FREQS, type: 'F32', shape: [divisors.length], data: async () => divisors });
  }
  const tokenizer = await ggufTokenizer(await companionDirectory(model), vocabSize, architecture);
  const text = (value: string): GgufValue => ({ type: 'string', value });
  const number = (value: number): GgufValue => ({ type: 'u32', value });
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', text(architecture)],
    ['general.type', text('model')],
    ['general.name', text(nameOf(model, architecture, tokenizer))],
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

/** The name of the model. That the control tokens of Phi-3's pieces take the spaces after them along, llama.cpp sees from the name alone. */
function nameOf(model: string, architecture: string, tokenizer: ReadonlyMap<string, GgufValue>): string {
  const name = basename(model).replace(/\.gguf$/, '');
  const isPhi3 = architecture === 'phi3' && tokenizer.get('tokenizer.ggml.model')?.value === 'llama';
  return isPhi3 && !/phi-?3/i.test(name) ? `${name} (Phi-3)` : name;
}
