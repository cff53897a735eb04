// Ids of many examples, made once: the next run, resume or probe of the same rows finds them in a file. Its name is the hash
// of all that decides them, the texts included, so it never has to be looked after: what is damaged is made again, and what
// was not used for longest goes when there is no more room. Nothing depends on it: where it cannot be written, it is not.
import { createHash } from 'node:crypto';
import { mkdir, readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Example } from '../data/index.ts';
import { readSafetensorsHeader, readTensorI32, writeSafetensors } from '../formats/index.ts';
import { cacheFolder, removeStaleTemps, SelfplayError, sha256Hex, VERSION } from '../util/index.ts';
import type { ChatTokenizer, EncodedPair } from './chatTokenizer.ts';

type Texts = Pick<Example, 'prompt' | 'response'>;

/** What an example became: its ids, or why it must be skipped. */
export type EncodedExample = EncodedPair | { readonly refused: string };

/** Changes with the layout of the files. */
const FORMAT = 1;
/** Less text than this is encoded in about a second, and not kept. */
const MIN_CHARACTERS = 1_000_000;
/** Of all files together. */
const MAX_BYTES = 2e9;

/**
 * `encodePair` of every example, in their order.
 * @param folder where files are kept: tokens/ in SELFPLAY_CACHE
 */
export async function encodeExamples(
  examples: readonly Texts[],
  tokenizer: Pick<ChatTokenizer, 'hash' | 'encodePair'>,
  folder = join(cacheFolder(process.env), 'tokens'),
): Promise<EncodedExample[]> {
  const encode = () => examples.map((example) => encodeOne(example, tokenizer));
  if (examples.reduce((sum, example) => sum + charactersOf(example), 0) < MIN_CHARACTERS) return encode();
  const file = join(folder, `${keyOf(examples, tokenizer)}.safetensors`);
  const kept = await readKept(file, examples.length).catch(() => undefined);
  if (kept !== undefined) return kept;
  const made = encode();
  await keep(file, made, folder).catch(() => undefined);
  return made;
}

const charactersOf = ({ prompt, response }: Texts): number =>
  prompt.reduce((sum, { content }) => sum + content.length, response.length);

function encodeOne(example: Texts, tokenizer: Pick<ChatTokenizer, 'encodePair'>): EncodedExample {
  try {
    return tokenizer.encodePair(example);
  } catch (error) {
    if (!(error instanceof SelfplayError)) throw error;
    return { refused: error.what };
  }
}

function keyOf(examples: readonly Texts[], { hash }: Pick<ChatTokenizer, 'hash'>): string {
  const key = createHash('sha256').update(JSON.stringify([FORMAT, VERSION, hash]));
  for (const { prompt, response } of examples) key.update(JSON.stringify([prompt, response]));
  return key.digest('hex');
}

/** Rows of (prompt length, response length), those of refused examples (0, 0); all ids one after the other; reasons by row. */
async function keep(file: string, made: readonly EncodedExample[], folder: string): Promise<void> {
  const lengths = new Int32Array(2 * made.length);
  const refused: [row: number, reason: string][] = [];
  made.forEach((one, row) => {
    if ('refused' in one) refused.push([row, one.refused]);
    else lengths.set([one.promptIds.length, one.responseIds.length], 2 * row);
  });
  const ids = new Int32Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const one of made) {
    if ('refused' in one) continue;
    ids.set(one.promptIds, at);
    ids.set(one.responseIds, at + one.promptIds.length);
    at += one.promptIds.length + one.responseIds.length;
  }
  const reasons = JSON.stringify(refused);
  await mkdir(folder, { recursive: true });
  await makeRoom(folder, ids.byteLength + lengths.byteLength + reasons.length);
  await writeSafetensors(
    file,
    [
      { name: 'lengths', dtype: 'I32', shape: [made.length, 2], data: lengths },
      { name: 'ids', dtype: 'I32', shape: [ids.length], data: ids },
    ],
    { refused: reasons, sha256: contentHash(lengths, ids, reasons) },
  );
}

/** Throws, or is undefined, for anything but a file as `keep` writes it. */
async function readKept(file: string, count: number): Promise<EncodedExample[] | undefined> {
  const { tensors, metadata } = await readSafetensorsHeader(file);
  const [lengths, ids] = [await readTensorI32(tensors.get('lengths')!), await readTensorI32(tensors.get('ids')!)];
  const reasons = metadata.get('refused')!;
  if (lengths.length !== 2 * count || contentHash(lengths, ids, reasons) !== metadata.get('sha256')) return undefined;
  const refused = new Map(JSON.parse(reasons) as [number, string][]);
  const now = new Date();
  await utimes(file, now, now);
  let at = 0;
  const next = (length: number) => {
    at += length;
    return ids.slice(at - length, at);
  };
  return Array.from({ length: count }, (_, row): EncodedExample => {
    const reason = refused.get(row);
    if (reason !== undefined) return { refused: reason };
    return { promptIds: next(lengths[2 * row]!), responseIds: next(lengths[2 * row + 1]!) };
  });
}

function contentHash(lengths: Int32Array, ids: Int32Array, reasons: string): string {
  const hash = createHash('sha256').update(sha256Hex(reasons));
  return hash.update(lengths).update(ids).digest('hex');
}

/** Removes the files that were not used for longest until another one of so many bytes fits. */
async function makeRoom(folder: string, needed: number): Promise<void> {
  await removeStaleTemps(folder);
  const paths = (await readdir(folder))
    .filter((name) => name.endsWith('.safetensors'))
    .map((name) => join(folder, name));
  const files = await Promise.all(
    paths.map(async (path) => ({ path, ...(await stat(path).then(({ size, mtimeMs }) => ({ size, mtimeMs }))) })),
  );
  let free = MAX_BYTES - needed;
  for (const { path, size } of files.toSorted((a, b) => b.mtimeMs - a.mtimeMs)) {
    free -= size;
    if (free < 0) await rm(path, { force: true });
  }
}
