// A model as a Hugging Face directory: reading its config, saving one that Python transformers can load, and its identity.

import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ggufInPlaceOf, isGgufFile, parseStrictJson, type TensorToWrite, writeShards } from '../formats/index.ts';
import { COMPANION_FILES } from '../hub/index.ts';
import { ggufCompanions } from '../tokens/index.ts';
import {
  canonicalJson,
  diskIo,
  exists,
  failure,
  hashFile,
  type Io,
  MANIFEST_NAME,
  publishDirectory,
  readManifest,
  sha256Hex,
  usageError,
  withFile,
  writeAll,
} from '../util/index.ts';
import { configOfGguf } from './gguf-config.ts';
import { locateWeights } from './locate.ts';
import { ADAPTER_CONFIG, ADAPTER_FILE, baseDirectory, isAdapterDirectory, readAdapterConfig } from './peft.ts';
import { readText } from './text.ts';

const CONFIG_FILE = 'config.json';

/** Where the config of a model is: config.json in its directory, or the GGUF file that speaks for it. */
export async function configPlace(model: string): Promise<string> {
  return (await ggufInPlaceOf(CONFIG_FILE, model)) ?? join(model, CONFIG_FILE);
}

/**
 * The object in a model directory's config.json, or what a GGUF file has in its place. Throws for a missing, truncated or too deeply nested file, a byte order mark,
 * duplicate keys and anything that is not one JSON object. Its values are not checked here.
 */
export async function readModelConfig(dir: string): Promise<Record<string, unknown>> {
  const gguf = await ggufInPlaceOf(CONFIG_FILE, dir);
  if (gguf !== undefined) return configOfGguf(gguf);
  const file = join(dir, CONFIG_FILE);
  if (!(await exists(file))) {
    throw usageError({
      what: (await exists(dir)) ? `not a model directory: no ${CONFIG_FILE}` : 'there is no such model',
      where: dir,
      fix: 'give a Hugging Face model directory, or a GGUF file',
    });
  }
  const text = await readText(file);
  const bad = (what: string) =>
    failure({ what: `invalid ${CONFIG_FILE}: ${what}`, where: file, fix: 'fetch it again' });
  if (text.startsWith('\ufeff')) throw bad('it begins with a byte order mark');
  try {
    if (!(parseStrictJson(text) instanceof Map)) throw bad('not an object');
  } catch (error) {
    throw error instanceof SyntaxError ? bad(error.message) : error;
  }
  return JSON.parse(text) as Record<string, unknown>;
}

/** What a saved model is made of: `sourceDir` gives the tokenizer and generation settings, `config` and `tensors` the model. */
export interface ModelToSave {
  readonly sourceDir: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: readonly TensorToWrite[];
  /** More files by name, with their text. */
  readonly files?: ReadonlyMap<string, string>;
  /** Largest file of weights, in bytes; default: 5 GB. */
  readonly shardBytes?: number;
  /** Looks at the directory before it gets its name; what it throws keeps that from happening. */
  readonly check?: (temporary: string) => Promise<void>;
}

/** What config.json calls the dtypes of tensors. */
const DTYPE_NAMES: Readonly<Record<string, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };

/**
 * Saves a model directory, all at once (see publishDirectory): config.json, the weights (one file or shards), the source's tokenizer
 * and generation files as they are, and files.json with sizes and hashes. Replaces an existing directory.
 */
export async function saveModelDirectory(dir: string, model: ModelToSave, io: Io = diskIo): Promise<void> {
  const dtype = DTYPE_NAMES[model.tensors[0]!.dtype];
  const config = { ...model.config, dtype, torch_dtype: dtype };
  await publishDirectory(
    dir,
    async (temporary) => {
      await writeNew(
        io,
        join(temporary, CONFIG_FILE),
        new TextEncoder().encode(`${JSON.stringify(config, null, 2)}\n`),
      );
      const ofGguf = await ggufCompanions(model.sourceDir);
      for (const [name, text] of ofGguf ?? []) {
        await writeNew(io, join(temporary, name), new TextEncoder().encode(text));
      }
      for (const name of ofGguf === undefined ? await companionsIn(model.sourceDir) : []) {
        await writeNew(io, join(temporary, name), await readFile(join(model.sourceDir, name)));
      }
      await writeShards(temporary, model.tensors, model.shardBytes, io);
      for (const [name, text] of model.files ?? []) {
        await writeNew(io, join(temporary, name), new TextEncoder().encode(text));
      }
      await model.check?.(temporary);
    },
    io,
  );
}

/** Those of COMPANION_FILES that a model has as files. */
async function companionsIn(model: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of COMPANION_FILES) if (await exists(join(model, name))) found.push(name);
  return found;
}

async function writeNew(io: Io, path: string, data: Uint8Array): Promise<void> {
  await withFile(io, path, 'wx', (file) => writeAll(file, data));
}

/** SHA-256 in hex of each file that makes up a model, by name. */
export type ModelFiles = Readonly<Record<string, string>>;

/**
 * Identity of a model, in hex: it changes when a byte of config, generation settings, tokenizer or weights changes, and not with
 * the directory's place, nor with the name of a GGUF file that is the model. That of an adapter covers its base. Weights listed in a files.json count by the hash there (after a
 * check of their sizes), others are read.
 */
export async function hashModelDirectory(dir: string): Promise<string> {
  return modelIdentity(await hashFiles(dir, 'listed'));
}

/** What `hashModelDirectory` says of a model with these files. */
export function modelIdentity(files: ModelFiles): string {
  return sha256Hex(canonicalJson(files));
}

/**
 * Every file that makes up a model, the weights read as well.
 * @throws failure when a file of weights is not the one that files.json lists
 */
export async function hashModelFiles(dir: string): Promise<ModelFiles> {
  const listed = await listedHashes(dir);
  const files = await hashFiles(dir, 'read');
  for (const [name, sha256] of Object.entries(files)) {
    const expected = WEIGHTS.test(name) ? listed.get(name) : undefined;
    if (expected === undefined || expected === sha256) continue;
    throw failure({ what: `damaged file: its SHA-256 differs from ${MANIFEST_NAME}`, where: join(dir, name) });
  }
  return files;
}

const WEIGHTS = /\.(safetensors|gguf)$/;

async function listedHashes(dir: string): Promise<ReadonlyMap<string, string>> {
  return new Map((await readManifest(dir))?.map((file) => [file.path, file.sha256]));
}

/** @param weights whether weights count by the hash in files.json, where there is one, or are all read */
async function hashFiles(dir: string, weights: 'listed' | 'read'): Promise<ModelFiles> {
  if (await isAdapterDirectory(dir)) return hashAdapter(dir, weights);
  const known = weights === 'listed' ? await listedHashes(dir) : new Map<string, string>();
  const hashes: Record<string, string> = {};
  const config = (await exists(join(dir, CONFIG_FILE))) ? [CONFIG_FILE] : [];
  for (const name of [...config, ...(await companionsIn(dir))]) {
    hashes[name] = (await hashFile(join(dir, name))).sha256;
  }
  const { files, index } = await locateWeights(dir);
  if (await isGgufFile(dir)) return { 'model.gguf': (await hashFile(dir)).sha256 };
  for (const path of index === undefined ? files : [index, ...files]) {
    hashes[basename(path)] = known.get(basename(path)) ?? (await hashFile(path)).sha256;
  }
  return hashes;
}

/** An adapter's own files and those of its base below "base/". Where the base lies is no part of what the adapter is. */
async function hashAdapter(dir: string, weights: 'listed' | 'read'): Promise<ModelFiles> {
  const { config } = await readAdapterConfig(dir);
  const listed = weights === 'listed' ? (await listedHashes(dir)).get(ADAPTER_FILE) : undefined;
  const hashes: Record<string, string> = {
    [ADAPTER_CONFIG]: sha256Hex(canonicalJson(config)),
    [ADAPTER_FILE]: listed ?? (await hashFile(join(dir, ADAPTER_FILE))).sha256,
  };
  for (const name of await companionsIn(dir)) hashes[name] = (await hashFile(join(dir, name))).sha256;
  const ofBase = await hashFiles(await baseDirectory(dir), weights);
  for (const [name, sha256] of Object.entries(ofBase)) hashes[`base/${name}`] = sha256;
  return hashes;
}
