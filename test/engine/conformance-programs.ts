/** Conformance: checks of the inputs, frozen programs, disposal. */
import { describe, expect, it } from 'vitest';
import type { Tensor } from '../../src/engine/index.ts';
import { SelfplayError } from '../../src/util/index.ts';
import { array } from '../reference/array.ts';
import { evaluateOn } from '../reference/differentiate.ts';
import { randomArray } from '../reference/random.ts';
import { pairInputs, pairLoss, tinyLlama, tinyWeights } from '../reference/tiny-llama.ts';
import { benchOf, expectClose, expectOutputs, graphOf, type MakeEngine, tensors } from './bench.ts';

export function programsConformance(makeEngine: MakeEngine, rounding: number): void {
  describe('inputs', () => {
    const bench = benchOf(makeEngine, rounding);
    const graph = graphOf((b) => {
      const rows = b.gatherRows(b.state('table', ['vocabulary', 3]), b.input('indices', ['tokens'], 'i32'));
      const y = b.mul(rows, b.input('factors', ['tokens', 3]));
      b.output('y', y);
      b.accumulate(b.state('table', ['vocabulary', 3]), b.input('update', ['vocabulary', 3]));
    });
    const right = () => ({
      indices: { shape: [2], data: Int32Array.of(1, 0) },
      factors: { shape: [2, 3], data: new Float32Array(6).fill(2) },
      update: { shape: [4, 3], data: new Float32Array(12).fill(1) },
    });
    const changed = (more: Record<string, Tensor>): Record<string, Tensor> => ({ ...right(), ...more });
    const floats = (...shape: number[]): Tensor => ({
      shape,
      data: new Float32Array(shape.reduce((size, dim) => size * dim, 1)),
    });

    it.each<[string, string, () => Record<string, Tensor>]>([
      [
        'missing',
        'factors',
        () => {
          const { indices, update } = right();
          return { indices, update };
        },
      ],
      ['unknown', 'surplus', () => changed({ surplus: floats(1) })],
      ['of another rank', 'factors', () => changed({ factors: floats(6) })],
      ['of another size', 'factors', () => changed({ factors: floats(2, 4) })],
      [
        'of a size that its values do not fill',
        'factors',
        () => changed({ factors: { ...floats(2, 3), data: new Float32Array(5) } }),
      ],
      ['f32 instead of i32', 'indices', () => changed({ indices: { shape: [2], data: Float32Array.of(1, 0) } })],
      ['i32 instead of f32', 'factors', () => changed({ factors: { shape: [2, 3], data: new Int32Array(6) } })],
      ['at odds with a state over a symbol', 'update', () => changed({ update: floats(5, 3) })],
    ])('that are %s are refused by name, and nothing changes', async (_, name, wrong) => {
      await bench.create('table', randomArray('table', [4, 3]));
      const before = await bench.engine.readState('table');
      const program = await bench.compile(graph);
      const error = await program.run(wrong()).then(
        () => 'no error',
        (thrown: unknown) => thrown,
      );
      expect(error).toBeInstanceOf(SelfplayError);
      expect((error as SelfplayError).message).toContain(`"${name}"`);
      expect(await bench.engine.readState('table')).toEqual(before);
      // The program still works.
      const { y } = await program.run(right());
      expectClose(
        'y',
        y,
        array(
          [...before.slice(3, 6), ...before.slice(0, 3)].map((value) => value * 2),
          [2, 3],
        ),
      );
    });

    it('that are at odds with one another over a symbol are refused', async () => {
      await bench.create('table', randomArray('table', [4, 3]));
      const before = await bench.engine.readState('table');
      const program = await bench.compile(graph);
      await expect(program.run(changed({ factors: floats(3, 3) }))).rejects.toThrow(/"(factors|indices)"/);
      expect(await bench.engine.readState('table')).toEqual(before);
    });

    it('refuses a graph that the verifier refuses', async () => {
      const { nodes, outputs } = graphOf((b) => b.output('y', b.affine(b.input('x', ['n']), 2)));
      await expect(bench.engine.compile({ nodes: nodes.toReversed(), outputs })).rejects.toThrow('before it exists');
    });
  });

  describe('frozen programs', () => {
    const bench = benchOf(makeEngine, rounding);

    it('give the same results', async () => {
      const model = tinyLlama(true);
      const values = { ...pairInputs(model), ...tinyWeights(model) };
      const graph = graphOf((b) => b.output('loss', pairLoss(b, model).loss));
      const expected = evaluateOn(graph, values).outputs;
      const plain = await bench.runOnce(graph, values);
      const frozen = await bench.runOnce(graph, values, { freeze: true });
      expectOutputs(plain, expected, Math.max(1e-5, 5 * rounding));
      expectOutputs(frozen, expected, Math.max(1e-5, 5 * rounding));
    });

    it('keep their states from being written while they live, and no longer', async () => {
      const { engine } = bench;
      const graph = graphOf((b) => {
        const [y] = b.linear(b.input('x', ['n', 3]), b.state('weight', [2, 3]));
        b.output('y', y!);
        b.accumulate(b.state('counter', ['n', 2]), y!);
      });
      const other = graphOf((b) => b.accumulate(b.state('weight', [2, 3]), b.input('delta', [2, 3])));
      await bench.create('weight', array([1, 2, 3, 4, 5, 6], [2, 3]));
      await bench.create('counter', array([0, 0], [1, 2]));
      const program = await bench.compile(graph, { freeze: true });
      const updating = await bench.compile(other);
      const run = async () => {
        const { y } = await program.run(tensors(graph, { x: array([1, 10, 20], [1, 3]) }));
        return Array.from(y!.data);
      };
      const delta = () => tensors(other, { delta: array([1, 1, 1, 1, 1, 1], [2, 3]) });
      expect(await run()).toEqual([81, 174]);

      await expect(engine.writeState('weight', new Float32Array(6))).rejects.toThrow('"weight"');
      await expect(engine.createState('weight', [2, 3])).rejects.toThrow('"weight"');
      await expect(engine.resizeState('weight', 0, 4)).rejects.toThrow('"weight"');
      await expect(updating.run(delta())).rejects.toThrow('"weight"');
      expect(await engine.readState('weight')).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6));
      // A state that the program itself changes is not frozen.
      await engine.writeState('counter', Float32Array.of(7, 7));
      expect(await run()).toEqual([81, 174]);
      expect(await engine.readState('counter')).toEqual(Float32Array.of(88, 181));

      await program.dispose();
      await updating.run(delta());
      expect(await engine.readState('weight')).toEqual(Float32Array.of(2, 3, 4, 5, 6, 7));
      await engine.writeState('weight', new Float32Array(6));
      const again = await bench.compile(graph, { freeze: true });
      const { y } = await again.run(tensors(graph, { x: array([1, 10, 20], [1, 3]) }));
      expect(Array.from(y!.data)).toEqual([0, 0]);
    });
  });

  describe('disposal', () => {
    it('of a program ends it, and leaves the states and the other programs', async () => {
      const engine = await makeEngine();
      try {
        const graph = graphOf((b) => b.accumulate(b.state('a', [1]), b.input('x', [1])));
        await engine.createState('a', [1]);
        const [one, other] = [await engine.compile(graph), await engine.compile(graph)];
        const x = () => ({ x: { shape: [1], data: Float32Array.of(2) } });
        await one.run(x());
        await one.dispose();
        await expect(one.run(x())).rejects.toThrow(SelfplayError);
        await other.run(x());
        expect(await engine.readState('a')).toEqual(Float32Array.of(4));
      } finally {
        await engine.dispose();
      }
    });

    it('of the engine makes every call fail', async () => {
      const engine = await makeEngine();
      const graph = graphOf((b) => b.output('y', b.affine(b.input('x', [1]), 2)));
      const program = await engine.compile(graph);
      await engine.createState('a', [1]);
      await engine.dispose();
      await expect(engine.createState('b', [1])).rejects.toThrow(SelfplayError);
      await expect(engine.readState('a')).rejects.toThrow(SelfplayError);
      await expect(engine.states()).rejects.toThrow(SelfplayError);
      await expect(engine.compile(graph)).rejects.toThrow(SelfplayError);
      await expect(program.run({ x: { shape: [1], data: new Float32Array(1) } })).rejects.toThrow(SelfplayError);
    });
  });
}
