/** Identities of the files that a run stands on. */
import { existsSync } from 'node:fs';
import { hashModelDirectory } from '../../checkpoint/index.ts';
import { hashFile, sha256Hex, usageError } from '../../util/index.ts';
import type { RecordedSettings } from '../settings/dpoSettings.ts';

/** Settings that name a file with rows. */
type RowFile = 'data' | 'eval_data' | 'pairs';

/** SHA-256 in hex, as manifest.json has them, of several files together; null for what is not given. */
export interface Hashes extends Readonly<Record<RowFile, string | null>> {
  readonly model: string;
  readonly replay_pairs: string | null;
  /** Of the named files together. */
  readonly contamination: string | null;
}

/** @throws usage error for a file that is not there or cannot be read */
export async function hashesOf(settings: RecordedSettings): Promise<Hashes> {
  return { model: await hashModelDirectory(settings.model), ...(await rowHashes(settings)) };
}

/** @throws usage error for a file that is not there or cannot be read */
export async function rowHashes(settings: RecordedSettings): Promise<Omit<Hashes, 'model'>> {
  const paths: { readonly [Name in RowFile | 'replay_pairs' | 'contamination']?: readonly string[] | undefined } =
    settings;
  const hashesOf = (name: keyof typeof paths) =>
    Promise.all((paths[name] ?? []).map((path) => hashInput(path, `check --${name.replace('_', '-')}`)));
  const together = async (name: keyof typeof paths) => {
    const hashes = await hashesOf(name);
    return hashes.length > 1 ? sha256Hex(hashes.join('\n')) : (hashes[0] ?? null);
  };
  const named = await hashesOf('contamination');
  return {
    data: await together('data'),
    eval_data: await together('eval_data'),
    pairs: await together('pairs'),
    replay_pairs: await together('replay_pairs'),
    contamination: named.length === 0 ? null : sha256Hex(named.join('\n')),
  };
}

/** SHA-256 of a file that the user named. @throws usage error with this fix */
export async function hashInput(path: string, fix: string): Promise<string> {
  if (!existsSync(path)) throw usageError({ what: 'there is no such file', where: path, fix });
  try {
    return (await hashFile(path)).sha256;
  } catch (cause) {
    throw usageError({ what: `the file cannot be read: ${(cause as Error).message}`, where: path, fix, cause });
  }
}
