// Whether the metadata of a GGUF file say all that decides what a model computes: they are read back as a config.json, and the forward
// graphs of both are compared. What llama.cpp has no key for, such as layers that do not turn by a rule of their own, shows there.

import { type GgufTensorToWrite, type GgufValue, readMetadata } from '../formats/index.ts';
import type { Value } from '../graph/index.ts';
import { modelFromConfig } from '../models/index.ts';
import { canonicalJson, usageError } from '../util/index.ts';
import { configOfMetadata } from './gguf-config.ts';
import { logitsGraph } from './logits.ts';

type Config = Readonly<Record<string, unknown>>;

/** What is going to be written. */
interface GgufToWrite {
  readonly file: string;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: readonly GgufTensorToWrite[];
}

/** Throws a usage error that names the fields of config.json at fault. */
export async function checkSaysAll(config: Config, { file, metadata, tensors }: GgufToWrite): Promise<void> {
  const values = new Map(
    [...metadata].map(([key, { type, value }]) => [key, type === 'f32' ? Math.fround(value) : value]),
  );
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const read = await configOfMetadata(readMetadata(values, file), byName, async (name) => byName.get(name)?.data());
  const original = forward(config, file);
  const computesTheSame = (other: Config): boolean => {
    try {
      return forward(other, file) === original;
    } catch {
      return false;
    }
  };
  if (computesTheSame(read)) return;
  const fields = Object.keys(config).filter((field) => !computesTheSame({ ...config, [field]: read[field] }));
  throw usageError({
    what: `${fields.join(', ') || 'config.json'} cannot be written to a GGUF file: the model would compute otherwise`,
    fix: 'export to Hugging Face format',
  });
}

/** All that the logits are computed by, as text. Throws where no such model can be built. */
function forward(config: Config, file: string): string {
  const { nodes } = logitsGraph(modelFromConfig(config, file));
  const link = ({ node, index }: Value) => [node.id, index];
  return canonicalJson(nodes.map(({ op, inputs, attributes }) => [op, inputs.map(link), attributes]));
}
