// One process per run directory. Each process puts a claim file, named by its own identity, into the directory and only then
// looks for claims of others. Of two that start together at least one sees the other, and claims of dead processes can be
// removed by anybody without a race, because an identity never comes back. (Two that start in the same instant may both refuse.)

import { open, readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { failure, usageError } from './errors.ts';
import { currentProcess, isRunning } from './processes.ts';

const CLAIM_NAME = /^lock-(\d+)-([0-9a-f]+\.\d+|0)$/;
const heldHere = new Set<string>();

/**
 * Takes the directory for this process until `release`. Throws a usage error when another live process, or this one, holds
 * it; claims of dead processes are cleared away. The lock holds between processes of one machine.
 */
export async function lockDirectory(dir: string): Promise<{ release(): Promise<void> }> {
  const root = resolve(dir);
  if (heldHere.has(root)) throw inUse(root, process.pid);
  heldHere.add(root);
  const own = currentProcess();
  const name = `lock-${own.pid}-${own.start}`;
  const release = async () => {
    await rm(join(root, name), { force: true });
    heldHere.delete(root);
  };
  try {
    await (await open(join(root, name), 'w')).close();
    for (const entry of await readdir(root)) {
      const [, pid, start] = CLAIM_NAME.exec(entry) ?? [];
      if (entry === name || pid === undefined || start === undefined) continue;
      if (isRunning({ pid: Number(pid), start })) throw inUse(root, Number(pid));
      await rm(join(root, entry), { force: true });
    }
  } catch (error) {
    await release().catch(() => undefined);
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    throw failure({ what: `cannot lock the run directory: ${(error as Error).message}`, where: root, cause: error });
  }
  return { release };
}

function inUse(where: string, pid: number): Error {
  return usageError({
    what: `run directory in use by process ${pid}`,
    where,
    fix: 'wait until that process ends, stop it, or choose another run directory',
  });
}
