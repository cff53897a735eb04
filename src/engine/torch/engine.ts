/** The engine on libtorch: f32, bf16 and f16, on CPUs and GPUs, through its C interface. */
import { availableParallelism } from 'node:os';
import type { ComputeDtype, DeviceName } from '../choose.ts';
import type { Engine } from '../contract.ts';
import type { Holding } from '../memory.ts';
import { remoteEngine } from '../remote.ts';
import { keepMemory } from './allocator.ts';
import { DETERMINISTIC_CUBLAS } from './cuda.ts';
import { KEPT_BYTES } from './head.ts';
import { MAKES_LOW } from './kernel.ts';
import type { TorchLibrary } from './library/find.ts';
import { libraryNames } from './library/locations.ts';
import { type Plan, planGraph } from './plan.ts';
import type { Hello, WorkerSettings } from './worker.ts';

export interface TorchOptions {
  readonly library: TorchLibrary;
  readonly device: DeviceName;
  readonly dtype: ComputeDtype;
  /** For the arithmetic on the CPU; default: as many as the machine offers. */
  readonly threads?: number;
  /** Avoids kernels whose sums come in any order; only GPUs have such. */
  readonly deterministic?: boolean;
}

/** How the engine holds values when it computes in this dtype. */
export function holdingIn(dtype: ComputeDtype): Holding {
  const bytes = dtype === 'f32' || dtype === 'tf32' ? 4 : 2;
  return {
    addsAtOnce: true,
    elementBytes: (op) => (MAKES_LOW.includes(op) ? bytes : 4),
    keptLogits: KEPT_BYTES,
  };
}

/** Starts the engine in a worker thread. Throws a failure when the library or the device does not work. */
export async function torchEngine({
  library,
  device,
  dtype,
  threads = availableParallelism(),
  deterministic = false,
}: TorchOptions): Promise<Engine> {
  const names = libraryNames(process);
  const file = device.startsWith('cuda') ? names.cuda : names.cpu;
  const settings: WorkerSettings = { directory: library.directory, file, device, dtype, threads, deterministic };
  if (device === 'cpu') await keepMemory();
  if (deterministic) Object.assign(process.env, DETERMINISTIC_CUBLAS);
  return remoteEngine<Plan, Hello>({
    name: 'torch',
    worker: new URL('./worker.ts', import.meta.url),
    settings,
    info: ({ version, threads, gpu }) => ({ name: 'torch', version, device, dtype, threads, ...(gpu ? { gpu } : {}) }),
    holding: holdingIn(dtype),
    prepare: (graph, freeze) => {
      const plan = planGraph(graph, freeze);
      return { plan, held: plan.frozen };
    },
  });
}
