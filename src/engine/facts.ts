// What this machine has, as far as the choice of an engine depends on it. Read from the system's files; nothing is loaded.
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { arch, cpus } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { exists } from '../util/index.ts';

/** Flags of /proc/cpuinfo (x86: flags, Arm: Features) -> instructions for bf16, fastest first. */
const BF16_FLAGS = [
  ['amx_bf16', 'AMX'],
  ['avx512_bf16', 'AVX512-BF16'],
  ['bf16', 'Arm BF16'],
] as const;

/** Traces of NVIDIA's driver: its device on Linux, in WSL, on Windows. */
const GPU_TRACES: Partial<Record<NodeJS.Platform, readonly string[]>> = {
  linux: ['/dev/nvidiactl', '/usr/lib/wsl/lib/libcuda.so.1'],
  win32: [join(process.env['SystemRoot'] ?? 'C:\\Windows', 'System32', 'nvcuda.dll')],
};

/** The processor's instructions for bf16, fastest first; empty where there are none or the system does not tell. */
export async function bf16Instructions(): Promise<string[]> {
  if (process.platform === 'darwin') {
    const { stdout } = await promisify(execFile)('sysctl', ['-n', 'hw.optional.arm.FEAT_BF16']).catch(() => ({
      stdout: '',
    }));
    return stdout.trim() === '1' ? ['Arm BF16'] : [];
  }
  return bf16InCpuinfo(await readFile('/proc/cpuinfo', 'utf8').catch(() => ''));
}

/** The same from the text of /proc/cpuinfo. */
export function bf16InCpuinfo(text: string): string[] {
  const flags = new Set(flagsIn(text));
  return BF16_FLAGS.filter(([flag]) => flags.has(flag)).map(([, name]) => name);
}

/** Flags of /proc/cpuinfo by which libraries choose their kernels, x86 and Arm. (x86 has sme, smep and svm: other things.) */
const KERNEL_FLAG = /^(sse4|ssse3$|avx|fma$|f16c$|amx_|asimd|sve|sme(2|[bfi]\d)|i8mm$|bf16$)/;

/** What of the processor decides how sums are rounded: its architecture, model and instructions for arithmetic. */
export interface Processor {
  readonly architecture: string;
  readonly model: string;
  /** Flags as Linux names them, sorted, with spaces between; empty where the system does not tell. */
  readonly instructions: string;
}

export async function processor(): Promise<Processor> {
  const cpuinfo = await readFile('/proc/cpuinfo', 'utf8').catch(() => '');
  return {
    architecture: arch(),
    model: cpus()[0]?.model.trim() ?? 'unknown',
    instructions: kernelFlagsIn(cpuinfo).join(' '),
  };
}

/** Those flags in the text of /proc/cpuinfo, sorted. */
export function kernelFlagsIn(text: string): string[] {
  return flagsIn(text)
    .filter((flag) => KERNEL_FLAG.test(flag))
    .sort();
}

const flagsIn = (text: string) => /^(?:flags|Features)\s*:(.*)$/m.exec(text)?.[1]?.split(/\s+/) ?? [];

/** Whether NVIDIA's driver is here. */
export async function hasGpu(): Promise<boolean> {
  for (const path of GPU_TRACES[process.platform] ?? []) if (await exists(path)) return true;
  return false;
}

/** Whether this is a Mac with Apple's processor. */
export const isAppleSilicon = (): boolean => process.platform === 'darwin' && process.arch === 'arm64';
