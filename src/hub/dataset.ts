// A data set's name -> files: those that lie here, or those of one config and split in Hugging Face's cache.
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { exists, failure, SelfplayError, usageError } from '../util/index.ts';
import { convertedConfigs, type DataConfig, dataConfigs, isConversion, missingShards } from './configs.ts';
import { type HubName, hubName } from './names.ts';
import { type HubOptions, openRepository, type Repository } from './repository.ts';

const README = 'README.md';
const MAX_README_BYTES = 4 * 1024 * 1024;
/** Where the Hub keeps every data set as parquet, those that are made by a program as well. */
const CONVERTED = 'refs/convert/parquet';

/** Where data are, and what they are called when they came from the Hub. */
export interface LocalData {
  readonly files: readonly string[];
  /** org/name@COMMIT:config:split; null for what lay here already. */
  readonly source: string | null;
}

/**
 * The files of data: what lies at this path, else a config and split of what the Hub has under this name.
 * @throws usage error when there is neither, or when config and split are not clear: those that there are are listed
 */
export async function localData(given: string, options: HubOptions): Promise<LocalData> {
  const name = (await exists(given)) ? undefined : hubName('dataset', given);
  if (name === undefined) return { files: [given], source: null };
  let repository = await openRepository(name, given, options);
  let { configs, partial } = isConversion(repository.paths)
    ? convertedConfigs(repository.paths)
    : { configs: await configsOf(repository), partial: new Set<string>() as ReadonlySet<string> };
  if (configs.length === 0) {
    const converted = await openConverted(name, given, repository, options);
    options.say?.(`${name.id} has no data in files that can be read: taken from the Hub's own copy as parquet.`);
    repository = converted;
    ({ configs, partial } = convertedConfigs(converted.paths));
  }
  const { config, split, paths } = choose(configs, name);
  if (partial.has(`${config}/${split}`)) {
    options.say?.(`Warning: the Hub has only the first part of ${config}/${split} as parquet; the rest is not there.`);
  }
  const missing = missingShards(paths);
  if (missing.length > 0) {
    throw failure({
      what: `${name.id} has not all parts of ${config}/${split}: ${missing.join(', ')}`,
      where: `${name.id}@${repository.commit}`,
      fix: 'name another revision',
    });
  }
  const directory = await repository.fetch(paths);
  await repository.keep();
  return {
    files: paths.map((path) => join(directory, path)),
    source: `${name.id}@${repository.commit}:${config}:${split}`,
  };
}

async function openConverted(
  name: HubName,
  given: string,
  { commit }: Repository,
  options: HubOptions,
): Promise<Repository> {
  try {
    return await openRepository({ ...name, revision: CONVERTED }, given, options);
  } catch (error) {
    if (!(error instanceof SelfplayError) || error.kind !== 'usage') throw error;
    throw usageError({
      what: `${name.id} has no data that can be read: no parquet, JSON, CSV or TSV, and no copy as parquet`,
      where: `${name.id}@${commit}`,
      fix: 'name another data set, or convert it with Python: load_dataset(...)["train"].to_json("train.jsonl")',
      cause: error,
    });
  }
}

async function configsOf(repository: Repository): Promise<DataConfig[]> {
  const { paths } = repository;
  if (!paths.includes(README)) return nonEmpty(dataConfigs(paths, undefined, README));
  const file = join(await repository.fetch([README]), README);
  return nonEmpty(dataConfigs(paths, (await frontMatter(file))?.['configs'], file));
}

const nonEmpty = (configs: readonly DataConfig[]) => configs.filter(({ splits }) => splits.size > 0);

/** What stands between the first two lines of dashes; undefined where nothing does. */
async function frontMatter(file: string): Promise<Record<string, unknown> | undefined> {
  if ((await stat(file)).size > MAX_README_BYTES) return undefined;
  const [, text] = /^\ufeff?---[ \t]*\r?\n([\s\S]*?)\r?\n---[ \t]*(?:\r?\n|$)/.exec(await readFile(file, 'utf8')) ?? [];
  if (text === undefined) return undefined;
  const { parse } = await import('yaml');
  let value: unknown;
  try {
    value = parse(text);
  } catch (cause) {
    const what = `the front matter is not valid YAML: ${(cause as Error).message.split('\n')[0]}`;
    throw failure({ what, where: file, fix: 'name a revision in which it is', cause });
  }
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
}

/** One part is a config if there is one of this name, else a split. */
function choose(
  configs: readonly DataConfig[],
  { id, parts }: HubName,
): { config: string; split: string; paths: readonly string[] } {
  const [first = '', second = ''] = parts;
  const names = configs.map(({ name }) => name);
  const isConfig = parts.length > 1 || names.includes(first);
  const [wanted, asked] = isConfig ? [first, second] : ['', first];
  const unclear = (what: string, list: readonly string[], form: string) =>
    usageError({ what: `${what}; there are ${list.join(', ')}`, where: id, fix: `name one: --data ${form}` });
  const defaults = configs.filter(({ isDefault }) => isDefault);
  const config =
    wanted !== ''
      ? configs.find(({ name }) => name === wanted)
      : // A split that stands alone may say which config is meant.
        defaults.length === 1
        ? defaults[0]
        : configs.length === 1
          ? configs[0]
          : undefined;
  if (config === undefined) {
    const what =
      wanted !== ''
        ? `${id} has no config "${wanted}"`
        : `${id} has ${names.length} configs${asked === '' ? '' : `, and none of them is "${asked}"`}`;
    throw unclear(what, names, `${id}:CONFIG`);
  }
  const splits = [...config.splits.keys()];
  const split = asked !== '' ? asked : splits.length === 1 ? splits[0]! : 'train';
  const paths = config.splits.get(split);
  if (paths === undefined) {
    const what =
      asked === ''
        ? `${id} has no split "train"`
        : isConfig
          ? `${config.name} of ${id} has no split "${asked}"`
          : `${id} has neither a config nor a split "${asked}" (configs: ${names.join(', ')})`;
    throw unclear(what, splits, `${id}:${config.name}:SPLIT`);
  }
  return { config: config.name, split, paths };
}
