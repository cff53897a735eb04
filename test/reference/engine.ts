/**
 * The reference engine: the whole engine contract over the float64 evaluator, to check engines and to test what uses
 * one. Arrays that are handed in are detached, as a transfer would do, so that using them again is noticed.
 */
import { type Engine, hostMemory, type Program, plannedBytes, type Tensor } from '../../src/engine/index.ts';
import { type DType, type Graph, isNode, verifyGraph } from '../../src/graph/index.ts';
import { failure } from '../../src/util/index.ts';
import { type Array64, array, sizeOf, zeros } from './array.ts';
import { bindGraph, changedStates, evaluate } from './evaluate.ts';

/** A new engine without states. */
export function referenceEngine(): Engine {
  let states = new Map<string, Array64>();
  /** For every frozen program that lives: the states that must stay as they are. */
  const frozen = new Map<Program, ReadonlySet<string>>();
  let alive = true;

  function checkAlive(): void {
    if (!alive) throw failure({ what: 'the engine was disposed' });
  }
  function known(name: string): Array64 {
    checkAlive();
    const state = states.get(name);
    if (!state) throw failure({ what: `state "${name}" does not exist` });
    return state;
  }
  function checkWritable(name: string): void {
    checkAlive();
    for (const names of frozen.values()) {
      if (names.has(name)) {
        throw failure({ what: `state "${name}" is frozen by a program`, fix: 'dispose of the program before writing' });
      }
    }
  }

  function compile(graph: Graph, freeze: boolean): Program {
    checkAlive();
    verifyGraph(graph);
    const types = new Map<string, DType>();
    const read = new Set<string>();
    for (const node of graph.nodes) {
      if (isNode(node, 'input')) types.set(node.attributes.name, node.attributes.type.dtype);
      if (isNode(node, 'state')) read.add(node.attributes.name);
    }
    const changed = changedStates(graph);
    let disposed = false;

    const program: Program = {
      run: async (inputs) => {
        checkAlive();
        if (disposed) throw failure({ what: 'the program was disposed' });
        bindGraph(graph, inputs, states);
        for (const [name, tensor] of Object.entries(inputs)) checkTensor(name, tensor, types.get(name)!);
        for (const name of changed) checkWritable(name);
        const given = Object.entries(inputs).map(([name, { shape, data }]) => [name, array(data, shape)] as const);
        const result = evaluate(graph, Object.fromEntries(given), states);
        for (const { data } of Object.values(inputs)) detach(data);
        states = result.states;
        return Object.fromEntries(
          Object.entries(result.outputs).map(([name, { shape, data }]) => {
            const whole = graph.outputs.get(name)!.dtype === 'i32';
            return [name, { shape, data: whole ? Int32Array.from(data) : Float32Array.from(data) }];
          }),
        );
      },
      dispose: async () => {
        disposed = true;
        frozen.delete(program);
      },
    };
    if (freeze) frozen.set(program, new Set([...read].filter((name) => !changed.has(name))));
    return program;
  }

  return {
    info: { name: 'reference', version: '1', device: 'cpu', dtype: 'f32', threads: 1 },
    createState: async (name, shape) => {
      checkWritable(name);
      states.set(name, zeros(...shape));
    },
    resizeState: async (name, axis, size) => {
      const state = known(name);
      checkWritable(name);
      if (!(axis in state.shape)) throw failure({ what: `state "${name}" [${state.shape}] has no axis ${axis}` });
      states.set(name, resized(state, axis, size));
    },
    writeState: async (name, data) => {
      const { shape } = known(name);
      checkWritable(name);
      if (data.length !== sizeOf(shape)) {
        throw failure({ what: `state "${name}" has shape [${shape}], got ${data.length} values` });
      }
      states.set(name, array(data, shape));
      detach(data);
    },
    readState: async (name) => Float32Array.from(known(name).data),
    dropState: async (name) => {
      known(name);
      checkWritable(name);
      states.delete(name);
    },
    states: async () => {
      checkAlive();
      return new Map([...states].map(([name, { shape }]) => [name, shape]));
    },
    plannedBytes: (graph, sizes) =>
      plannedBytes(graph, sizes, { addsAtOnce: false, elementBytes: () => 4, keptLogits: 0 }),
    memory: async () => hostMemory(),
    compile: async (graph, { freeze = false } = {}) => compile(graph, freeze),
    dispose: async () => {
      alive = false;
      states.clear();
      frozen.clear();
    },
  };
}

function checkTensor(name: string, { shape, data }: Tensor, dtype: DType): void {
  const got = data instanceof Int32Array ? 'i32' : 'f32';
  const expected = dtype === 'i32' ? 'i32' : 'f32';
  if (got !== expected) throw failure({ what: `input "${name}" is ${got}, expected ${expected}` });
  if (data.length !== sizeOf(shape)) {
    throw failure({ what: `input "${name}" has ${data.length} values, expected ${sizeOf(shape)} for [${shape}]` });
  }
}

/** Takes the array away from its owner, where it owns its whole buffer. */
function detach({ buffer, byteLength }: Float32Array | Int32Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength && byteLength > 0) {
    structuredClone(buffer, { transfer: [buffer] });
  }
}

/** The array with another size along one axis: cut, or filled up with zeros. */
function resized(x: Array64, axis: number, size: number): Array64 {
  const shape = x.shape.map((dim, i) => (i === axis ? size : dim));
  const inner = sizeOf(shape.slice(axis + 1));
  const outer = sizeOf(shape.slice(0, axis));
  const kept = Math.min(size, x.shape[axis]!) * inner;
  const y = zeros(...shape);
  for (let i = 0; i < outer; i++) {
    const from = i * x.shape[axis]! * inner;
    y.data.set(x.data.subarray(from, from + kept), i * size * inner);
  }
  return y;
}
