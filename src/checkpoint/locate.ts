// Which files of a model directory hold its weights: one safetensors file, shards with an index, or one GGUF file.
// Notable choices: names in an index come from strangers, so a shard must lie inside the directory (or, in a Hugging Face cache,
// inside the same repository's blobs); pickled weights (*.bin) are never opened.

import { readdir, realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, sep } from 'node:path';
import { isGgufFile, parseStrictJson, type StrictJson } from '../formats/index.ts';
import { failure, usageError } from '../util/index.ts';
import { readText } from './text.ts';

const SINGLE_FILE = 'model.safetensors';
const INDEX_FILE = 'model.safetensors.index.json';

/** The weight files of a model; `map` (tensor -> file) only for a sharded one. Paths begin with the model directory. */
export interface WeightFiles {
  readonly kind: 'safetensors' | 'gguf';
  readonly files: string[];
  readonly map?: Map<string, string>;
  /** The index of a sharded model. */
  readonly index?: string;
}

/** Finds the weights: the model itself if it is a GGUF file, else model.safetensors, else the sharded index, else exactly one *.gguf. Throws an error that names the fix. */
export async function locateWeights(modelDir: string): Promise<WeightFiles> {
  if (await isGgufFile(modelDir)) return { kind: 'gguf', files: [modelDir] };
  let names: string[];
  try {
    names = (await readdir(modelDir)).sort();
  } catch (error) {
    throw usageError({ what: `cannot read the model directory: ${(error as Error).message}`, where: modelDir });
  }
  if (names.includes(SINGLE_FILE)) return { kind: 'safetensors', files: [join(modelDir, SINGLE_FILE)] };
  if (names.includes(INDEX_FILE)) return locateShards(modelDir);
  const ggufs = names.filter((name) => name.endsWith('.gguf'));
  if (ggufs.length === 1) return { kind: 'gguf', files: [join(modelDir, ggufs[0] as string)] };
  if (ggufs.length > 1) {
    throw usageError({
      what: `${ggufs.length} GGUF files (${ggufs.join(', ')}), and nothing says which one is meant`,
      where: modelDir,
      fix: 'give the one that is meant in place of the directory',
    });
  }
  const pickles = names.filter((name) => /^pytorch_model.*\.bin$/.test(name));
  throw usageError(
    pickles.length > 0
      ? {
          what: `the weights are only there as ${pickles[0]}: pickled files can run code and are never opened`,
          where: modelDir,
          fix: 'get the model as safetensors, or convert it with save_pretrained of Python transformers',
        }
      : { what: `no weights: neither ${SINGLE_FILE}, ${INDEX_FILE} nor a *.gguf file`, where: modelDir },
  );
}

async function locateShards(modelDir: string): Promise<WeightFiles> {
  const index = join(modelDir, INDEX_FILE);
  const bad = (what: string) => failure({ what: `invalid index of shards: ${what}`, where: index });
  let value: StrictJson;
  try {
    value = parseStrictJson(await readText(index));
  } catch (error) {
    throw error instanceof SyntaxError ? bad(error.message) : error;
  }
  const weightMap = value instanceof Map ? value.get('weight_map') : undefined;
  if (!(weightMap instanceof Map)) throw bad('no object weight_map');
  const paths = new Map<string, string>();
  const map = new Map<string, string>();
  for (const [tensor, shard] of weightMap) {
    if (typeof shard !== 'string') throw bad(`weight_map value of ${JSON.stringify(tensor)} is not a file name`);
    const path = paths.get(shard) ?? (await shardPath(modelDir, shard, bad));
    paths.set(shard, path);
    map.set(tensor, path);
  }
  return { kind: 'safetensors', files: [...paths.values()].sort(), map, index };
}

async function shardPath(modelDir: string, shard: string, bad: (what: string) => Error): Promise<string> {
  const plain = shard !== '' && shard.split(/[/\\]/).every((part) => part !== '..' && !part.includes('\0'));
  if (!plain || isAbsolute(shard)) throw bad(`shard ${JSON.stringify(shard)} is not a path inside the directory`);
  const path = join(modelDir, shard);
  const root = await realpath(modelDir);
  let real: string;
  try {
    real = await realpath(path);
  } catch {
    throw bad(`the shard ${JSON.stringify(shard)} is missing`);
  }
  // Hugging Face caches keep REPO/snapshots/REVISION/file as links to REPO/blobs/HASH.
  const snapshots = dirname(root);
  const blobs = basename(snapshots) === 'snapshots' ? join(dirname(snapshots), 'blobs') : root;
  if (![root, blobs].some((folder) => real.startsWith(folder + sep))) {
    throw bad(`shard ${JSON.stringify(shard)} is a link to a place outside the directory`);
  }
  return path;
}
