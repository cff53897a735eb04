// Fetching over HTTP from servers that misbehave: tries again after cut connections and after 429 and 5xx, waits as long as
// the server asks, goes on with a cut file where it ended, and knows a server that does not serve parts of files.
// Notable choices: redirects are followed here and not by fetch, so that credentials go to the first address's origin and
// nowhere else; no memory is taken by what a server says of sizes; a file is written at fixed places, so that two processes
// that fetch the same one write the same bytes to the same places.
import { constants } from 'node:fs';
import { open, rm, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { saveError } from './atomic.ts';
import { failure, SelfplayError } from './errors.ts';

const ATTEMPTS = 5;
const FIRST_WAIT_MS = 500;
/** Longest wait that a server may ask for: Hugging Face counts requests in windows of five minutes. */
const LONGEST_WAIT_MS = 300_000;
/** A connection on which nothing arrives for so long is given up; a text must be there by then. */
const STALL_MS = 60_000;
/** Largest text (a listing, an index) that is read. */
const MAX_TEXT_BYTES = 64 * 1024 * 1024;
const MAX_REDIRECTS = 10;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const TRY_AGAIN: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);
/** Answers of servers that do not serve ranges; 200 is the whole file. */
const NO_RANGES: ReadonlySet<number> = new Set([200, 400, 405, 416, 501]);

export interface WebOptions {
  readonly signal?: AbortSignal | undefined;
  /** Waits before another try; a test need not. */
  readonly pause?: ((milliseconds: number) => Promise<unknown>) | undefined;
  /** Milliseconds after which a silent connection is given up (default: a minute). */
  readonly stall?: number | undefined;
}

/** What is peculiar to the servers that a client is for. */
export interface WebPeculiarities {
  /** Headers that only the origin of the address asked for may see; names and passwords in addresses need none. */
  readonly secrets?: (address: string) => Readonly<Record<string, string>>;
  /** The error for an answer that no second try changes. `where`: the address without name and password. */
  readonly refused: (where: string, status: number, headers: Headers) => SelfplayError;
  /** What to do when the server cannot be reached. */
  readonly unreachable: string;
}

export type Web = ReturnType<typeof webClient>;

/** An answer that is being read: its own address after redirects; `alive` is called whenever bytes arrive. */
interface Answer {
  readonly response: Response;
  readonly url: string;
  readonly alive: () => void;
  /** What was done so far need not be done again: tries are counted anew. */
  readonly progressed: () => void;
}

/** Fetches until it works or has failed often enough; every error is a failure that names the address. */
export function webClient(
  { signal, pause = (ms) => sleep(ms, undefined, signal && { signal }), stall = STALL_MS }: WebOptions,
  { secrets = () => ({}), refused, unreachable }: WebPeculiarities,
) {
  /**
   * One answer, used up by `use`. `headers` is asked anew before each try.
   * @throws failure after ATTEMPTS tries in a row that brought nothing (code "unreachable")
   */
  async function request<T>(
    url: string,
    headers: () => Record<string, string>,
    use: (answer: Answer) => Promise<T>,
  ): Promise<T> {
    const { address, authorization } = withoutCredentials(url);
    let failed = 0;
    for (;;) {
      const stalled = new AbortController();
      const timer = setTimeout(() => stalled.abort(new Error(`nothing arrived for ${stall / 1000} s`)), stall);
      let problem: string;
      let wait = FIRST_WAIT_MS * 2 ** failed;
      try {
        const { response, at } = await follow(address, {
          // Byte counts are of the file as it is: no compression on the way.
          open: { 'accept-encoding': 'identity', ...headers() },
          secret: { ...authorization, ...secrets(address) },
          signal: signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal,
        });
        if (!TRY_AGAIN.has(response.status)) {
          return await use({
            response,
            url: at,
            alive: () => timer.refresh(),
            progressed: () => {
              failed = 0;
            },
          });
        }
        problem = `the server answers ${response.status}`;
        wait = retryAfter(response) ?? wait;
        await response.body?.cancel();
      } catch (error) {
        if (signal?.aborted) throw stopped();
        if (error instanceof SelfplayError) throw error;
        problem = reasonOf(error);
        if (/certificate/i.test(problem)) throw untrusted(address, problem);
      } finally {
        clearTimeout(timer);
      }
      failed++;
      if (failed >= ATTEMPTS) {
        const what = `cannot fetch, tried ${ATTEMPTS} times: ${problem}`;
        throw failure({ what, where: address, fix: unreachable, code: 'unreachable' });
      }
      try {
        await pause(Math.min(wait, LONGEST_WAIT_MS));
      } catch {
        throw stopped();
      }
    }
  }

  const refuse = (url: string, { status, headers }: Response) =>
    refused(withoutCredentials(url).address, status, headers);

  /** Whether the answer is the range that begins at `from`. Throws a failure when the file is refused altogether. */
  async function servesRange(url: string, response: Response, from: number, size?: number): Promise<boolean> {
    const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '') ?? [];
    if (response.status === 206 && start === String(from)) {
      if (size === undefined || total === '*' || total === String(size)) return true;
      throw otherSize(withoutCredentials(url).address, total!, size);
    }
    await response.body?.cancel();
    if (response.status === 206 || NO_RANGES.has(response.status)) return false;
    throw refuse(url, response);
  }

  return {
    /** A text with its headers, and the address that it came from after redirects. Throws a failure if refused. */
    text: (url: string, accept: string): Promise<{ text: string; headers: Headers; url: string }> =>
      request(
        url,
        () => ({ accept }),
        async ({ response, url: at }) => {
          if (!response.ok) throw refuse(url, response);
          return {
            text: await boundedText(response, withoutCredentials(url).address),
            headers: response.headers,
            url: at,
          };
        },
      ),

    /** Some bytes of a file; undefined when the server does not serve ranges. */
    range: (url: string, from: number, length: number): Promise<Uint8Array | undefined> =>
      request(
        url,
        () => rangeHeader(from, from + length),
        async ({ response, alive }) => {
          if (!(await servesRange(url, response, from))) return undefined;
          const bytes = new Uint8Array(length);
          let done = 0;
          for await (const piece of piecesOf(response, length)) {
            bytes.set(piece, done);
            done += piece.length;
            alive();
          }
          if (done !== length) throw new Error(`${done} bytes arrived of ${length}`);
          return bytes;
        },
      ),

    /**
     * Fetches bytes [from, from + length) of a file into `path`, or goes on with what lies there.
     * @param size of the whole file, if it is known: a server that has another size is refused
     * @param onBytes called with the number of bytes that arrived, and first with what was there
     * @returns false when the server does not serve ranges; nothing is written then
     */
    download: async (
      url: string,
      { from, length, size }: { from: number; length: number; size?: number },
      path: string,
      onBytes: (count: number) => void,
    ): Promise<boolean> => {
      let done = await sizeOf(path);
      if (done > length) {
        await rm(path);
        done = 0;
      }
      onBytes(done);
      if (done === length) return true;
      return request(
        url,
        () => rangeHeader(from + done, from + length),
        async ({ response, alive, progressed }) => {
          if (!(await servesRange(url, response, from + done, size))) return false;
          await write(response, path, { at: done, length: length - done }, (count) => {
            done += count;
            alive();
            progressed();
            onBytes(count);
          });
          if (done !== length) throw new Error(`the connection ended ${length - done} bytes early`);
          return true;
        },
      );
    },

    /** Fetches a whole file of `size` bytes into `path`; after a cut it begins anew. */
    downloadWhole: (url: string, size: number, path: string, onBytes: (count: number) => void): Promise<void> => {
      let done = 0;
      return request(
        url,
        () => ({}),
        async ({ response, alive }) => {
          if (!response.ok) throw refuse(url, response);
          const announced = response.headers.get('content-length');
          if (announced !== null && announced !== String(size)) {
            throw otherSize(withoutCredentials(url).address, announced, size);
          }
          onBytes(-done);
          done = 0;
          await rm(path, { force: true });
          await write(response, path, { at: 0, length: size }, (count) => {
            done += count;
            alive();
            onBytes(count);
          });
          if (done !== size) throw new Error(`${done} bytes arrived of ${size}`);
        },
      );
    },
  };
}

/** Fetches and follows redirects. `secret` headers are for the first address's origin alone. */
async function follow(
  address: string,
  {
    open,
    secret,
    signal,
  }: Record<'open' | 'secret', Readonly<Record<string, string>>> & { readonly signal: AbortSignal },
): Promise<{ response: Response; at: string }> {
  const { origin } = new URL(address);
  let at = address;
  for (let hops = 0; ; hops++) {
    const headers = new URL(at).origin === origin ? { ...open, ...secret } : open;
    const response = await fetch(at, { headers, signal, redirect: 'manual' });
    const location = response.headers.get('location');
    if (!REDIRECTS.has(response.status) || location === null) return { response, at };
    await response.body?.cancel();
    const wrong = (what: string) => failure({ what, where: address, fix: 'is the address of the server right?' });
    if (hops === MAX_REDIRECTS) throw wrong(`the server redirects more than ${MAX_REDIRECTS} times`);
    const next = URL.canParse(location, at) ? new URL(location, at) : undefined;
    if (next === undefined || !/^https?:$/.test(next.protocol)) throw wrong('the server redirects to no web address');
    if (next.protocol === 'http:' && at.startsWith('https:')) {
      throw wrong(`the server redirects to an address that is not encrypted, at ${next.host}`);
    }
    at = next.href;
  }
}

/** The body piece by piece, `length` bytes at most; the rest, if there is any, is left. */
async function* piecesOf(response: Response, length: number): AsyncGenerator<Uint8Array, void, undefined> {
  let left = length;
  for await (const piece of response.body ?? []) {
    const wanted = (piece as Uint8Array).subarray(0, left);
    left -= wanted.length;
    yield wanted;
    if (left === 0) return;
  }
}

async function boundedText(response: Response, where: string): Promise<string> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of response.body ?? []) {
    pieces.push(piece as Uint8Array);
    size += (piece as Uint8Array).length;
    if (size > MAX_TEXT_BYTES) {
      throw failure({ what: `the server's answer is longer than ${MAX_TEXT_BYTES} bytes`, where });
    }
  }
  return Buffer.concat(pieces).toString('utf8');
}

/** Writes the body into a file, at its place. A write that fails is a SelfplayError, so that it is not tried again. */
async function write(
  response: Response,
  path: string,
  { at, length }: { readonly at: number; readonly length: number },
  wrote: (count: number) => void,
): Promise<void> {
  const cannot = (error: unknown) => {
    throw saveError(error, path);
  };
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT).catch(cannot);
  try {
    let position = at;
    for await (const piece of piecesOf(response, length)) {
      for (let done = 0; done < piece.length; ) {
        const { bytesWritten } = (await file.write(piece, done, piece.length - done, position).catch(cannot))!;
        done += bytesWritten;
        position += bytesWritten;
      }
      wrote(piece.length);
    }
  } finally {
    await file.close();
  }
}

const rangeHeader = (from: number, end: number): Record<string, string> => ({ range: `bytes=${from}-${end - 1}` });

/** An address may carry name and password, as PIP_INDEX_URL's may; fetch wants them in a header. */
function withoutCredentials(url: string): { address: string; authorization: Record<string, string> } {
  const parsed = new URL(url);
  if (parsed.username === '' && parsed.password === '') return { address: url, authorization: {} };
  const pair = `${decodeURIComponent(parsed.username)}:${decodeURIComponent(parsed.password)}`;
  parsed.username = '';
  parsed.password = '';
  return { address: parsed.href, authorization: { authorization: `Basic ${Buffer.from(pair).toString('base64')}` } };
}

/** Milliseconds that the server asks to wait, in seconds or as a date. */
function retryAfter(response: Response): number | undefined {
  const asked = response.headers.get('retry-after');
  if (asked === null) return undefined;
  const ms = /^\d+$/.test(asked) ? Number(asked) * 1000 : Date.parse(asked) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}

/** What fetch says is "fetch failed"; the reason is in its cause. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error && cause.message !== '' ? cause.message : message;
}

function otherSize(where: string, said: string, size: number): SelfplayError {
  return failure({
    what: `the server has a file of ${said} bytes here, not of ${size}`,
    where,
    fix: 'try again later',
  });
}

function untrusted(where: string, problem: string): SelfplayError {
  return failure({
    what: `the server's certificate is not trusted: ${problem}`,
    where,
    fix: 'name the file with the certificates of your network in NODE_EXTRA_CA_CERTS',
  });
}

function stopped(): SelfplayError {
  const fix = 'run the same command again: it continues';
  return failure({ what: 'stopped; what was fetched is kept', fix, code: 'stopped' });
}
