/**
 * The thread that owns states and onnxruntime sessions. `session.run` blocks its thread, so it must not be the one
 * that draws progress bars and answers signals. Requests are answered one after another, in order.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { workerData } from 'node:worker_threads';
import * as ort from 'onnxruntime-node';
import { failure } from '../../util/index.ts';
import type { Tensor } from '../contract.ts';
import { hostMemory } from '../memory.ts';
import { CHUNK_COLUMNS, layoutSegments, type SegmentLayout } from '../segments.ts';
import { serve } from '../serve.ts';
import { applyEffect, checkIndices, type Operand, type State, sizeOf, valuesOf } from './effects.ts';
import type { FeedSource, OperandSource, Plan } from './plan.ts';
import type { WorkerSettings } from './settings.ts';

interface Compiled {
  readonly plan: Plan;
  readonly session: ort.InferenceSession | null;
  /** Fetched tensors that exactly one effect and no output uses. */
  readonly owned: ReadonlySet<string>;
}

/** Keys are padded to whole vectors: then a row's sums do not depend on its neighbours. */
const KEY_MULTIPLE = 64;

const { threads } = workerData as WorkerSettings;
const states = new Map<string, State>();

/** Gradients that were set to zero are garbage of the size of the model: collected at once, not when V8 notices. */
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const programs = new Map<number, Compiled>();

function stateNamed(name: string): State {
  const state = states.get(name);
  if (!state) throw failure({ what: `there is no state "${name}"` });
  return state;
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

async function compile(plan: Plan): Promise<Compiled> {
  const session = plan.model
    ? await ort.InferenceSession.create(plan.model, {
        intraOpNumThreads: threads,
        executionMode: 'sequential',
        graphOptimizationLevel: 'all',
        enableMemPattern: false,
        logSeverityLevel: 3,
        externalData: plan.weights.map(({ location, state }) => ({
          path: location,
          data: bytesOf(valuesOf(stateNamed(state))),
        })),
      })
    : null;
  const uses = new Map<string, number>();
  const count = (name: string) => uses.set(name, (uses.get(name) ?? 0) + 1);
  const countOperand = (operand: OperandSource): void => {
    if (operand.kind === 'tensor') count(operand.name);
    if (operand.kind === 'rows') [operand.rows, operand.ids].forEach(countOperand);
  };
  for (const { tensor } of plan.outputs) count(tensor);
  for (const { operands } of plan.effects) operands.forEach(countOperand);
  const exported = new Set(plan.outputs.map(({ tensor }) => tensor));
  const owned = new Set(plan.fetches.filter((name) => uses.get(name) === 1 && !exported.has(name)));
  return { plan, session, owned };
}

/** Bytes of one run's feeds, made from inputs, states and sizes. */
function feedsOf(plan: Plan, inputs: Readonly<Record<string, Tensor>>, bindings: ReadonlyMap<string, number>) {
  const layouts = new Map<string, SegmentLayout>();
  const bound = (dim: number | string) => (typeof dim === 'number' ? dim : bindings.get(dim)!);
  const int64 = (values: Int32Array | readonly number[], shape: readonly number[]) =>
    new ort.Tensor('int64', BigInt64Array.from(values as readonly number[], BigInt), shape);
  const int32 = (values: Int32Array, shape: readonly number[]) => new ort.Tensor('int32', values, shape);

  function segmentPart(source: FeedSource & { kind: 'segments' }): ort.Tensor {
    const table = inputs[source.input]!.data as Int32Array;
    const tokens = bound(source.tokens);
    let layout = layouts.get(source.input);
    if (!layout) {
      layout = layoutSegments(table, tokens, KEY_MULTIPLE);
      layouts.set(source.input, layout);
    }
    switch (source.part) {
      case 'chunks':
        return int64(layout.chunks, [layout.count, CHUNK_COLUMNS]);
      case 'queryIds':
      case 'keyIds':
        return int32(layout[source.part], [layout[source.part].length]);
      case 'lengths':
        return int64(layout.lengths, [layout.lengths.length / 2, 2]);
      case 'count':
        return int64([layout.count], []);
      case 'queryStride':
        return int64([layout.queryStride], [1]);
      case 'keyStride':
        return int64([layout.keyStride], [1]);
      case 'queryRows':
        return int32(layout.queryRows, [tokens]);
      case 'keyRows':
        return int32(layout.keyRows, [layout.uses, tokens]);
    }
  }
  function feed(source: FeedSource): ort.Tensor {
    switch (source.kind) {
      case 'input': {
        const { data, shape } = inputs[source.name]!;
        return data instanceof Int32Array ? int32(data, shape) : new ort.Tensor('float32', data, shape);
      }
      case 'state': {
        const state = stateNamed(source.name);
        const shape = source.rows === undefined ? state.shape : [bound(source.rows), ...state.shape.slice(1)];
        return new ort.Tensor('float32', valuesOf(state).subarray(0, sizeOf(shape)), shape);
      }
      case 'size':
        return int64([bound(source.dim)], [1]);
      case 'segments':
        return segmentPart(source);
    }
  }
  return Object.fromEntries(plan.feeds.map(({ tensor, source }) => [tensor, feed(source)]));
}

async function run(
  { plan, session, owned }: Compiled,
  inputs: Readonly<Record<string, Tensor>>,
  bindings: ReadonlyMap<string, number>,
): Promise<Record<string, Tensor>> {
  const fetched = session ? await session.run(feedsOf(plan, inputs, bindings), [...plan.fetches]) : {};
  const values = (name: string) => fetched[name]!.data as Float32Array | Int32Array;
  function operand(source: OperandSource): Operand {
    switch (source.kind) {
      case 'state':
        return { kind: 'state', state: stateNamed(source.name) };
      case 'input':
        return { kind: 'values', data: inputs[source.name]!.data, owned: false };
      case 'tensor':
        return { kind: 'values', data: values(source.name), owned: owned.has(source.name) };
      case 'rows': {
        const [rows, ids] = [operand(source.rows), operand(source.ids)];
        if (rows.kind !== 'values' || ids.kind !== 'values') throw failure({ what: 'rows of a state cannot be added' });
        return { kind: 'rows', rows: rows.data as Float32Array, ids: ids.data as Int32Array };
      }
    }
  }
  const steps = plan.effects.map(({ op, operands, attributes }) => ({
    op,
    attributes,
    operands: operands.map(operand),
  }));
  for (const { op, operands } of steps) checkIndices(op, operands);
  for (const { op, operands, attributes } of steps) applyEffect(op, operands, attributes);
  if (plan.effects.some(({ op }) => op === 'zero')) collectGarbage();
  return Object.fromEntries(
    plan.outputs.map(({ name, tensor }) => [name, { shape: [...fetched[tensor]!.dims], data: values(tensor) }]),
  );
}

/**
 * Moves the state's rows to their places in the new shape, in the memory that the state has when they fit: a cache that
 * shrinks between calls and grows again takes no new memory.
 */
function resize(state: State, axis: number, size: number): void {
  const old = state.shape;
  const shape = old.with(axis, size);
  if (state.data) {
    const inner = sizeOf(old.slice(axis + 1));
    const outer = sizeOf(old.slice(0, axis));
    const [stride, newStride] = [old[axis]! * inner, size * inner];
    const kept = Math.min(stride, newStride);
    const room = new Float32Array(state.data.buffer);
    const fits = sizeOf(shape) <= room.length;
    const data = fits ? room.subarray(0, sizeOf(shape)) : new Float32Array(sizeOf(shape));
    for (let i = 0; i < outer; i++) {
      // In place: last row first when rows move apart, first row first when they move together.
      const row = size > old[axis]! ? outer - 1 - i : i;
      const [from, to] = [row * stride, row * newStride];
      if (fits) room.copyWithin(to, from, from + kept).fill(0, to + kept, to + newStride);
      else data.set(state.data.subarray(from, from + kept), to);
    }
    state.data = data;
  }
  state.shape = shape;
}

await serve<Plan, undefined>(() => ({
  hello: undefined,
  handlers: {
    createState: ({ name, shape }) => void states.set(name, { shape, data: null }),
    resizeState: ({ name, axis, size }) => void resize(stateNamed(name), axis, size),
    writeState: ({ name, data }) => {
      stateNamed(name).data = data;
    },
    readState: ({ name }) => valuesOf(stateNamed(name)).slice(),
    dropState: ({ name }) => void states.delete(name),
    compile: async ({ program, plan }) => void programs.set(program, await compile(plan)),
    run: ({ program, inputs, bindings }) => run(programs.get(program)!, inputs, bindings),
    disposeProgram: async ({ program }) => {
      await programs.get(program)?.session?.release();
      programs.delete(program);
    },
    memory: () => hostMemory(),
    ping: () => undefined,
    close: async () => {
      for (const { session } of programs.values()) await session?.release();
      states.clear();
    },
  },
}));
