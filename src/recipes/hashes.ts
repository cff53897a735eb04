/** Identities of the files that a run stands on. */
import { existsSync } from 'node:fs';
import { hashModelDirectory } from '../checkpoint/index.ts';
import { hashFile, sha256Hex, usageError } from '../util/index.ts';
import type { SftSettings, SpinSettings } from './settings.ts';

/** SHA-256 in hex, as manifest.json has them. */
export interface Hashes {
  readonly model: string;
  readonly data: string;
  readonly eval_data: string | null;
  /** Of the named files together; null without any. */
  readonly contamination: string | null;
}

/** @throws usage error for a file that is not there or cannot be read */
export async function hashesOf(settings: SpinSettings | SftSettings): Promise<Hashes> {
  return { model: await hashModelDirectory(settings.model), ...(await dataHashes(settings)) };
}

/** @throws usage error for a file that is not there or cannot be read */
export async function dataHashes({
  data,
  eval_data,
  contamination,
}: Pick<SpinSettings, 'data' | 'eval_data' | 'contamination'>): Promise<Omit<Hashes, 'model'>> {
  const hash = (path: string) => hashInput(path, 'check --data, --eval-data and --contamination');
  const named = await Promise.all(contamination.map(hash));
  return {
    data: await hash(data),
    eval_data: eval_data === undefined ? null : await hash(eval_data),
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
