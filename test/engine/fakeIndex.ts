// A package index on this machine that serves one small wheel, and misbehaves as a test says.
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { crc32, deflateRawSync } from 'node:zlib';
import { onTestFinished } from 'vitest';
import { libraryNames } from '../../src/engine/torch/library/locations.ts';
import type { PinnedWheel } from '../../src/engine/torch/library/pins.ts';

export const LIBRARY = libraryNames(process).cpu;
const FILENAME = 'torch-2.15.0-cp312-cp312-any.whl';

/** A zip with deflated members, as a wheel is. */
function zip(members: ReadonlyMap<string, Buffer>): { bytes: Buffer; packed: ReadonlyMap<string, number> } {
  const [local, central, packed] = [[] as Buffer[], [] as Buffer[], new Map<string, number>()];
  let offset = 0;
  for (const [name, data] of members) {
    const body = deflateRawSync(data);
    packed.set(name, body.length);
    // Version, flags, method, time, date, CRC, sizes, lengths of name and extra field: the same in both headers.
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(8, 4);
    common.writeUInt32LE(crc32(data), 10);
    common.writeUInt32LE(body.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(name.length, 22);
    const entry = Buffer.alloc(14);
    entry.writeUInt32LE(offset, 10);
    central.push(Buffer.from('PK\u0001\u0002\u0014\0', 'latin1'), common, entry, Buffer.from(name));
    // An extra field in the local header only, as zipfile writes for big members.
    common.writeUInt16LE(4, 24);
    const parts = [
      Buffer.from('PK\u0003\u0004', 'latin1'),
      Buffer.from(common),
      Buffer.from(name),
      Buffer.alloc(4),
      body,
    ];
    common.writeUInt16LE(0, 24);
    local.push(...parts);
    offset += parts.reduce((sum, part) => sum + part.length, 0);
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(22);
  end.write('PK\u0005\u0006', 'latin1');
  end.writeUInt16LE(members.size, 8);
  end.writeUInt16LE(members.size, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return { bytes: Buffer.concat([...local, directory, end]), packed };
}

/** Bytes that do not compress: what is fetched is then as large as what is installed. */
function noise(length: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / 32) }, (_, i) => createHash('sha256').update(`${i}`).digest());
  return Buffer.concat(blocks).subarray(0, length);
}

export const CONTENT: ReadonlyMap<string, Buffer> = new Map([
  [`torch/lib/${LIBRARY}`, noise(400_000)],
  ['torch/lib/unwanted.so', noise(300_000)],
  ['torch/version.py', Buffer.from("__version__ = '2.15.0+test'\n")],
]);
const WHEEL = zip(CONTENT);
export const WHEEL_SIZE = WHEEL.bytes.length;
const WANTED = [`torch/lib/${LIBRARY}`, 'torch/version.py'];

/** Pins of the wheel; `change` replaces parts of the library's. */
export function pins(change: Partial<PinnedWheel['files'][number]> = {}): PinnedWheel[] {
  const files = WANTED.map((member) => {
    const data = CONTENT.get(member)!;
    const sha256 = createHash('sha256').update(data).digest('hex');
    const name = member.slice(member.lastIndexOf('/') + 1);
    const pin = { member, name, size: data.length, packed: WHEEL.packed.get(member)!, sha256 };
    return name === LIBRARY ? { ...pin, ...change } : pin;
  });
  return [{ project: 'torch', filename: FILENAME, size: WHEEL_SIZE, files }];
}

export interface Asked {
  readonly path: string;
  readonly range: readonly [number, number] | undefined;
  readonly authorization: string | undefined;
}

/** How one request for the wheel is answered; undefined: as it should be. */
export interface Answer {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  /** The connection breaks after so many bytes of the body; with `hang` it stays open and silent. */
  readonly cutAfter?: number;
  readonly hang?: boolean;
  /** The whole wheel, whatever range is asked for. */
  readonly whole?: boolean;
  /** Bytes of the body are turned over. */
  readonly corrupt?: boolean;
}

export interface FakeIndex {
  readonly url: string;
  /** Every request so far. */
  readonly asked: Asked[];
  /** Bytes of the wheel that were sent. */
  sent(): number;
  /** Resolves when the wheel is being sent and hangs. */
  readonly hanging: Promise<void>;
}

/** Starts the server; `answer` is asked at each request for the wheel, with its number from 0. */
export async function fakeIndex(
  answer: (asked: Asked, number: number) => Answer | undefined = () => undefined,
  page: 'json' | 'html' | 'empty' = 'json',
): Promise<FakeIndex> {
  const asked: Asked[] = [];
  let [sent, number] = [0, 0];
  let hangs = () => {};
  const hanging = new Promise<void>((resolve) => {
    hangs = resolve;
  });
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const range = from === undefined ? undefined : ([Number(from), Number(to) + 1] as const);
    const one: Asked = { path: request.url ?? '', range, authorization: request.headers.authorization };
    asked.push(one);
    if (one.path === '/simple/torch/') return sendPage(response, page);
    if (!one.path.endsWith(FILENAME)) return void response.writeHead(404).end();
    const { status, headers, cutAfter, hang, whole, corrupt } = answer(one, number++) ?? {};
    if (status !== undefined) return void response.writeHead(status, headers).end();
    const [start, end] = whole || !range ? [0, WHEEL_SIZE] : range;
    const body = Buffer.from(WHEEL.bytes.subarray(start, end));
    if (corrupt) body[body.length >> 1]! ^= 0xff;
    const partial = range && !whole ? { 'content-range': `bytes ${start}-${end - 1}/${WHEEL_SIZE}` } : {};
    response.writeHead(range && !whole ? 206 : 200, { 'content-length': body.length, ...partial });
    const piece = body.subarray(0, cutAfter);
    sent += piece.length;
    response.write(piece, () => {
      if (hang) hangs();
      else if (cutAfter === undefined) response.end();
      else setTimeout(() => response.destroy(), 50);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/simple`, asked, sent: () => sent, hanging };
}

function sendPage(response: ServerResponse, page: 'json' | 'html' | 'empty'): void {
  if (page === 'html') {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
    response.end(`<!DOCTYPE html><a href="../other.whl">other</a> <a href='../../files/${FILENAME}#sha256=00'>x</a>`);
    return;
  }
  const file = { filename: FILENAME, url: `../../files/${FILENAME}` };
  response.writeHead(200, { 'content-type': 'application/vnd.pypi.simple.v1+json' });
  response.end(JSON.stringify({ files: page === 'json' ? [file] : [] }));
}
