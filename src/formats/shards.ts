// The weights of a model as Hugging Face names them: model.safetensors, or model-00001-of-00003.safetensors … with an index that
// says which tensor is in which file.

import { join } from 'node:path';
import { diskIo, type Io, writeFileAtomic } from '../util/index.ts';
import { type TensorToWrite, tensorBytes, writeSafetensors } from './safetensors.ts';

/** Largest file, in bytes: below what the Hub and many file systems ask for. */
const SHARD_BYTES = 5_000_000_000;
/** What a tensor takes in a header beside its name, at most. */
const HEADER_BYTES = 160;

/**
 * Writes tensors in the order given, as one file or as several of at most `limit` bytes (a larger tensor has one to itself).
 * @throws failure as `writeSafetensors`
 */
export async function writeShards(
  dir: string,
  tensors: readonly TensorToWrite[],
  limit: number = SHARD_BYTES,
  io: Io = diskIo,
): Promise<void> {
  const shards = shardsOf(tensors, limit);
  const metadata = { format: 'pt' };
  const five = (n: number) => String(n).padStart(5, '0');
  const map: Record<string, string> = {};
  for (const [i, shard] of shards.entries()) {
    const name =
      shards.length === 1 ? 'model.safetensors' : `model-${five(i + 1)}-of-${five(shards.length)}.safetensors`;
    for (const tensor of shard) map[tensor.name] = name;
    await writeSafetensors(join(dir, name), shard, metadata, io);
  }
  if (shards.length === 1) return;
  const total = tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  const index = { metadata: { total_size: total }, weight_map: map };
  await writeFileAtomic(join(dir, 'model.safetensors.index.json'), `${JSON.stringify(index, null, 2)}\n`, io);
}

function shardsOf(tensors: readonly TensorToWrite[], limit: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [[]];
  let size = 0;
  for (const tensor of tensors) {
    const bytes = tensorBytes(tensor) + Buffer.byteLength(tensor.name) + HEADER_BYTES;
    if (size > 0 && size + bytes > limit) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1)!.push(tensor);
    size += bytes;
  }
  return shards;
}
