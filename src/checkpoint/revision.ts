// Which revision of a Hugging Face repository a model directory holds, as far as the directory tells.

import { readFile, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isGgufFile } from '../formats/index.ts';

const COMMIT = /^[0-9a-f]{40}$/;
/** What `hf download --local-dir` notes of a file: the commit is the first line. */
const NOTES = '.cache/huggingface/download';

/** The commit (40 hex digits): from the place in a Hugging Face cache, or from what a download noted; null where neither is. */
export async function modelRevision(dir: string): Promise<string | null> {
  const gguf = await isGgufFile(dir);
  const root = await realpath(gguf ? dirname(dir) : dir);
  if (basename(dirname(root)) === 'snapshots' && COMMIT.test(basename(root))) return basename(root);
  const note = await readFile(join(root, NOTES, `${gguf ? basename(dir) : 'config.json'}.metadata`), 'utf8').catch(
    () => '',
  );
  const commit = note.split('\n')[0]!.trim();
  return COMMIT.test(commit) ? commit : null;
}
