/**
 * What only GPUs of NVIDIA have: which of them is used, whether products may be rounded to TF32, and whether kernels
 * with atomic additions are avoided. The switches are torch's global ones, for which its C interface has no function:
 * they are called by their C++ names, as GCC and Clang spell them.
 */
import { failure } from '../../util/index.ts';
import type { MemoryNow } from '../contract.ts';
import type { Library } from './binding.ts';

export interface Switches {
  /** f32 products on tensor cores, with operands rounded to 10 bits of mantissa. */
  readonly tf32: boolean;
  readonly deterministic: boolean;
}

const CONTEXT = '_ZN2at13globalContextEv';
/** Setter and getter of each switch. */
const TF32 = ['_ZN2at7Context18setAllowTF32CuBLASEb', '_ZNK2at7Context15allowTF32CuBLASEv'] as const;
/** (mode, only warn): what has no deterministic kernel still runs; we call nothing of that kind but `cumsum` of one row. */
const DETERMINISTIC = [
  '_ZN2at7Context26setDeterministicAlgorithmsEbb',
  '_ZNK2at7Context23deterministicAlgorithmsEv',
] as const;
/** Whether torch, when deterministic, fills all new memory first. */
const FILL = [
  '_ZN2at7Context39setDeterministicFillUninitializedMemoryEb',
  '_ZNK2at7Context36deterministicFillUninitializedMemoryEv',
] as const;

/** Environment that cuBLAS reads when it is first used; to be set before, in the main thread. */
export const DETERMINISTIC_CUBLAS = { CUBLAS_WORKSPACE_CONFIG: ':4096:8' };

/** Throws a failure when this build of torch has no such switches, or does not take them. */
export function setSwitches(library: Library, { tf32, deterministic }: Switches): void {
  const reject = (what: string) => failure({ what, fix: 'use another build of torch: `selfplay engine use DIR`' });
  const names = [CONTEXT, ...TF32, ...DETERMINISTIC, ...FILL];
  const missing = names.find((name) => !library.has(name));
  if (missing !== undefined) throw reject(`this build of torch has no function ${missing}`);
  const context = library.address(CONTEXT);
  library.invoke(TF32[0], 'pi', context, Number(tf32));
  library.invoke(FILL[0], 'pi', context, 0);
  library.invoke(DETERMINISTIC[0], 'pii', context, Number(deterministic), 1);
  const wanted = [
    [TF32, tf32],
    [FILL, false],
    [DETERMINISTIC, deterministic],
  ] as const;
  for (const [[setter, getter], value] of wanted) {
    if (library.flag(getter, context) !== value) throw reject(`this build of torch does not take ${setter}`);
  }
}

/** Makes GPU `index` the one that this thread uses, for as long as the thread lives. */
export function useGpu(library: Library, index: number): void {
  library.call('aoti_torch_create_cuda_guard', 'ip', index, library.results[0]);
}

/** Of CUDA's runtime, which torch has loaded: free and total bytes of the GPU that this thread uses. */
const MEMORY = 'cudaMemGetInfo';

/** The memory of the GPU; undefined where this build of torch has no runtime of its own to ask. */
export function gpuMemory(library: Library): MemoryNow | undefined {
  if (!library.has(MEMORY)) return undefined;
  library.call(MEMORY, 'pp', library.results[0], library.results[1]);
  const [free, total] = [library.written(0), library.written(1)];
  return { used: total - free, limit: total, total };
}
