/** Identities of the files that a run stands on. */
import { existsSync } from 'node:fs';
import { hashModelDirectory } from '../checkpoint/index.ts';
import { hashFile, usageError } from '../util/index.ts';
import type { SftSettings, SpinSettings } from './settings.ts';

/** SHA-256 in hex, as manifest.json has them. */
export interface Hashes {
  readonly model: string;
  readonly data: string;
  readonly eval_data: string | null;
}

/** @throws usage error for a file that is not there or cannot be read */
export async function hashesOf(settings: SpinSettings | SftSettings): Promise<Hashes> {
  return { model: await hashModelDirectory(settings.model), ...(await dataHashes(settings)) };
}

/** @throws usage error for a file that is not there or cannot be read */
export async function dataHashes({
  data,
  eval_data,
}: Pick<SpinSettings, 'data' | 'eval_data'>): Promise<Omit<Hashes, 'model'>> {
  return {
    data: await hashInput(data, 'check --data and --eval-data'),
    eval_data: eval_data === undefined ? null : await hashInput(eval_data, 'check --data and --eval-data'),
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
