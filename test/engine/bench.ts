/** What the parts of the conformance suite share: an engine per group, tensors from float64, and comparison. */
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import type { CompileOptions, Engine, Program, Tensor } from '../../src/engine/index.ts';
import { type Graph, type GraphBuilder, graphBuilder, isNode } from '../../src/graph/index.ts';
import type { Array64 } from '../reference/array.ts';
import { divide } from '../reference/differentiate.ts';

export type MakeEngine = () => Promise<Engine>;

export interface Bench {
  /** Relative error that the engine's dtype brings with it: 0 for f32. */
  readonly rounding: number;
  /** The group's engine, without states when a test begins. */
  readonly engine: Engine;
  /** A program that is disposed of when the test ends. */
  compile(graph: Graph, options?: CompileOptions): Promise<Program>;
  /** Creates a state with these values. */
  create(name: string, value: Array64): Promise<void>;
  /** Creates the graph's states with their values, compiles, and runs once. */
  runOnce(
    graph: Graph,
    values: Readonly<Record<string, Array64>>,
    options?: CompileOptions,
  ): Promise<Record<string, Tensor>>;
}

/** Call inside a describe: one engine for the group; states and programs end with each test. */
export function benchOf(makeEngine: MakeEngine, rounding = 0): Bench {
  let engine: Engine | undefined;
  const programs: Program[] = [];
  const bench: Bench = {
    rounding,
    get engine() {
      if (!engine) throw new Error('the engine exists only inside tests');
      return engine;
    },
    compile: async (graph, options) => {
      const program = await bench.engine.compile(graph, options);
      programs.push(program);
      return program;
    },
    create: async (name, { shape, data }) => {
      await bench.engine.createState(name, shape);
      await bench.engine.writeState(name, Float32Array.from(data));
    },
    runOnce: async (graph, values, options) => {
      const { inputs, states } = divide(graph, values);
      for (const [name, value] of states) await bench.create(name, value);
      const program = await bench.compile(graph, options);
      return program.run(tensors(graph, inputs));
    },
  };
  beforeAll(async () => {
    engine = await makeEngine();
  });
  afterEach(async () => {
    for (const program of programs.splice(0)) await program.dispose();
    for (const name of (await bench.engine.states()).keys()) await bench.engine.dropState(name);
  });
  afterAll(async () => {
    await engine?.dispose();
  });
  return bench;
}

/** A graph from a function that adds to a builder. */
export function graphOf(build: (b: GraphBuilder) => void): Graph {
  const b = graphBuilder();
  build(b);
  return b.build();
}

/** Fresh host tensors for the graph's inputs, of the dtypes that it declares. */
export function tensors(graph: Graph, inputs: Readonly<Record<string, Array64>>): Record<string, Tensor> {
  const whole = new Set(
    graph.nodes.flatMap((node) =>
      isNode(node, 'input') && node.attributes.type.dtype === 'i32' ? [node.attributes.name] : [],
    ),
  );
  return Object.fromEntries(
    Object.entries(inputs).map(([name, { shape, data }]) => [
      name,
      { shape, data: whole.has(name) ? Int32Array.from(data) : Float32Array.from(data) },
    ]),
  );
}

/** Values that are this small compared to 1 are compared absolutely: they are often differences of larger ones. */
const FLOOR = 0.01;

/** ‖got − expected‖ ≤ tolerance·max(‖expected‖, 0.01·√n); whole numbers must be equal. */
export function expectClose(
  what: string,
  got: Tensor | undefined,
  expected: Array64,
  tolerance = 1e-5,
  floor = FLOOR,
): void {
  if (!got) throw new Error(`${what} is missing`);
  expect(got.shape, `shape of ${what}`).toEqual(expected.shape);
  expect(got.data.length, `size of ${what}`).toBe(expected.data.length);
  if (got.data instanceof Int32Array) {
    expect(Array.from(got.data), what).toEqual(Array.from(expected.data));
    return;
  }
  const norm = (x: Float64Array) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));
  const error = norm(expected.data.map((value, i) => value - got.data[i]!));
  const scale = Math.max(norm(expected.data), floor * Math.sqrt(expected.data.length));
  expect(error / Math.max(scale, Number.MIN_VALUE), `relative error of ${what}`).toBeLessThanOrEqual(tolerance);
}

/** All outputs, and no others. */
export function expectOutputs(
  got: Readonly<Record<string, Tensor>>,
  expected: Readonly<Record<string, Array64>>,
  tolerance?: number,
): void {
  expect(Object.keys(got).sort()).toEqual(Object.keys(expected).sort());
  for (const [name, value] of Object.entries(expected)) expectClose(name, got[name], value, tolerance);
}

/** The engine's state has these values. */
export async function expectState(engine: Engine, name: string, expected: Array64, tolerance?: number): Promise<void> {
  const shape = (await engine.states()).get(name);
  if (!shape) throw new Error(`state "${name}" is missing`);
  expectClose(`state "${name}"`, { shape, data: await engine.readState(name) }, expected, tolerance);
}
