// Which process is it, and is it still there? A process id alone is reused by the system, so on Linux an identity also holds
// the boot and the start time; elsewhere it is the id only.

import { readFileSync } from 'node:fs';

/** Identity of a process: its id, and on Linux boot and start time as `BOOT.TICKS` (elsewhere '0'). */
export interface ProcessIdentity {
  readonly pid: number;
  readonly start: string;
}

/** The identity of the running process. */
export function currentProcess(): ProcessIdentity {
  return { pid: process.pid, start: startTime(process.pid) ?? '0' };
}

/** Whether exactly this process (not another with a reused id) is running on this machine. */
export function isRunning(identity: ProcessIdentity): boolean {
  try {
    process.kill(identity.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  if (process.platform !== 'linux') return true;
  return startTime(identity.pid) === identity.start;
}

/** `BOOT.TICKS` of a process on Linux; undefined when there is none, when it is a zombie, or on other systems. */
function startTime(pid: number): string | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the command in parentheses and may itself hold spaces: count from its end.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').slice(0, 8);
    return `${boot}.${fields[19] ?? ''}`;
  } catch {
    return undefined;
  }
}
