/** The thread that owns a torch device and its states. Requests are answered one after another, in order. */
import { workerData } from 'node:worker_threads';
import { failure } from '../../util/index.ts';
import type { ComputeDtype, DeviceName } from '../choose.ts';
import type { Gpu } from '../contract.ts';
import { hostMemory } from '../memory.ts';
import { serve } from '../serve.ts';
import { atenOn } from './aten.ts';
import { gpuMemory } from './cuda.ts';
import { gpuAt } from './gpu.ts';
import { kernelsOn } from './kernels.ts';
import type { Plan } from './plan.ts';
import { openProgram, type Program, translated } from './program.ts';
import { statesOn } from './states.ts';
import { type Device, openDevice } from './tensors.ts';

/** What the worker is started with. */
export interface WorkerSettings {
  readonly directory: string;
  readonly file: string;
  readonly device: DeviceName;
  readonly dtype: ComputeDtype;
  readonly threads: number;
  /** Avoids kernels whose sums come in any order. */
  readonly deterministic: boolean;
}

/** What it found. */
export interface Hello {
  readonly version: string;
  readonly threads: number;
  readonly gpu: Gpu | undefined;
}

const { directory, file, device: name, dtype: asked, threads, deterministic } = workerData as WorkerSettings;
const dtype = asked === 'tf32' ? 'f32' : asked;

await serve<Plan, Hello>(async () => {
  const device = await openDevice(directory, file, name, threads, { tf32: asked === 'tf32', deterministic });
  const aten = atenOn(device);
  const states = statesOn(device, aten, dtype);
  const tools = { device, kernels: kernelsOn(device, aten, dtype), states };
  const programs = new Map<number, Program>();
  /** Names the request in what torch says. */
  const doing = <T>(what: string, body: () => T): T => {
    try {
      return body();
    } catch (error) {
      throw translated(error, what);
    }
  };
  return {
    hello: { version: device.library.version, threads: device.threads, gpu: await gpuOf(device) },
    handlers: {
      createState: ({ name, shape, options }) =>
        void doing(`state "${name}"`, () => states.create(name, shape, options)),
      resizeState: ({ name, axis, size }) => void doing(`state "${name}"`, () => states.resize(name, axis, size)),
      writeState: ({ name, data }) => void doing(`state "${name}"`, () => states.write(name, data)),
      readState: ({ name }) => doing(`state "${name}"`, () => states.read(name)),
      dropState: ({ name }) => void states.drop(name),
      compile: ({ program, plan }) => {
        doing('the weights in the compute dtype', () => plan.low.forEach(states.reserve));
        programs.set(program, openProgram(plan, tools));
      },
      run: ({ program, inputs, bindings }) => {
        const opened = programs.get(program);
        if (!opened) throw failure({ what: 'the program was disposed of' });
        return opened.run(inputs, bindings);
      },
      disposeProgram: ({ program }) => {
        programs.get(program)?.dispose();
        programs.delete(program);
      },
      memory: () => (name === 'cpu' ? hostMemory() : name === 'mps' ? undefined : gpuMemory(device.library)),
      ping: () => undefined,
      close: () => void states.clear(),
    },
  };
});

async function gpuOf({ kind, index }: Device): Promise<Gpu | undefined> {
  if (kind !== 'cuda') return undefined;
  const { default: koffi } = await import('koffi');
  return gpuAt(index, (library) => koffi.load(library));
}
