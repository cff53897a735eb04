// A config file as keys, values and places. YAML or JSON (which YAML contains), read with source positions so that an
// error can name the line. Keys are not judged here: check.ts does that together with the flags.
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { usageError } from '../util/index.ts';
import type { Given } from './check.ts';

const DEFAULT_NAMES = ['selfplay.config.yaml', 'selfplay.config.json'];

/** Other spellings of keys, from TRL and the alignment handbook. */
const ALIASES = new Map([['model_name_or_path', 'model']]);

const EXAMPLE = 'one `key: value` a line; `selfplay config print` writes an example';

/** The config file of the directory that is used without being named, if there is one. */
export function defaultConfig(directory: string): string | undefined {
  const found = DEFAULT_NAMES.filter((name) => existsSync(join(directory, name)));
  if (found.length > 1) {
    throw usageError({
      what: `there is both ${found.join(' and ')}`,
      where: directory,
      fix: 'name the one to use with --config, or remove the other',
    });
  }
  return found[0];
}

/**
 * The settings in a config file, by key, each with its place as file:line:key.
 * @param file as the user named it, relative to `directory`
 * @throws SelfplayError (usage) if it cannot be read, is no YAML or JSON, or is no mapping
 */
export async function readConfig(file: string, directory: string): Promise<Map<string, Given>> {
  const text = readText(file, resolve(directory, file));
  const { LineCounter, isMap, isScalar, parseDocument } = await import('yaml');
  const broken = (message: string, place = '') =>
    usageError({
      what: `the config file is not valid ${file.endsWith('.json') ? 'JSON' : 'YAML'}: ${message}`,
      where: `${file}${place}`,
      fix: EXAMPLE,
    });
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, prettyErrors: false });
  const lineOf = (offset: number) => `:${lineCounter.linePos(offset).line}`;
  const [error] = document.errors;
  if (error !== undefined) throw broken(error.message, lineOf(error.pos[0]));
  if (document.contents === null) return new Map();
  if (!isMap(document.contents)) {
    throw usageError({ what: 'the config file holds no settings by name', where: file, fix: EXAMPLE });
  }
  let values: Record<string, unknown>;
  try {
    values = document.toJS();
  } catch (cause) {
    // An alias (*name) without its anchor, or aliases of aliases without end.
    throw broken((cause as Error).message);
  }
  const given = new Map<string, Given>();
  for (const { key } of document.contents.items) {
    const name = String(key);
    // An editor reads this key to find the JSON schema; it is no setting.
    if (name === '$schema') continue;
    const where = `${file}${lineOf(isScalar(key) ? (key.range?.[0] ?? 0) : 0)}:${name}`;
    const canonical = ALIASES.get(name) ?? name;
    const earlier = given.get(canonical);
    if (earlier !== undefined) {
      throw usageError({ what: `${canonical} is given twice`, where, fix: `remove it, or ${earlier.where}` });
    }
    given.set(canonical, { value: values[name], where });
  }
  return given;
}

function readText(where: string, path: string): string {
  if (/\.[cm]?[jt]s$/.test(path)) {
    throw usageError({
      what: 'a config file is YAML or JSON, not a program',
      where,
      fix: 'name a .yaml or .json file',
    });
  }
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw usageError({
      what: missing ? 'there is no such config file' : `the config file cannot be read: ${(error as Error).message}`,
      where,
      fix: missing ? '`selfplay config print > selfplay.config.yaml` writes one' : undefined,
    });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw usageError({ what: 'the config file is not UTF-8 text', where, fix: 'save it as UTF-8', cause });
  }
}
