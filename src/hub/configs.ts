// The configs and splits of a data set's repository, and the files of each: from the front matter of its README, else from
// the names of its files, by the rules of Python's datasets as far as their documentation goes.
import { failure } from '../util/index.ts';

/** A config with the files of its splits, in order. */
export interface DataConfig {
  readonly name: string;
  /** The one that is meant where none is named. */
  readonly isDefault: boolean;
  readonly splits: ReadonlyMap<string, readonly string[]>;
}

/** Kinds of files that can be read, the best first; each may be packed with gzip, parquet apart. */
const KINDS = [/\.parquet$/, /\.(jsonl|ndjson)(\.gz)?$/, /\.json(\.gz)?$/, /\.csv(\.gz)?$/, /\.tsv(\.gz)?$/];
/** Files with such names that are no data. */
const NO_DATA = /(^|\/)(\.[^/]*|dataset_infos?\.json|config\.json|package(-lock)?\.json|state\.json)$/;
/** The split that a word in a file's name, or the name of a folder, stands for. */
const WORDS: readonly (readonly [split: string, word: RegExp])[] = [
  ['train', /(^|[-._ 0-9/])(train|training)([-._ 0-9/]|$)/],
  ['validation', /(^|[-._ 0-9/])(validation|valid|dev|val)([-._ 0-9/]|$)/],
  ['test', /(^|[-._ 0-9/])(test|testing|eval|evaluation)([-._ 0-9/]|$)/],
];
const SHARD = /(?:^|\/)([\w.-]+?)-(\d{5,})-of-(\d{5,})[^/]*$/;

/** Whether a file is one of those that can be read as data. */
const isData = (path: string): boolean => KINDS.some((kind) => kind.test(path)) && !NO_DATA.test(path);

/**
 * All configs. `configs` is the list of that name in the front matter, as YAML gives it; undefined where there is none.
 * @param where names the README in errors
 */
export function dataConfigs(paths: readonly string[], configs: unknown, where: string): DataConfig[] {
  const data = paths.filter(isData);
  if (configs === undefined || configs === null) {
    const splits = splitsByName(data);
    return splits.size === 0 ? [] : [{ name: 'default', isDefault: true, splits }];
  }
  const bad = (what: string) =>
    failure({ what: `the front matter cannot be read: ${what}`, where: `${where}:configs` });
  if (!Array.isArray(configs)) throw bad('configs is no list');
  return configs.map((entry: unknown): DataConfig => {
    const { config_name: name, data_files, data_dir = '', default: isDefault } = record(entry) ?? {};
    if (typeof name !== 'string' || typeof data_dir !== 'string')
      throw bad('a config has no config_name, or a data_dir that is no text');
    const folder = data_dir.replace(/^(\.?\/)+|\/+$/g, '');
    const inside = folder === '' ? data : data.filter((path) => path.startsWith(`${folder}/`));
    return {
      name,
      isDefault: isDefault === true || name === 'default' || configs.length === 1,
      splits:
        data_files === undefined
          ? splitsByName(inside, folder)
          : splitsByPattern(inside, patternsOf(data_files, bad), folder),
    };
  });
}

/** `data_files`: one pattern, several, or a list of {split, path}. */
function patternsOf(given: unknown, bad: (what: string) => Error): [split: string, patterns: string[]][] {
  const entries =
    Array.isArray(given) && given.some((one) => typeof one !== 'string') ? given : [{ split: 'train', path: given }];
  return entries.map((entry: unknown) => {
    const { split, path } = record(entry) ?? {};
    const patterns = typeof path === 'string' ? [path] : path;
    if (typeof split !== 'string' || !Array.isArray(patterns) || !patterns.every((one) => typeof one === 'string')) {
      throw bad(`data_files has ${JSON.stringify(entry)?.slice(0, 100)} in place of a split with a path`);
    }
    return [split, patterns as string[]];
  });
}

function splitsByPattern(
  data: readonly string[],
  patterns: readonly [split: string, patterns: readonly string[]][],
  folder: string,
): Map<string, string[]> {
  const splits = new Map<string, string[]>();
  for (const [split, texts] of patterns) {
    const found = texts.flatMap((text) => {
      const pattern = folder === '' ? text : `${folder}/${text}`;
      return data.filter((path) => fitsPattern(path, pattern));
    });
    if (found.length > 0) splits.set(split, [...new Set([...(splits.get(split) ?? []), ...found])]);
  }
  return splits;
}

/** By "train-00000-of-00002", by words such as "train" and "test", or all as train; of several kinds of files the best one. */
function splitsByName(data: readonly string[], folder = ''): Map<string, string[]> {
  const kind = KINDS.find((one) => data.some((path) => one.test(path)));
  const files = kind === undefined ? [] : data.filter((path) => kind.test(path)).sort();
  const nameOf = (path: string) => (folder === '' ? path : path.slice(folder.length + 1));
  const collect = (splitOf: (path: string) => string | undefined) => {
    const splits = new Map<string, string[]>();
    for (const path of files) {
      const split = splitOf(nameOf(path));
      if (split !== undefined) splits.set(split, [...(splits.get(split) ?? []), path]);
    }
    return splits;
  };
  const sharded = collect((path) => SHARD.exec(path)?.[1]);
  if (sharded.size > 0) return sharded;
  const named = collect((path) => WORDS.find(([, word]) => word.test(path.toLowerCase().replace(/\.[^/]*$/, '')))?.[0]);
  return named.size > 0 ? named : collect(() => 'train');
}

const CONVERTED = /^([^/]+)\/(partial-)?([^/]+)\/\d{4,}\.parquet$/;

/** Whether these are the files of the branch to which the Hub converts data sets. */
export const isConversion = (paths: readonly string[]): boolean =>
  paths.length > 0 && paths.every((path) => CONVERTED.test(path) || path === '.gitattributes');

/**
 * The branch to which the Hub converts data sets: CONFIG/SPLIT/0000.parquet. Of a large one only the first part is there,
 * as CONFIG/partial-SPLIT.
 */
export function convertedConfigs(paths: readonly string[]): { configs: DataConfig[]; partial: ReadonlySet<string> } {
  const configs = new Map<string, Map<string, string[]>>();
  const partial = new Set<string>();
  for (const path of [...paths].sort()) {
    const [, config, cut, split] = CONVERTED.exec(path) ?? [];
    if (config === undefined || split === undefined) continue;
    if (cut !== undefined) partial.add(`${config}/${split}`);
    const splits = configs.get(config) ?? new Map<string, string[]>();
    configs.set(config, splits.set(split, [...(splits.get(split) ?? []), path]));
  }
  return {
    configs: [...configs].map(([name, splits]) => ({
      name,
      isDefault: name === 'default' || configs.size === 1,
      splits,
    })),
    partial,
  };
}

/** Names "train-00001-of-00003" that a list lacks though it has others of the same kind. */
export function missingShards(paths: readonly string[]): string[] {
  const missing = new Set<string>();
  const numbers = new Map<string, Set<number>>();
  for (const path of paths) {
    const [, name, number, of] = SHARD.exec(path) ?? [];
    if (name === undefined) continue;
    const key = `${path.slice(0, path.lastIndexOf('/') + 1)}${name}-*-of-${of}`;
    numbers.set(key, (numbers.get(key) ?? new Set()).add(Number(number)));
  }
  for (const [key, found] of numbers) {
    const count = Number(key.slice(key.lastIndexOf('-') + 1));
    for (let i = 0; i < count && missing.size < 5; i++) {
      if (!found.has(i)) missing.add(key.replace('*', String(i).padStart(5, '0')));
    }
  }
  return [...missing];
}

/** A step of a pattern: one character that fits, or a stretch that may be empty. */
type Step = ((character: string) => boolean) | 'in a part' | 'anything' | 'whole folders';

/**
 * Whether a path fits a pattern as of glob: * and ? inside a part of a path, ** over parts, [abc], {a,b}. A folder stands for
 * all that is in it. All ways to fit are followed side by side, so that no pattern takes long.
 */
export function fitsPattern(path: string, pattern: string): boolean {
  return withoutBraces(pattern.replace(/^(\.?\/)+/, '')).some((one) => fits(path, stepsOf(one)));
}

function fits(path: string, steps: readonly Step[]): boolean {
  const reached = (from: Iterable<number>, before: string | undefined) => {
    const found = new Set(from);
    // A set takes in what is added while it is walked through.
    for (const at of found) {
      const step = steps[at];
      const mayEnd = step === 'in a part' || step === 'anything';
      if (mayEnd || (step === 'whole folders' && (before ?? '/') === '/')) found.add(at + 1);
    }
    return found;
  };
  let states = reached([0], undefined);
  for (const character of path) {
    if (states.has(steps.length) && character === '/') return true;
    const next: number[] = [];
    for (const at of states) {
      const step = steps[at];
      if (typeof step === 'function') {
        if (step(character)) next.push(at + 1);
      } else if (step !== undefined && (step !== 'in a part' || character !== '/')) next.push(at);
    }
    states = reached(next, character);
  }
  return states.has(steps.length);
}

function stepsOf(pattern: string): Step[] {
  return [...pattern.matchAll(/\*\*\/|\*\*|\[!?[^\]/]+\]|[\s\S]/gu)].map(([token]): Step => {
    if (token === '**/') return 'whole folders';
    if (token === '**') return 'anything';
    if (token === '*') return 'in a part';
    if (token === '?') return (character) => character !== '/';
    if (token.length < 3) return (character) => character === token;
    const isNot = token[1] === '!';
    const inside = token.slice(isNot ? 2 : 1, -1);
    const ranges = [...inside.matchAll(/(.)-(.)|(.)/gsu)].map(
      ([, from, to, one]) => [one ?? from!, one ?? to!] as const,
    );
    return (character) =>
      character !== '/' && ranges.some(([from, to]) => from <= character && character <= to) !== isNot;
  });
}

/** "{a,b}c" as "ac" and "bc", braces inside braces too; a pattern with very many ways is taken as it is written. */
function withoutBraces(pattern: string): string[] {
  let open = [pattern];
  if (pattern.length > 1000) return open;
  for (let next = open; open.length <= 1000; open = next) {
    next = open.flatMap((text) => {
      const [whole, inside] = /\{([^{}]*)\}/.exec(text) ?? [];
      return whole === undefined ? [text] : inside!.split(',').map((one) => text.replace(whole, () => one));
    });
    if (next.length === open.length && next.every((text, i) => text === open[i])) return open;
  }
  return [pattern];
}

const record = (value: unknown): Record<string, unknown> | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
