// The small files of a model that say how it reads and writes text: those in its directory, or, where a GGUF file speaks for the
// model, those that its metadata say.

import { basename, join, resolve } from 'node:path';
import { ggufInPlaceOf, readModelGguf } from '../formats/index.ts';
import { exists, usageError } from '../util/index.ts';
import { type Companions, readOptionalText } from './files.ts';
import { tokenizerFiles } from './ggufTokenizer.ts';

/** The small files of a model. What is wrong with a GGUF file's metadata is thrown here. */
export async function openCompanions(model: string): Promise<Companions> {
  const dir = resolve(model);
  const gguf = await ggufInPlaceOf('tokenizer.json', dir);
  if (gguf === undefined) {
    if (!(await exists(dir))) {
      throw usageError({
        what: 'there is no such model',
        where: dir,
        fix: 'give a Hugging Face model directory, or a GGUF file',
      });
    }
    return {
      name: basename(dir),
      where: (name) => join(dir, name),
      read: (name) => readOptionalText(join(dir, name)),
    };
  }
  const files = tokenizerFiles((await readModelGguf(gguf)).metadata, gguf);
  return { name: basename(dir), where: (name) => `${gguf} (as ${name})`, read: async (name) => files.get(name) };
}

/** The tokenizer's files that a GGUF file stands for in a model, by name; undefined where the model has them as files. */
export async function ggufCompanions(model: string): Promise<ReadonlyMap<string, string> | undefined> {
  const gguf = await ggufInPlaceOf('tokenizer.json', resolve(model));
  return gguf === undefined ? undefined : tokenizerFiles((await readModelGguf(gguf)).metadata, gguf);
}
