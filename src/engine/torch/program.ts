/** Runs plans: walks the steps, releases every value after its last use, and turns what torch says into our errors. */
import type { Dim } from '../../graph/index.ts';
import { failure } from '../../util/index.ts';
import type { Tensor as HostTensor } from '../contract.ts';
import { KernelError } from './binding.ts';
import type { Kept } from './head.ts';
import type { Indices, Kernels, Operand, RunContext } from './kernel.ts';
import type { KernelStep, Plan, Ref } from './plan.ts';
import type { Sink } from './sink.ts';
import type { States } from './states.ts';
import { erase, play, type Tape } from './tape.ts';
import type { Device, Tensor } from './tensors.ts';

const OUT_OF_MEMORY =
  /out of memory|not enough memory|can't allocate memory|cannot allocate memory|CUBLAS_STATUS_ALLOC/i;

/** What a program works with. */
interface Tools {
  readonly device: Device;
  readonly kernels: Kernels;
  readonly states: States;
}

export interface Program {
  /** See `Program.run` of the engine. */
  run(inputs: Readonly<Record<string, HostTensor>>, bindings: ReadonlyMap<string, number>): Record<string, HostTensor>;
  dispose(): void;
}

/** Where a tape finds the tensors that differ from run to run: a value, or what was made once per run. */
type Source = { readonly value: number } | { readonly key: string; readonly index: number };

/** A kernel's calls, taken down; see tape.ts. */
interface Taped {
  readonly tape: Tape;
  readonly sources: readonly Source[];
  /** The results, by the number of the value, but for their handles. */
  readonly results: readonly { readonly value: number; readonly tensor: Tensor }[];
  /** What the kernel added to `RunContext.written`. */
  readonly written: readonly string[];
}

/** What was taken down for one set of sizes. */
interface Tapes {
  readonly key: string;
  readonly epoch: number;
  /** By step; null where it cannot be repeated. */
  readonly steps: Map<KernelStep, Taped | null>;
}

/**
 * A program whose weights stay as they are is asked for the same again and again when it decodes: when it runs with the
 * same sizes for the second time, its kernels' calls are taken down, and repeated from then on.
 */
export function openProgram(plan: Plan, tools: Tools): Program {
  const { recorder, library } = tools.device;
  const isSlots = (step: Plan['steps'][number], i: number) => step.op === 'decodeAttention' && i === 6;
  const refs = plan.steps.flatMap((step) => step.operands.filter((_, i) => isSlots(step, i)));
  /** Inputs that say into which slots of the caches decodeAttention's new rows go. */
  const slots = [...new Set(refs.flatMap((ref) => (ref.kind === 'input' ? [ref.name] : [])))];
  let tapes: Tapes | undefined;
  const forget = () => {
    for (const taped of tapes?.steps.values() ?? []) if (taped) erase(taped.tape, library);
    tapes = undefined;
  };
  /** Those of the sizes; undefined when they come for the first time. */
  function tapesFor(key: string): Tapes | undefined {
    const known = tapes?.key === key;
    if (!known || tapes!.epoch !== recorder.epoch()) {
      forget();
      tapes = { key, epoch: recorder.epoch(), steps: new Map() };
    }
    return known ? tapes : undefined;
  }
  return {
    run: (inputs, bindings) => {
      const inOrder = new Set(
        slots.filter((name) => (inputs[name]!.data as Int32Array).every((value, i) => value === i)),
      );
      const key = JSON.stringify([...bindings, ...inOrder]);
      return runPlan(plan, inputs, bindings, inOrder, tools, plan.frozen.size > 0 ? tapesFor(key) : undefined);
    },
    dispose: () => {
      forget();
      tools.states.unpack(plan.frozen);
    },
  };
}

/** Runs the plan once; see `Program.run`. */
function runPlan(
  { steps, snapshots, outputs, frozen }: Plan,
  inputs: Readonly<Record<string, HostTensor>>,
  bindings: ReadonlyMap<string, number>,
  /** Inputs whose values are 0, 1, 2 … */
  inOrder: ReadonlySet<string>,
  { device, kernels, states }: Tools,
  tapes: Tapes | undefined,
): Record<string, HostTensor> {
  const { recorder, library } = device;
  /** Everything that lives as long as the run. */
  const lasting = new Map<string, readonly Tensor[]>();
  const values = new Map<number, Tensor>();
  const shared = new Map<string, unknown>();
  const keeps = new Map<number, Kept>();
  const context: RunContext = {
    packed: (names, dtype) => (names.every((name) => frozen.has(name)) ? states.packed(names, dtype) : undefined),
    written: new Set(),
    size: (dim: Dim) => (typeof dim === 'number' ? dim : bindings.get(dim)!),
    once: (key, make) => {
      if (!shared.has(key)) {
        recorder.spoil();
        const { result, tensors } = device.collected(make);
        lasting.set(key, [...tensors]);
        shared.set(key, result);
      }
      return shared.get(key) as ReturnType<typeof make>;
    },
    varies: recorder.spoil,
    areInOrder: ({ name }) => inOrder.has(name),
  };
  const indices = new Map<string, Indices>();
  const input = (name: string): Operand => {
    const { data, shape } = inputs[name]!;
    if (!(data instanceof Int32Array)) return context.once(`input ${name}`, () => device.upload(data, shape));
    if (!indices.has(name)) indices.set(name, { name, shape, host: data });
    return indices.get(name)!;
  };
  const operand = (ref: Ref): Operand => {
    switch (ref.kind) {
      case 'value':
        return values.get(ref.value)!;
      case 'input':
        return input(ref.name);
      case 'state': {
        const state = states.operand(ref.name);
        if (frozen.has(ref.name)) return state;
        // Its copy may be out of date the next time.
        const low = () => {
          recorder.spoil();
          return state.low();
        };
        return { ...state, low };
      }
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

  /** Runs a kernel and takes down its calls for the next time. */
  function recordKernel(step: KernelStep): void {
    const found = new Map<number, Source>();
    for (const [key, tensors] of lasting)
      for (const [index, { handle }] of tensors.entries()) found.set(handle, { key, index });
    for (const ref of step.operands) {
      if (ref.kind === 'value') found.set(values.get(ref.value)!.handle, { value: ref.value });
    }
    const before = new Set(context.written);
    const made = step.results.filter((value) => value !== null);
    const tape = recorder.record([...found.keys()], () => {
      runKernel(step);
      return made.map((value) => values.get(value)!.handle);
    });
    const written = [...context.written].filter((name) => !before.has(name));
    const results = made.map((value) => ({ value, tensor: values.get(value)! }));
    tapes!.steps.set(step, tape ? { tape, sources: [...found.values()], results, written } : null);
  }

  function repeatKernel({ tape, sources, results, written }: Taped): void {
    const given = sources.map((source) =>
      'key' in source ? lasting.get(source.key)![source.index]!.handle : values.get(source.value)!.handle,
    );
    for (const name of written) context.written.add(name);
    const handles = play(tape, given, library);
    for (let i = 0; i < results.length; i++) {
      const { value, tensor } = results[i]!;
      values.set(value, { ...tensor, handle: handles[i]! });
    }
  }

  /** The tape is valid as long as nothing that it relies on was released or changed. */
  function perform(step: KernelStep): void {
    const taped = tapes?.epoch === recorder.epoch() ? tapes.steps.get(step) : null;
    if (taped) repeatKernel(taped);
    else if (taped === null) runKernel(step);
    else recordKernel(step);
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
      if (step.kind === 'kernel') perform(step);
      else if (step.op !== 'cacheWrite' || !context.written.has(step.targets[0]!)) {
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
    for (const tensors of lasting.values()) for (const tensor of tensors) device.free(tensor);
  }
}

/** What torch complained of, with the op; lack of memory is marked as such. */
export function translated(error: unknown, doing: string): unknown {
  if (!(error instanceof KernelError)) return error;
  const code = OUT_OF_MEMORY.test(error.message) ? ('out-of-memory' as const) : undefined;
  return failure({ what: `${doing}: ${error.message}`, code, cause: error });
}
