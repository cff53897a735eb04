// Around every large download: room on the disk, looked for before it begins, and a bar in whole megabytes.
import { statfs } from 'node:fs/promises';
import { failure } from './errors.ts';

const MB = 1e6;

/** Starts a bar; as RecipeContext's and the terminal's `progress`. */
export type StartBar = (label: string, total: number, unit: string) => { advance(count: number): void; done(): void };

/** "1,234": rounded up. */
export const megabytes = (bytes: number): string => Math.ceil(bytes / MB).toLocaleString('en-US');

/** Throws a failure when the disk of a directory has no room for so many bytes. */
export async function demandRoom(needed: number, directory: string, fix: string): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize >= needed) return;
  throw failure({
    what: `the disk is too full: ${megabytes(needed)} MB are needed, ${megabytes(bavail * bsize)} MB are free`,
    where: directory,
    fix,
  });
}

/** A bar around `body`, which tells the bytes as they arrive, or with a minus as they turn out to be lost. */
export async function withByteBar<T>(
  start: StartBar | undefined,
  label: string,
  bytes: number,
  body: (onBytes: (count: number) => void) => Promise<T>,
): Promise<T> {
  const bar = start?.(label, Math.ceil(bytes / MB), 'MB');
  let arrived = 0;
  let shown = 0;
  try {
    return await body((count) => {
      arrived += count;
      const whole = arrived === bytes ? Math.ceil(bytes / MB) : Math.floor(arrived / MB);
      if (whole !== shown) bar?.advance(whole - shown);
      shown = whole;
    });
  } finally {
    bar?.done();
  }
}
