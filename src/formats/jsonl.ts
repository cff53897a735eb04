// JSON lines: reading with bounded memory and errors that name file and line, appending with one write per line.
// Notable choice: only a journal of our own may end in a torn line (a crash in mid-write); a reader must ask for that, and the
// appender repairs it before it writes, so that a line is never glued to half of another.

import { dirname } from 'node:path';
import { diskIo, failure, type Io, type IoFile, saveError, withFile, writeAll } from '../util/index.ts';
import { fileBytes } from './bytes.ts';
import { readFully, withHandle } from './ranges.ts';

/** Longest line that is read. */
const MAX_LINE_BYTES = 64 * 1024 * 1024;
const NEWLINE = 10;

/** A parsed line with its number, counted from 1. */
export interface JsonLine {
  readonly line: number;
  readonly value: unknown;
}

/**
 * The values of a JSON lines file, one by one, unpacked if it is gzip. A byte order mark at the start, CRLF and blank lines are tolerated; invalid
 * UTF-8, invalid JSON and lines above 64 MiB throw a failure with file:line. With `tolerateTornTail` an incomplete last line
 * (no newline, not JSON) is left out.
 */
export async function* readJsonLines(
  file: string,
  options: { tolerateTornTail?: boolean } = {},
): AsyncGenerator<JsonLine, void, undefined> {
  let line = 0;
  for await (const { bytes, ended } of rawLines(file)) {
    line++;
    const parsed = parseLine(bytes, line === 1);
    if (parsed.error === undefined) {
      if (parsed.value !== undefined) yield { line, value: parsed.value };
    } else if (!(options.tolerateTornTail === true && !ended)) {
      throw failure({
        what: `${parsed.error}${ended ? '' : ' (the last line has no newline: the file may be truncated)'}`,
        where: `${file}:${line}`,
        fix: 'correct or remove the line',
      });
    }
  }
}

/** A line's value; undefined for a blank line. */
function parseLine(bytes: Uint8Array, first: boolean): { value?: unknown; error?: string } {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: !first }).decode(bytes).trim();
  } catch {
    return { error: 'not valid UTF-8' };
  }
  if (text === '') return {};
  try {
    return { value: JSON.parse(text) as unknown };
  } catch (error) {
    return { error: `not valid JSON: ${(error as Error).message}` };
  }
}

/** Lines as bytes without their newline; `ended` tells whether there was one. */
async function* rawLines(file: string): AsyncGenerator<{ bytes: Uint8Array; ended: boolean }, void, undefined> {
  let pieces: Uint8Array[] = [];
  let pending = 0;
  let line = 1;
  for await (const chunk of fileBytes(file)) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const last = chunk.subarray(start, end);
      yield { bytes: pending === 0 ? last : Buffer.concat([...pieces, last]), ended: true };
      start = end + 1;
      pieces = [];
      pending = 0;
      line++;
    }
    pieces.push(chunk.subarray(start));
    pending += chunk.length - start;
    if (pending > MAX_LINE_BYTES) {
      throw failure({ what: `the line is longer than ${MAX_LINE_BYTES} bytes`, where: `${file}:${line}` });
    }
  }
  if (pending > 0) yield { bytes: Buffer.concat(pieces), ended: false };
}

/** Appends to a JSON lines file. Appends are done in the order of the calls. */
export interface JsonAppender {
  /** Writes one line with one write; resolves when the system has taken it. */
  append(value: unknown): Promise<void>;
  /** Resolves when everything appended is on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a journal for appending, creating it if need be. A torn last line is cut off first; a whole one without newline gets
 * its newline. After a failed write every further append fails, because the file may end in half a line.
 */
export async function openAppender(file: string, io: Io = diskIo): Promise<JsonAppender> {
  const handle = await openRepaired(file, io).catch((error: unknown) => {
    throw saveError(error, file);
  });
  let queue: Promise<void> = Promise.resolve();
  const enqueue = (work: () => Promise<void>) => {
    queue = queue.then(work).catch((error: unknown) => {
      throw saveError(error, file);
    });
    return queue;
  };
  return {
    append(value) {
      const text = JSON.stringify(value) as string | undefined;
      if (text === undefined) return Promise.reject(new TypeError(`a ${typeof value} has no JSON form`));
      return enqueue(() => writeAll(handle, new TextEncoder().encode(`${text}\n`)));
    },
    sync: () => enqueue(() => handle.sync()),
    async close() {
      try {
        await queue;
      } finally {
        await handle.close();
      }
    },
  };
}

async function openRepaired(file: string, io: Io): Promise<IoFile> {
  const existed = await repairTail(file, io);
  const handle = await io.open(file, 'a');
  if (!existed && process.platform !== 'win32') {
    await withFile(io, dirname(file), 'r', (directory) => directory.sync());
  }
  return handle;
}

/** Makes the file end with a newline. Returns whether the file exists. */
async function repairTail(file: string, io: Io): Promise<boolean> {
  const size = (await io.stat(file))?.size;
  if (size === undefined) return false;
  const tail = await lastLine(file, size);
  if (tail.length === 0) return true;
  const { error } = parseLine(tail, tail.length === size);
  if (error !== undefined) {
    await io.truncate(file, size - tail.length);
  } else {
    await withFile(io, file, 'a', (handle) => writeAll(handle, new Uint8Array([NEWLINE])));
  }
  return true;
}

/** The bytes after the last newline, found backwards from the end. */
async function lastLine(file: string, size: number): Promise<Uint8Array> {
  return withHandle(file, async (handle) => {
    let length = 0;
    while (length < size) {
      length = Math.min(size, Math.max(4096, length * 2));
      if (length > MAX_LINE_BYTES) {
        throw failure({ what: `the last line is longer than ${MAX_LINE_BYTES} bytes`, where: file });
      }
      const tail = new Uint8Array(length);
      await readFully(handle, file, tail, size - length);
      const newline = tail.lastIndexOf(NEWLINE);
      if (newline >= 0) return tail.subarray(newline + 1);
      if (length === size) return tail;
    }
    return new Uint8Array(0);
  });
}
