/** The worker's side of an engine: answers requests one after another, in order; errors become messages. */
import { parentPort } from 'node:worker_threads';
import { SelfplayError } from '../util/index.ts';
import type { Tensor } from './contract.ts';
import type { Problem, Reply, Request, Results } from './messages.ts';

type Kind = keyof Results;

/** One function per kind of request. */
export type Handlers<P> = {
  readonly [K in Kind]: (request: Request<P> & { kind: K }) => Promise<Results[K]> | Results[K];
};

/**
 * Opens what the requests work on and serves them until `close`.
 * @param open returns what the main thread is told first, and the handlers; when it throws, the engine fails to open
 */
export async function serve<P, H>(
  open: () => Promise<{ hello: H; handlers: Handlers<P> }> | { hello: H; handlers: Handlers<P> },
): Promise<void> {
  const port = parentPort!;
  const say = (reply: Reply<H>, buffers: ArrayBuffer[] = []) => port.postMessage(reply, buffers);
  let handlers: Handlers<P>;
  try {
    const opened = await open();
    handlers = opened.handlers;
    say({ kind: 'hello', hello: opened.hello });
  } catch (error) {
    say({ kind: 'stillborn', problem: problemOf(error) });
    return;
  }

  let queue = Promise.resolve();
  port.on('message', ({ id, request }: { id: number; request: Request<P> }) => {
    queue = queue.then(async () => {
      try {
        const handle = handlers[request.kind] as (request: Request<P>) => Promise<Results[Kind]>;
        const result = await handle(request);
        say({ kind: 'result', id, result }, buffersOf(result));
      } catch (error) {
        say({ kind: 'problem', id, problem: problemOf(error) });
      }
      if (request.kind === 'close') port.close();
    });
  });
}

function problemOf(error: unknown): Problem {
  if (error instanceof SelfplayError) return { what: error.what, fix: error.fix, code: error.code };
  return { what: error instanceof Error ? error.message : String(error) };
}

/** Buffers of a result, each once, to be handed over instead of copied. */
function buffersOf(result: Results[Kind]): ArrayBuffer[] {
  const parts: unknown[] = result instanceof Float32Array ? [{ data: result }] : Object.values(result ?? {});
  const arrays = parts.flatMap((part) => (typeof part === 'object' ? [(part as Pick<Tensor, 'data'>).data] : []));
  return [...new Set(arrays.map(({ buffer }) => buffer as ArrayBuffer))];
}
