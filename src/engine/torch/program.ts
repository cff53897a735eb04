/** Runs plans: walks the steps, releases every value after its last use, and turns what torch says into our errors. */
import type { Dim } from '../../graph/index.ts';
import { failure } from '../../util/index.ts';
import type { Tensor as HostTensor } from '../contract.ts';
import { KernelError } from './binding.ts';
import type { Kept } from './head.ts';
import type { Indices, Kernels, Operand, RunContext } from './kernels.ts';
import type { KernelStep, Plan, Ref } from './plan.ts';
import type { Sink } from './sink.ts';
import type { States } from './states.ts';
import type { Device, Tensor } from './tensors.ts';

const OUT_OF_MEMORY =
  /out of memory|not enough memory|can't allocate memory|cannot allocate memory|CUBLAS_STATUS_ALLOC/i;

/** Runs the plan once; see `Program.run`. */
export function runPlan(
  { steps, snapshots, outputs, frozen }: Plan,
  inputs: Readonly<Record<string, HostTensor>>,
  bindings: ReadonlyMap<string, number>,
  { device, kernels, states }: { device: Device; kernels: Kernels; states: States },
): Record<string, HostTensor> {
  /** Everything that lives as long as the run. */
  const lasting: Iterable<Tensor>[] = [];
  const values = new Map<number, Tensor>();
  const shared = new Map<string, unknown>();
  const keeps = new Map<number, Kept>();
  const last = <T>(make: () => T): T => {
    const { result, tensors } = device.collected(make);
    lasting.push(tensors);
    return result;
  };
  const keys = new Map<Int32Array, number>();
  const context: RunContext = {
    packed: (names, dtype) => (names.every((name) => frozen.has(name)) ? states.packed(names, dtype) : undefined),
    written: new Set(),
    keyOf: (host) => {
      if (!keys.has(host)) keys.set(host, keys.size);
      return keys.get(host)!;
    },
    size: (dim: Dim) => (typeof dim === 'number' ? dim : bindings.get(dim)!),
    once: (key, make) => {
      if (!shared.has(key)) shared.set(key, last(make));
      return shared.get(key) as ReturnType<typeof make>;
    },
  };
  const input = (name: string): Operand => {
    const { data, shape } = inputs[name]!;
    if (data instanceof Int32Array) return { host: data, shape } satisfies Indices;
    return context.once(`input ${name}`, () => device.upload(data, shape));
  };
  const operand = (ref: Ref): Operand => {
    switch (ref.kind) {
      case 'value':
        return values.get(ref.value)!;
      case 'input':
        return input(ref.name);
      case 'state':
        return states.operand(ref.name);
      case 'snapshot':
        return shared.get(`snapshot ${ref.name}`) as Tensor;
    }
  };

  function runKernel({ op, operands, attributes, results, sinks, keeps: number }: KernelStep): void {
    const opened = sinks.map((name): Sink | undefined => (name === null ? undefined : states.sink(name)));
    const read = operands.map(operand);
    if (number !== null && !keeps.has(number)) keeps.set(number, new Map());
    const kept = number === null ? undefined : keeps.get(number);
    const made = device.scoped(() => {
      const kernel = kernels[op] as (...args: unknown[]) => readonly (Tensor | undefined)[];
      const tensors = kernel(context, read, attributes, opened, kept);
      // What is not ours to release (an operand passed through) is returned as a view of its own.
      return tensors.map((one, i) => {
        if (!one || results[i] == null) return undefined;
        return read.includes(one) ? device.view(one, one.shape, one.strides) : one;
      });
    });
    sinks.forEach((name, i) => {
      if (name !== null) states.changed(name, opened[i]!);
    });
    made.forEach((one, i) => {
      if (one) values.set(results[i]!, one);
    });
  }

  let doing = 'start';
  try {
    for (const name of snapshots) {
      context.once(`snapshot ${name}`, () => {
        const tensor = states.operand(name).tensor();
        const copy = device.empty(tensor.shape, tensor.dtype);
        device.copy(copy, tensor);
        return copy;
      });
    }
    for (const step of steps) {
      doing = step.op;
      if (step.kind === 'kernel') runKernel(step);
      else {
        device.scoped(() => {
          states.apply(step.op, step.targets, step.operands.map(operand), step.attributes, context);
          return [];
        });
      }
      for (const value of step.dies) {
        const dead = values.get(value);
        if (dead) device.free(dead);
        values.delete(value);
      }
    }
    doing = 'outputs';
    return Object.fromEntries(
      outputs.map(({ name, from, isIndices }) => {
        const value = operand(from);
        if ('host' in value) return [name, { shape: [...value.shape], data: value.host.slice() }];
        const tensor = 'state' in value ? value.tensor() : value;
        const data = isIndices ? device.downloadIndices(tensor) : device.download(tensor);
        return [name, { shape: [...tensor.shape], data }];
      }),
    );
  } catch (error) {
    throw translated(error, doing);
  } finally {
    for (const value of values.values()) device.free(value);
    for (const kept of keeps.values()) for (const tensor of kept.values()) device.free(tensor);
    for (const tensors of lasting) for (const tensor of tensors) device.free(tensor);
  }
}

/** What torch complained of, with the op; lack of memory is marked as such. */
export function translated(error: unknown, doing: string): unknown {
  if (!(error instanceof KernelError)) return error;
  const code = OUT_OF_MEMORY.test(error.message) ? ('out-of-memory' as const) : undefined;
  return failure({ what: `${doing}: ${error.message}`, code, cause: error });
}
