// Reads a zip archive (a wheel) that may lie far away: the list of members at its end, then single members.
// Only what wheels use: members that are stored or deflated, no encryption, no zip64.
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';
import { failure } from '../../../util/index.ts';

/** Reads `length` bytes from an offset of the archive. */
export type ReadAt = (from: number, length: number) => Promise<Uint8Array>;

export interface ZipMember {
  readonly name: string;
  /** Offset of its local header. */
  readonly header: number;
  /** Bytes in the archive. */
  readonly packed: number;
  readonly deflated: boolean;
}

const END_SIGNATURE = 0x06054b50;
const ENTRY_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;
/** Size of the record at the end; a comment of up to 64 KiB may follow it. */
const END_SIZE = 22;
const TAIL = END_SIZE + 0xffff;
const ENTRY_SIZE = 46;
const LOCAL_SIZE = 30;

/** The members of an archive of `size` bytes by their names. Throws a failure naming `where` if it is not a zip. */
export async function zipMembers(read: ReadAt, size: number, where: string): Promise<Map<string, ZipMember>> {
  const bad = (what: string) => failure({ what: `not a zip archive that can be read: ${what}`, where });
  const tail = viewOf(await read(Math.max(0, size - TAIL), Math.min(size, TAIL)));
  let end = tail.byteLength - END_SIZE;
  while (end >= 0 && tail.getUint32(end, true) !== END_SIGNATURE) end--;
  if (end < 0) throw bad('no directory at its end');
  const [count, length, start] = [
    tail.getUint16(end + 10, true),
    tail.getUint32(end + 12, true),
    tail.getUint32(end + 16, true),
  ];
  if (start + length > size) throw bad('its directory lies outside of it');
  const directory = viewOf(await read(start, length));
  const members = new Map<string, ZipMember>();
  for (let at = 0, i = 0; i < count; i++) {
    if (at + ENTRY_SIZE > length || directory.getUint32(at, true) !== ENTRY_SIGNATURE) throw bad('damaged directory');
    const [flags, method] = [directory.getUint16(at + 8, true), directory.getUint16(at + 10, true)];
    const [packed, header] = [directory.getUint32(at + 20, true), directory.getUint32(at + 42, true)];
    const [nameLength, extra, comment] = [28, 30, 32].map((offset) => directory.getUint16(at + offset, true)) as [
      number,
      number,
      number,
    ];
    const name = Buffer.from(directory.buffer, directory.byteOffset + at + ENTRY_SIZE, nameLength).toString('utf8');
    const readable = (flags & 1) === 0 && (method === 0 || method === 8) && packed !== 0xffffffff;
    if (readable) members.set(name, { name, header, packed, deflated: method === 8 });
    at += ENTRY_SIZE + nameLength + extra + comment;
  }
  return members;
}

/** Offset of a member's first byte: its local header has a length of its own. */
export async function dataOffset(read: ReadAt, member: ZipMember, where: string): Promise<number> {
  const local = viewOf(await read(member.header, LOCAL_SIZE));
  if (local.byteLength < LOCAL_SIZE || local.getUint32(0, true) !== LOCAL_SIGNATURE) {
    throw failure({ what: `not a zip archive that can be read: damaged header of ${member.name}`, where });
  }
  return member.header + LOCAL_SIZE + local.getUint16(26, true) + local.getUint16(28, true);
}

/**
 * Unpacks the member whose bytes begin at `start` of the file `from` into the file `to`.
 * @returns SHA-256 in hex of what was written, or undefined when the bytes are no deflated data
 */
export async function unpackMember(
  from: string,
  start: number,
  member: ZipMember,
  to: string,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const hash = createHash('sha256');
  const hashed = async function* (pieces: AsyncIterable<Uint8Array>) {
    for await (const piece of pieces) {
      hash.update(piece);
      yield piece;
    }
  };
  const bytes = createReadStream(from, { start, end: start + member.packed - 1, highWaterMark: 1 << 20 });
  const options = signal === undefined ? {} : { signal };
  try {
    if (member.deflated) await pipeline(bytes, createInflateRaw(), hashed, createWriteStream(to), options);
    else await pipeline(bytes, hashed, createWriteStream(to), options);
  } catch (error) {
    if (/^Z_/.test((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
  return hash.digest('hex');
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
