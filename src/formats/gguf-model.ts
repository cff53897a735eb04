// When a GGUF file speaks for a whole model: its metadata then stand for config.json, or for the tokenizer's files.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { diskIo, usageError, withFile } from '../util/index.ts';
import { type GgufFile, readGguf } from './gguf.ts';

const MAGIC = 'GGUF';

/** Whether a model is given as a GGUF file, by its name or, under another name (a link), by its first bytes; not as a directory. */
export async function isGgufFile(model: string): Promise<boolean> {
  if ((await diskIo.stat(model))?.type !== 'file') return false;
  if (model.endsWith('.gguf')) return true;
  const first = new Uint8Array(MAGIC.length);
  const count = await withFile(diskIo, model, 'r', (file) => file.read(first)).catch(() => 0);
  return count === MAGIC.length && Buffer.from(first).toString('latin1') === MAGIC;
}

/**
 * The GGUF file whose metadata say what the file `name` would: the model itself, if it is one; else the only one of a directory that
 * has neither `name` nor safetensors. Undefined where there is none.
 */
export async function ggufInPlaceOf(name: string, model: string): Promise<string | undefined> {
  if (await isGgufFile(model)) return model;
  const names = await readdir(model).catch(() => []);
  const [gguf, ...more] = names.filter((each) => each.endsWith('.gguf'));
  const speaks = more.length === 0 && !names.some((each) => each === name || each.endsWith('.safetensors'));
  return gguf !== undefined && speaks ? join(model, gguf) : undefined;
}

/** `readGguf` for a file that must be a whole model: one piece of a split model is a usage error. */
export async function readModelGguf(file: string): Promise<GgufFile> {
  const gguf = await readGguf(file);
  const pieces = gguf.metadata.get('split.count') ?? 1;
  if (pieces === 1 || pieces === 0) return gguf;
  throw usageError({
    what: `the file is one of ${String(pieces)} pieces of a split model`,
    where: file,
    fix: "put the pieces together with llama.cpp's llama-gguf-split --merge",
  });
}
