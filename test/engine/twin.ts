/** An engine and the reference engine side by side: the same calls go to both, outputs and states are compared. */
import type { Engine, Program, Tensor } from '../../src/engine/index.ts';
import type { Graph } from '../../src/graph/index.ts';
import { type Array64, array } from '../reference/array.ts';
import { referenceEngine } from '../reference/engine.ts';
import { type Bench, expectOutputs, expectState, tensors } from './bench.ts';

export interface Twin {
  readonly reference: Engine;
  create(name: string, value: Array64): Promise<void>;
  resize(name: string, axis: number, size: number): Promise<void>;
  /** Returns what runs the program on both and compares the outputs. */
  compile(graph: Graph): Promise<(inputs?: Readonly<Record<string, Array64>>) => Promise<Record<string, Tensor>>>;
  /** Compares all states. */
  check(tolerance?: number): Promise<void>;
}

export function twinOf(bench: Bench): Twin {
  const reference = referenceEngine();
  return {
    reference,
    create: async (name, value) => {
      await bench.create(name, value);
      await reference.createState(name, value.shape);
      await reference.writeState(name, Float32Array.from(value.data));
    },
    resize: async (name, axis, size) => {
      await bench.engine.resizeState(name, axis, size);
      await reference.resizeState(name, axis, size);
    },
    compile: async (graph) => {
      const program: Program = await bench.compile(graph);
      const twin = await reference.compile(graph);
      return async (inputs = {}) => {
        const got = await program.run(tensors(graph, inputs));
        const expected = Object.entries(await twin.run(tensors(graph, inputs)));
        const outputs = expected.map(([name, { shape, data }]) => [name, array(data, shape)]);
        expectOutputs(got, Object.fromEntries(outputs), Math.max(1e-5, bench.rounding));
        return got;
      };
    },
    check: async (tolerance) => {
      for (const [name, shape] of await reference.states()) {
        await expectState(
          bench.engine,
          name,
          array(await reference.readState(name), shape),
          tolerance ?? Math.max(1e-5, bench.rounding),
        );
      }
    },
  };
}
