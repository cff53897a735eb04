// Writes GGUF files, version 3, little-endian: header, metadata, table of tensors, data at multiples of 32 bytes.
// Notable choice: one tensor is in memory at a time, made when its turn comes.

import { diskIo, failure, type Io, writeAll, writeFileAtomic } from '../util/index.ts';
import { encodeTensor, type WritableType } from './gguf-encode.ts';
import { blockType, DEFAULT_ALIGNMENT, VALUE_TYPES } from './gguf-types.ts';

/** A metadata value with its type. */
export type GgufValue =
  | { readonly type: 'u32' | 'i32' | 'f32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'strings'; readonly value: readonly string[] }
  | { readonly type: 'i32s' | 'f32s'; readonly value: readonly number[] };

/** A tensor to write: shape row-major; `data` makes its fp32 values when its turn comes. */
export interface GgufTensorToWrite {
  readonly name: string;
  readonly type: WritableType;
  readonly shape: readonly number[];
  readonly data: () => Promise<Float32Array>;
}

/**
 * Writes a GGUF file atomically, metadata and tensors in the order given. Replaces an existing file. Throws a failure if rows are
 * not whole blocks of the type, data do not fit their shape, or a weight does not fit its type.
 */
export async function writeGguf(
  file: string,
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: readonly GgufTensorToWrite[],
  io: Io = diskIo,
): Promise<void> {
  const head = byteWriter();
  head.bytes(new TextEncoder().encode('GGUF'));
  head.u32(3);
  head.u64(tensors.length);
  head.u64(metadata.size);
  for (const [key, value] of metadata) {
    head.text(key);
    writeValue(head, value);
  }
  const sizes = writeTable(head, tensors, file);
  head.pad();
  await writeFileAtomic(
    file,
    async (out) => {
      for (const piece of head.pieces()) await writeAll(out, piece);
      for (const [i, { name, type, shape, data }] of tensors.entries()) {
        const values = await data();
        const count = shape.reduce((product, dimension) => product * dimension, 1);
        if (values.length !== count) {
          const what = `cannot write tensor ${name}: ${values.length} numbers do not fit shape [${shape.join(', ')}]`;
          throw failure({ what, where: file });
        }
        await writeAll(out, encodeTensor(values, type, name));
        await writeAll(out, new Uint8Array(padding(sizes[i]!)));
      }
    },
    io,
  );
}

/** Writes the table; gives the bytes of each tensor. */
function writeTable(head: ByteWriter, tensors: readonly GgufTensorToWrite[], file: string): number[] {
  const names = new Set<string>();
  let offset = 0;
  return tensors.map(({ name, type, shape }) => {
    const bad = (what: string) => failure({ what: `cannot write tensor ${name}: ${what}`, where: file });
    if (names.has(name)) throw bad('the name is taken');
    names.add(name);
    if (shape.length === 0 || shape.length > 4) throw bad(`${shape.length} dimensions, possible are 1 to 4`);
    const { number, elements, bytes } = blockType(type);
    if (shape.at(-1)! % elements !== 0) {
      throw bad(`rows of ${shape.at(-1)} weights are not whole ${type} blocks of ${elements}`);
    }
    head.text(name);
    head.u32(shape.length);
    for (const dimension of [...shape].reverse()) head.u64(dimension);
    head.u32(number);
    head.u64(offset);
    const size = (shape.reduce((product, dimension) => product * dimension, 1) / elements) * bytes;
    offset += size + padding(size);
    return size;
  });
}

const padding = (size: number) => (DEFAULT_ALIGNMENT - (size % DEFAULT_ALIGNMENT)) % DEFAULT_ALIGNMENT;

function writeValue(head: ByteWriter, entry: GgufValue): void {
  switch (entry.type) {
    case 'u32':
    case 'i32':
    case 'f32':
      head.u32(VALUE_TYPES[entry.type]);
      head[entry.type](entry.value);
      break;
    case 'bool':
      head.u32(VALUE_TYPES.bool);
      head.bytes(Uint8Array.of(entry.value ? 1 : 0));
      break;
    case 'string':
      head.u32(VALUE_TYPES.string);
      head.text(entry.value);
      break;
    case 'strings':
      head.u32(VALUE_TYPES.array);
      head.u32(VALUE_TYPES.string);
      head.u64(entry.value.length);
      for (const text of entry.value) head.text(text);
      break;
    case 'i32s':
    case 'f32s': {
      const item = entry.type === 'i32s' ? 'i32' : 'f32';
      head.u32(VALUE_TYPES.array);
      head.u32(VALUE_TYPES[item]);
      head.u64(entry.value.length);
      for (const value of entry.value) head[item](value);
    }
  }
}

type ByteWriter = ReturnType<typeof byteWriter>;

/** Grows by pieces of 1 MiB. */
function byteWriter() {
  const done: Uint8Array[] = [];
  let piece = Buffer.alloc(1 << 20);
  let at = 0;
  let total = 0;
  const room = (count: number): number => {
    if (at + count > piece.length) {
      done.push(piece.subarray(0, at));
      piece = Buffer.alloc(Math.max(1 << 20, count));
      at = 0;
    }
    const start = at;
    at += count;
    total += count;
    return start;
  };
  const bytes = (data: Uint8Array): void => {
    const start = room(data.length);
    piece.set(data, start);
  };
  const u64 = (value: number): void => {
    const start = room(8);
    piece.writeBigUInt64LE(BigInt(value), start);
  };
  return {
    bytes,
    u64,
    u32: (value: number): void => {
      const start = room(4);
      piece.writeUInt32LE(value, start);
    },
    i32: (value: number): void => {
      const start = room(4);
      piece.writeInt32LE(value, start);
    },
    f32: (value: number): void => {
      const start = room(4);
      piece.writeFloatLE(value, start);
    },
    /** Length and UTF-8. */
    text: (text: string): void => {
      const data = new TextEncoder().encode(text);
      u64(data.length);
      bytes(data);
    },
    pad: () => bytes(new Uint8Array(padding(total))),
    pieces: () => [...done, piece.subarray(0, at)],
  };
}
