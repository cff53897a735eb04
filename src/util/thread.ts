// Programs of this package beside the main one. From TypeScript sources (tests, examples) they run with the loader of their parent.
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

const isSource = import.meta.url.endsWith('.ts');
const built = (source: URL) => new URL(source.href.replace(/\.ts$/, '.js'));

/** A thread. `source`: URL of its source; what is built has .js in place of .ts. */
export function openWorker(source: URL, workerData: unknown): Worker {
  if (!isSource) return new Worker(built(source), { workerData });
  const loader = import.meta.resolve('tsx/esm/api');
  const code = `import('${loader}').then(({ register }) => { register(); return import('${source.href}'); });`;
  return new Worker(code, { workerData, eval: true });
}

/** A process of its own, which may die without harm. @param heap MB that its objects may take */
export function openChild(source: URL, args: readonly string[], heap: number): ChildProcess {
  return fork(fileURLToPath(isSource ? source : built(source)), args, {
    execArgv: [`--max-old-space-size=${heap}`, ...(isSource ? ['--import', import.meta.resolve('tsx')] : [])],
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
}
