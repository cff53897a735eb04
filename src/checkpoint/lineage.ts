// Where an adapter comes from: lineage.json names its ancestors with hashes, the base first. An adapter is of use on its own base
// alone, so the base is compared with its hash before it is used.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { failure, hashFile, readManifest } from '../util/index.ts';
import { hashModelDirectory } from './modeldir.ts';
import { ADAPTER_FILE, baseDirectory, isAdapterDirectory } from './peft.ts';

export const LINEAGE_FILE = 'lineage.json';

export interface Ancestor {
  readonly what: 'base' | 'adapter';
  /** Where it was. */
  readonly path: string;
  /** Of a base its identity (`hashModelDirectory`), of an adapter its file of weights. */
  readonly sha256: string;
}

/** The ancestors that an adapter directory names, the base first; undefined where it names none (PEFT's own). */
async function recorded(dir: string): Promise<Ancestor[] | undefined> {
  const text = await readFile(join(dir, LINEAGE_FILE), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as { lineage: Ancestor[] }).lineage;
}

/** A model with all that it comes from, the base first, itself last. */
export async function lineageOf(dir: string): Promise<Ancestor[]> {
  const base = async (path: string): Promise<Ancestor> => ({
    what: 'base',
    path,
    sha256: await hashModelDirectory(path),
  });
  if (!(await isAdapterDirectory(dir))) return [await base(dir)];
  const listed = (await readManifest(dir))?.find(({ path }) => path === ADAPTER_FILE)?.sha256;
  const sha256 = listed ?? (await hashFile(join(dir, ADAPTER_FILE))).sha256;
  return [...((await recorded(dir)) ?? [await base(await baseDirectory(dir))]), { what: 'adapter', path: dir, sha256 }];
}

/** "base 0123456789ab → adapter 0123456789ab", oldest first. */
export function lineageSentence(lineage: readonly Ancestor[]): string {
  return lineage.map(({ what, sha256, path }) => `${what} ${sha256.slice(0, 12)} (${path})`).join(' → ');
}

/** @throws failure when the base of an adapter is not the one on which it was trained, as far as it is known */
export async function demandBase(dir: string): Promise<void> {
  if (!(await isAdapterDirectory(dir))) return;
  const [was] = (await recorded(dir)) ?? [];
  const base = await baseDirectory(dir);
  if (was === undefined) return;
  const is = await hashModelDirectory(base);
  if (is === was.sha256) return;
  throw failure({
    what: `the adapter was trained on another base: ${was.sha256.slice(0, 12)}, and ${base} is ${is.slice(0, 12)}`,
    where: dir,
    fix: `bring the old base back (it was ${was.path})`,
  });
}
