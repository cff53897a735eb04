/** Which GPU of NVIDIA computes, and under which driver: sums are rounded by its model's kernels. Asked of the driver's own libraries. */
import type { Gpu } from '../contract.ts';

/** A library: its functions by their prototypes in C. */
export interface Functions {
  func(prototype: string): (...values: unknown[]) => number;
}

const isWindows = process.platform === 'win32';
const DRIVER = isWindows ? 'nvcuda.dll' : 'libcuda.so.1';
const MANAGEMENT = isWindows ? 'nvml.dll' : 'libnvidia-ml.so.1';
/** Bytes of the longest name. */
const LONGEST = 96;

/**
 * Names that cannot be found out are "unknown": a container may lack the management library; then the driver is known by
 * the newest CUDA that it can run.
 * @param index as torch counts, which is as the driver counts for this process
 */
export function gpuAt(index: number, load: (library: string) => Functions): Gpu {
  const driver = known(() => {
    const library = load(MANAGEMENT);
    demand(library.func('int nvmlInit_v2()')());
    const version = library.func('int nvmlSystemGetDriverVersion(_Out_ void *version, unsigned int length)');
    return text((bytes) => version(bytes, LONGEST));
  });
  const cuda = () => {
    const version = number(load(DRIVER).func('int cuDriverGetVersion(_Out_ void *version)'));
    return `CUDA ${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
  };
  const model = known(() => {
    const library = load(DRIVER);
    demand(library.func('int cuInit(unsigned int flags)')(0));
    const get = library.func('int cuDeviceGet(_Out_ void *device, int ordinal)');
    const device = number((into) => get(into, index));
    const name = library.func('int cuDeviceGetName(_Out_ void *name, int length, int device)');
    return text((bytes) => name(bytes, LONGEST, device));
  });
  return { model: model ?? 'unknown', driver: driver ?? known(cuda) ?? 'unknown' };
}

/** Undefined where asking fails. */
function known(ask: () => string): string | undefined {
  try {
    return ask();
  } catch {
    return undefined;
  }
}

/** Both libraries return 0 when all is well. */
function demand(code: number): void {
  if (code !== 0) throw new Error(`code ${code}`);
}

function number(ask: (into: Int32Array) => number): number {
  const into = new Int32Array(1);
  demand(ask(into));
  return into[0]!;
}

/** A zero-terminated text. */
function text(ask: (into: Uint8Array) => number): string {
  const bytes = new Uint8Array(LONGEST);
  demand(ask(bytes));
  return Buffer.from(bytes).toString('latin1').split('\0')[0]!;
}
