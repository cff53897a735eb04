/** The engine on onnxruntime: fp32 on CPUs, nothing to install. */
import { availableParallelism } from 'node:os';
import type { Engine } from '../contract.ts';
import { remoteEngine } from '../remote.ts';
import { lower } from './lower.ts';
import type { WorkerSettings } from './settings.ts';

/** Version of the package that computes; a test compares it with package.json. */
const ONNXRUNTIME_VERSION = '1.30.0';

/**
 * Starts the engine in a worker thread.
 * @param threads for the arithmetic; default: as many as the machine offers
 */
export function onnxEngine({ threads = availableParallelism() }: { threads?: number } = {}): Promise<Engine> {
  const settings: WorkerSettings = { threads };
  return remoteEngine({
    name: 'onnx',
    worker: new URL('./worker.ts', import.meta.url),
    settings,
    info: () => ({ name: 'onnx', version: ONNXRUNTIME_VERSION, device: 'cpu', dtype: 'f32', threads }),
    holding: { addsAtOnce: false, elementBytes: () => 4, keptLogits: 0 },
    prepare: (graph, freeze) => {
      const plan = lower(graph, freeze);
      return { plan, held: plan.weights.map(({ state }) => state) };
    },
  });
}
