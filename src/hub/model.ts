// A model's name -> a directory: the one that lies there, or one in Hugging Face's cache with the files that are needed.
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Env, exists, failure, usageError } from '../util/index.ts';
import { hubName } from './names.ts';
import { type HubOptions, openRepository, type Repository } from './repository.ts';

/** What besides config and weights makes up a model: fetched, copied into saved directories, part of their identity. */
export const COMPANION_FILES = [
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'tokenizer.model',
  'vocab.json',
  'vocab.txt',
  'merges.txt',
];
const CONFIG = 'config.json';
const ADAPTER = ['adapter_config.json', 'adapter_model.safetensors'];
const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
/** An index of shards names each tensor once; a larger one is none. */
const MAX_INDEX_BYTES = 64 * 1024 * 1024;

/** Where a thing is, and what it is called when it came from the Hub. */
export interface LocalModel {
  /** Or a GGUF file. */
  readonly directory: string;
  /** org/name@COMMIT, of a file that was named with :FILE; null for what lay here already. */
  readonly source: string | null;
}

/**
 * The directory of a model: what lies at this path, else what the Hub has under this name. The base of an adapter is fetched
 * as well.
 * @throws usage error when there is neither; what is wrong with a path that can be no name is left to the one who reads it
 */
export async function localModel(given: string, options: HubOptions): Promise<LocalModel> {
  const found = await fetched(given, options);
  await fetchBase(found.directory, options);
  return found;
}

/** An adapter needs its base, which it names: by its place here, or by its name on the Hub. */
async function fetchBase(directory: string, options: HubOptions): Promise<void> {
  const text = await readFile(join(directory, ADAPTER[0]!), 'utf8').catch(() => undefined);
  if (text === undefined) return;
  // What is wrong with the file is for the one who reads it.
  const [, base = ''] = /"base_model_name_or_path"\s*:\s*"([^"\\]+)"/.exec(text) ?? [];
  if (!(await exists(join(directory, base)))) await fetched(base, options);
}

async function fetched(given: string, options: HubOptions): Promise<LocalModel> {
  const name = (await exists(given)) ? undefined : hubName('model', given);
  if (name === undefined) return { directory: given, source: null };
  const repository = await openRepository(name, given, options);
  const [wanted] = name.parts;
  if (wanted !== undefined) return fetchedFile(repository, wanted);
  const paths = new Set(repository.paths);
  const small = [CONFIG, ...COMPANION_FILES, INDEX, ADAPTER[0]!].filter((path) => paths.has(path));
  if (!paths.has(CONFIG) && !paths.has(ADAPTER[0]!) && ggufs(paths).length === 0) {
    throw usageError({
      what: `${name.id} is no model of a language: it has no ${CONFIG} and no *.gguf`,
      where: `${name.id}@${repository.commit}`,
      fix: 'name a repository with a config.json; a data set is given with --data',
    });
  }
  const directory = await repository.fetch(small);
  await repository.fetch([...small, ...(await weightsOf(repository, paths, directory))]);
  await repository.keep();
  return { directory, source: `${name.id}@${repository.commit}` };
}

/** One GGUF file, which is a model by itself: by its name, or by a part of the name that no other has. */
async function fetchedFile(repository: Repository, wanted: string): Promise<LocalModel> {
  const { name, commit, paths } = repository;
  const all = ggufs(new Set(paths));
  const meant = all.filter((path) => path.toLowerCase().includes(wanted.toLowerCase()));
  const file = all.find((path) => path === wanted) ?? (meant.length === 1 ? meant[0] : undefined);
  if (file === undefined) {
    throw usageError({
      what: `${meant.length === 0 ? 'no' : `${meant.length}`} GGUF files of ${name.id} are called "${wanted}"; it has ${listed(all)}`,
      where: `${name.id}@${commit}`,
      fix: 'name one, or a part of its name that no other has: org/name:FILE',
    });
  }
  const directory = await repository.fetch([file]);
  await repository.keep();
  return { directory: join(directory, file), source: `${name.id}@${commit}:${file}` };
}

const listed = (files: readonly string[]): string =>
  files.length === 0 ? 'none' : `${files.slice(0, 12).join(', ')}${files.length > 12 ? ', …' : ''}`;

/** The directory of a model of the Hub that is in the cache; undefined where it is not. Nobody is asked. */
export async function cachedModel(given: string, env: Env = process.env): Promise<string | undefined> {
  const found = await fetched(given, { env: { ...env, HF_HUB_OFFLINE: '1' } }).catch(() => undefined);
  return found?.source == null ? undefined : found.directory;
}

const ggufs = (paths: ReadonlySet<string>) => [...paths].filter((path) => /^[^/]+\.gguf$/.test(path));

/** Files of weights; `directory` has the index. */
async function weightsOf(
  { name, commit }: Repository,
  paths: ReadonlySet<string>,
  directory: string,
): Promise<string[]> {
  const where = `${name.id}@${commit}`;
  const lacks = (what: string, fix: string) => usageError({ what: `${name.id} ${what}`, where, fix });
  if (ADAPTER.every((path) => paths.has(path))) return [ADAPTER[1]!];
  if (paths.has(ADAPTER[0]!)) throw lacks(`has an adapter without ${ADAPTER[1]}`, 'get it as safetensors');
  if (paths.has(SINGLE)) return [SINGLE];
  if (paths.has(INDEX)) {
    const shards = await shardsOf(join(directory, INDEX));
    const missing = shards.find((path) => !paths.has(path));
    if (missing === undefined) return shards;
    throw failure({
      what: `the index of shards names a file that ${name.id} has not: ${JSON.stringify(missing)}`,
      where,
    });
  }
  const found = ggufs(paths);
  if (found.length === 1) return found;
  if (found.length > 1) {
    throw lacks(
      `has ${found.length} GGUF files (${listed(found)}), and nothing says which one is meant`,
      `name one, or a part of its name that no other has: ${name.id}:${found[0]}`,
    );
  }
  const pickle = [...paths].find((path) => /\.(bin|pt|pth)$/.test(path));
  throw lacks(
    pickle === undefined
      ? 'has no weights'
      : `has its weights only as ${pickle}: pickled files can run code and are never opened`,
    'name a repository with model.safetensors',
  );
}

/** The files that an index names, each once. */
async function shardsOf(index: string): Promise<string[]> {
  const bad = (what: string) => failure({ what: `invalid index of shards: ${what}`, where: index });
  if ((await stat(index)).size > MAX_INDEX_BYTES) throw bad(`it has more than ${MAX_INDEX_BYTES} bytes`);
  let map: unknown;
  try {
    map = (JSON.parse(await readFile(index, 'utf8')) as { weight_map?: unknown } | null)?.weight_map;
  } catch (error) {
    throw bad((error as Error).message);
  }
  if (typeof map !== 'object' || map === null) throw bad('no object weight_map');
  const shards = new Set(Object.values(map));
  if (![...shards].every((shard) => typeof shard === 'string')) throw bad('a file name that is no text');
  return [...shards] as string[];
}
