// Fetching over HTTP from servers that misbehave: tries again after cut connections and after 429 and 5xx, waits as long as
// the server asks, goes on with a cut file where it ended, and knows a server that does not serve parts of files.
import { open, rm, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { failure, SelfplayError, saveError } from '../../../util/index.ts';

const ATTEMPTS = 5;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 60_000;
/** A connection on which nothing arrives for so long is given up. */
const STALL_MS = 60_000;
const TRY_AGAIN: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);
/** Answers of servers that do not serve ranges; 200 is the whole file. */
const NO_RANGES: ReadonlySet<number> = new Set([200, 400, 405, 416, 501]);

export interface WebOptions {
  readonly signal?: AbortSignal | undefined;
  /** Waits before another try; a test need not. */
  readonly pause?: ((milliseconds: number) => Promise<unknown>) | undefined;
}

export type Web = ReturnType<typeof webClient>;

/** Fetches until it works or has failed often enough; every error is a failure that names the address. */
export function webClient({ signal, pause = (ms) => sleep(ms, undefined, signal && { signal }) }: WebOptions = {}) {
  /**
   * One answer, used up by `use`, which calls `alive` whenever bytes arrive. `range` is asked anew before each try.
   * @throws failure after ATTEMPTS tries in a row that brought nothing
   */
  async function request<T>(
    url: string,
    headers: () => Record<string, string>,
    use: (response: Response, alive: () => void) => Promise<T>,
  ): Promise<T> {
    const { address, authorization } = withoutCredentials(url);
    let failed = 0;
    for (;;) {
      const stalled = new AbortController();
      const timer = setTimeout(() => stalled.abort(new Error(`nothing arrived for ${STALL_MS / 1000} s`)), STALL_MS);
      let problem: string;
      let wait = FIRST_WAIT_MS * 2 ** failed;
      try {
        const response = await fetch(address, {
          // Byte counts are of the file as it is: no compression on the way.
          headers: { 'accept-encoding': 'identity', ...authorization, ...headers() },
          signal: signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal,
        });
        if (!TRY_AGAIN.has(response.status)) {
          return await use(response, () => {
            failed = 0;
            timer.refresh();
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
      if (failed >= ATTEMPTS) throw unreachable(address, problem);
      try {
        await pause(Math.min(wait, LONGEST_WAIT_MS));
      } catch {
        throw stopped();
      }
    }
  }

  return {
    /** A text with its media type, and the address that it came from after redirects. Throws a failure if refused. */
    text: (url: string, accept: string): Promise<{ text: string; type: string; url: string }> =>
      request(
        url,
        () => ({ accept }),
        async (response) => {
          if (!response.ok) throw refused(url, response.status);
          const type = response.headers.get('content-type') ?? '';
          return { text: await response.text(), type, url: response.url };
        },
      ),

    /** Some bytes of a file; undefined when the server does not serve ranges. */
    range: (url: string, from: number, length: number): Promise<Uint8Array | undefined> =>
      request(
        url,
        () => rangeHeader(from, from + length),
        async (response) => {
          if (!(await servesRange(url, response, from))) return undefined;
          const bytes = new Uint8Array(await response.arrayBuffer());
          if (bytes.length !== length) throw new Error(`${bytes.length} bytes arrived of ${length}`);
          return bytes;
        },
      ),

    /**
     * Fetches bytes [from, from + length) of a file into `path`, or goes on with what lies there.
     * @param onBytes called with the number of bytes that arrived, and first with what was there
     * @returns false when the server does not serve ranges; nothing is written then
     */
    download: async (
      url: string,
      { from, length }: { from: number; length: number },
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
        async (response, alive) => {
          if (!(await servesRange(url, response, from + done))) return false;
          await append(response, path, 'a', (count) => {
            done += count;
            alive();
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
        async (response) => {
          if (!response.ok) throw refused(url, response.status);
          onBytes(-done);
          done = 0;
          await append(response, path, 'w', (count) => {
            done += count;
            onBytes(count);
          });
          if (done !== size) throw new Error(`${done} bytes arrived of ${size}`);
        },
      );
    },
  };
}

/** Writes the body to a file, piece by piece. A write that fails is a SelfplayError, so that it is not tried again. */
async function append(
  response: Response,
  path: string,
  flags: 'a' | 'w',
  wrote: (count: number) => void,
): Promise<void> {
  const cannot = (error: unknown) => {
    throw saveError(error, path);
  };
  const file = await open(path, flags).catch(cannot);
  try {
    for await (const piece of response.body ?? []) {
      await file.writeFile(piece as Uint8Array).catch(cannot);
      wrote((piece as Uint8Array).length);
    }
  } finally {
    await file.close();
  }
}

/** Whether the answer is the range that begins at `from`. Throws a failure when the file is refused altogether. */
async function servesRange(url: string, response: Response, from: number): Promise<boolean> {
  const start = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1];
  if (response.status === 206 && start === String(from)) return true;
  await response.body?.cancel();
  if (response.status === 206 || NO_RANGES.has(response.status)) return false;
  throw refused(url, response.status);
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

function retryAfter(response: Response): number | undefined {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
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

function refused(url: string, status: number): SelfplayError {
  const where = withoutCredentials(url).address;
  const fix =
    status === 401 || status === 403
      ? 'PIP_INDEX_URL may carry the name and password: https://NAME:PASSWORD@HOST/simple'
      : 'is PIP_INDEX_URL right? Or use a torch that is there: `selfplay engine use DIR`';
  return failure({ what: `the server refuses the file with status ${status}`, where, fix });
}

function unreachable(where: string, problem: string): SelfplayError {
  return failure({
    what: `cannot fetch, tried ${ATTEMPTS} times: ${problem}`,
    where,
    fix:
      'when the network is back run the same command again, it continues; without a network use a torch that is there: ' +
      '`selfplay engine use DIR`',
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
  return failure({ what: 'stopped; what was fetched is kept', fix: 'run the same command again: it continues' });
}
