// Is there a usable torch in a folder? Told from its files alone; nothing is loaded.
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { exists } from '../../../util/index.ts';
import { type Host, libraryNames } from './locations.ts';

/** The first version with the C interface that the engine calls: [major, minor]. */
const LEAST: readonly [number, number] = [2, 11];
export const NEEDED = `torch ${LEAST.join('.')} or newer`;

/** What a folder holds. `version` is 'unknown' where no file tells it; the engine checks again when it loads. */
export interface Inspected {
  /** The folder that holds the library's files. */
  readonly directory: string;
  readonly version: string;
  /** Whether the part for CUDA lies there too. */
  readonly cuda: boolean;
}

/** Why a folder cannot be used, for the program and in words. */
export interface Unusable {
  readonly kind: 'no folder' | 'no library' | 'too old';
  readonly problem: string;
}

/**
 * Looks for the library in a folder: in itself, in its lib, as a torch package, in site-packages, in an environment.
 * @returns what is there, or why it cannot be used
 */
export async function inspectTorch(folder: string, host: Host = process): Promise<Inspected | Unusable> {
  const root = resolve(folder);
  if (!(await exists(root))) return { kind: 'no folder', problem: 'there is no such folder' };
  const names = libraryNames(host);
  for (const directory of await libraryFolders(root)) {
    if (!(await exists(join(directory, names.cpu)))) continue;
    const version = (await versionOf(directory)) ?? 'unknown';
    if (isTooOld(version)) return { kind: 'too old', problem: `it holds torch ${version}` };
    return { directory, version, cuda: await exists(join(directory, names.cuda)) };
  }
  return { kind: 'no library', problem: await described(root, names.cpu) };
}

/** Folders in which the library may lie, below the folder that somebody names. */
async function libraryFolders(root: string): Promise<string[]> {
  const packages = await sitePackages(root);
  return [root, join(root, 'lib'), ...[root, ...packages].map((folder) => join(folder, 'torch', 'lib'))];
}

/** The folders for packages of a virtual or conda environment: lib/pythonX.Y/site-packages, on Windows Lib/site-packages. */
async function sitePackages(root: string): Promise<string[]> {
  const pythons = (await namesIn(join(root, 'lib'))).filter((name) => /^python3\.\d+$/.test(name)).sort();
  return [...pythons.map((name) => join(root, 'lib', name)), join(root, 'Lib')].map((lib) =>
    join(lib, 'site-packages'),
  );
}

/** The version that files beside the library tell. */
async function versionOf(directory: string): Promise<string | undefined> {
  const parent = dirname(directory);
  for (const [path, pattern] of [
    [join(parent, 'version.py'), /^__version__ = '([^']+)'/m],
    [join(directory, 'version.py'), /^__version__ = '([^']+)'/m],
    [join(parent, 'build-version'), /^(\S+)/],
  ] as const) {
    const text = await readFile(path, 'utf8').catch(() => '');
    const version = pattern.exec(text)?.[1];
    if (version !== undefined) return version;
  }
  for (const name of await namesIn(dirname(parent))) {
    const version = /^torch-(.+)\.dist-info$/.exec(name)?.[1];
    if (version !== undefined) return version;
  }
  return undefined;
}

function isTooOld(version: string): boolean {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  if (major === undefined) return false;
  return Number(major) < LEAST[0] || (Number(major) === LEAST[0] && Number(minor) < LEAST[1]);
}

/** Why there is no library: what lies there instead. */
async function described(root: string, wanted: string): Promise<string> {
  const names = (await namesIn(root)).sort();
  const shown = names.slice(0, 4).join(', ');
  const found = names.length === 0 ? 'it is empty' : `found ${shown}${names.length > 4 ? ' …' : ''}`;
  return `no ${wanted} in it or in its torch/lib (${found})`;
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}
