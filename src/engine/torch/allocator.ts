/**
 * glibc returns large buffers to the system as they are freed and takes them anew, page by page, with every use: a step
 * of training frees and takes gigabytes. Here it is told to keep them. Must be called before the thread that computes is
 * started, which then shares the heap of the main thread.
 */

/** Names and values of malloc.h. */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const M_ARENA_MAX = -8;
const HUGE = 2 ** 30;

export async function keepMemory(): Promise<void> {
  if (process.platform !== 'linux') return;
  const { default: koffi } = await import('koffi').catch(() => ({ default: undefined }));
  if (!koffi) return; // the worker says that it is missing
  const mallopt = koffi.load(null).func('int mallopt(int parameter, int value)') as (p: number, v: number) => number;
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, HUGE);
  mallopt(M_TRIM_THRESHOLD, 2 ** 31 - 1);
}
