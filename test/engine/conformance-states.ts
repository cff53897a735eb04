/** Conformance: states, the effects that change them, and when a run sees which values. */
import { describe, expect, it } from 'vitest';
import { gradients } from '../../src/autodiff/index.ts';
import { array, zeros } from '../reference/array.ts';
import { randomArray, randomIds } from '../reference/random.ts';
import { benchOf, expectClose, expectState, graphOf, type MakeEngine, tensors } from './bench.ts';
import { twinOf } from './twin.ts';

export function statesConformance(makeEngine: MakeEngine, rounding: number): void {
  describe('states', () => {
    const bench = benchOf(makeEngine, rounding);

    it('are created with zeros, written, read, listed, replaced and dropped', async () => {
      const { engine } = bench;
      await engine.createState('a', [2, 3]);
      await engine.createState('scalar', []);
      expect(await engine.readState('a')).toEqual(new Float32Array(6));
      await engine.writeState('a', Float32Array.of(1, -2, 3.25, 1e-30, 5, 1e30));
      await engine.writeState('scalar', Float32Array.of(9));
      expect(await engine.readState('a')).toEqual(Float32Array.of(1, -2, 3.25, 1e-30, 5, 1e30));
      expect(await engine.readState('scalar')).toEqual(Float32Array.of(9));
      expect(new Map(await engine.states())).toEqual(
        new Map([
          ['a', [2, 3]],
          ['scalar', []],
        ]),
      );
      await engine.createState('a', [4]);
      expect(await engine.readState('a')).toEqual(new Float32Array(4));
      await engine.dropState('scalar');
      expect(new Map(await engine.states())).toEqual(new Map([['a', [4]]]));
    });

    it('are read as copies', async () => {
      await bench.create('a', array([1, 2]));
      (await bench.engine.readState('a')).fill(7);
      expect(await bench.engine.readState('a')).toEqual(Float32Array.of(1, 2));
    });

    it('fail by name where they do not exist or the values do not fit', async () => {
      const { engine } = bench;
      await bench.create('a', array([1, 2]));
      await expect(engine.readState('absent')).rejects.toThrow('absent');
      await expect(engine.writeState('absent', new Float32Array(1))).rejects.toThrow('absent');
      await expect(engine.resizeState('absent', 0, 1)).rejects.toThrow('absent');
      await expect(engine.dropState('absent')).rejects.toThrow('absent');
      await expect(engine.writeState('a', new Float32Array(3))).rejects.toThrow('"a"');
      await expect(engine.resizeState('a', 1, 3)).rejects.toThrow('"a"');
      expect(await engine.readState('a')).toEqual(Float32Array.of(1, 2));
    });

    it.each([0, 1, 2, 3])('change their size along axis %i and keep what is in both', async (axis) => {
      const twin = twinOf(bench);
      await twin.create('cache', randomArray('cache', [2, 3, 4, 5]));
      for (const size of [7, 1, 6]) {
        await twin.resize('cache', axis, size);
        await twin.check(0);
      }
    });

    it('that a program needs must exist in its shape', async () => {
      const graph = graphOf((b) => b.output('y', b.affine(b.state('needed', [3, 'n']), 2)));
      const compileAndRun = async () => (await bench.compile(graph)).run({});
      await expect(compileAndRun()).rejects.toThrow('needed');
      await bench.engine.createState('needed', [2, 5]);
      await expect(compileAndRun()).rejects.toThrow('needed');
      await bench.engine.createState('needed', [3, 5]);
      expect((await compileAndRun())['y']!.shape).toEqual([3, 5]);
    });

    it('are seen by later runs of a compiled program after being written, replaced or resized', async () => {
      const graph = graphOf((b) => {
        b.output('y', b.sumTo(b.mul(b.state('w', ['rows', 2]), b.input('x', [2])), ['rows', 1]));
      });
      await bench.create('w', array([1, 2, 3, 4], [2, 2]));
      const program = await bench.compile(graph);
      const run = async () => Array.from((await program.run(tensors(graph, { x: array([1, 10]) })))['y']!.data);
      expect(await run()).toEqual([21, 43]);
      await bench.engine.writeState('w', Float32Array.of(5, 6, 7, 8));
      expect(await run()).toEqual([65, 87]);
      await bench.engine.resizeState('w', 0, 3);
      expect(await run()).toEqual([65, 87, 0]);
      await bench.create('w', array([1, 1], [1, 2]));
      expect(await run()).toEqual([11]);
    });
  });

  describe('effects', () => {
    const bench = benchOf(makeEngine, rounding);

    it('run in order, on what earlier ones left', async () => {
      const twin = twinOf(bench);
      for (const name of ['a', 'b']) await twin.create(name, array([1, 2, 3]));
      const run = await twin.compile(
        graphOf((g) => {
          const x = g.input('x', [3]);
          const [a, b] = [g.state('a', [3]), g.state('b', [3])];
          g.accumulate(a, x);
          g.zero(a);
          g.accumulate(a, g.affine(x, 10));
          g.accumulate(a, x);
          g.accumulate(b, x);
          g.zero(b);
        }),
      );
      await run({ x: array([0.5, -1, 2]) });
      expect(await bench.engine.readState('a')).toEqual(Float32Array.of(5.5, -11, 22));
      expect(await bench.engine.readState('b')).toEqual(new Float32Array(3));
      await twin.check(0);
    });

    it('are not seen by the same run: values are those of the start', async () => {
      const twin = twinOf(bench);
      await twin.create('a', array([1, 2]));
      await twin.create('b', array([10, 20]));
      const run = await twin.compile(
        graphOf((g) => {
          const [a, b] = [g.state('a', [2]), g.state('b', [2])];
          g.accumulate(a, g.input('x', [2]));
          g.output('a', a);
          g.output('twice a', g.affine(a, 2));
          g.accumulate(b, a);
          g.zero(a);
          g.accumulate(a, a);
        }),
      );
      const got = await run({ x: array([100, 200]) });
      expect(got['a']!.data).toEqual(Float32Array.of(1, 2));
      expect(got['twice a']!.data).toEqual(Float32Array.of(2, 4));
      expect(await bench.engine.readState('b')).toEqual(Float32Array.of(11, 22));
      expect(await bench.engine.readState('a')).toEqual(Float32Array.of(1, 2));
      await run({ x: array([100, 200]) });
      await twin.check(0);
    });

    it('accumulate over the runs of several programs on the same states', async () => {
      const twin = twinOf(bench);
      await twin.create('sum', zeros(4, 3));
      const first = await twin.compile(
        graphOf((b) => {
          const x = b.input('x', ['n', 4]);
          b.accumulate(b.state('sum', [4, 3]), b.matmul(x, b.input('y', ['n', 3]), { transposeA: true }));
        }),
      );
      const second = await twin.compile(
        graphOf((b) => {
          const sum = b.state('sum', [4, 3]);
          b.output('norm', b.sumSquares(sum));
          b.accumulate(sum, b.affine(sum, -0.5));
        }),
      );
      for (const n of [5, 1, 8]) {
        await first({ x: randomArray(`x ${n}`, [n, 4]), y: randomArray(`y ${n}`, [n, 3]) });
        await second();
        await twin.check();
      }
    });

    it('accumulate the gradient of a tied table: dense from the head, by rows from the look-up', async () => {
      const twin = twinOf(bench);
      await twin.create('table', randomArray('table', [17, 5]));
      await twin.create('gradient', zeros(17, 5));
      const run = await twin.compile(
        graphOf((b) => {
          const table = b.state('table', [17, 5]);
          const ids = b.input('ids', ['tokens'], 'i32');
          const logProbs = b.tokenLogProbs(b.gatherRows(table, ids), table, b.input('targets', ['tokens'], 'i32'));
          const loss = b.sumTo(logProbs, []);
          b.output('loss', loss);
          const [parts] = gradients(b, loss, [table]);
          for (const part of parts!) b.accumulate(b.state('gradient', [17, 5]), part);
        }),
      );
      await run({ ids: array([16, 0, 16, 16, 3]), targets: array([1, 1, 0, 16, 2]) });
      await twin.check();
      await run({ ids: array([3]), targets: array([3]) });
      await run({ ids: randomIds('ids', 40, 17), targets: randomIds('targets', 40, 17) });
      await twin.check();
    });

    it('accumulate rows that are also an output', async () => {
      const twin = twinOf(bench);
      await twin.create('sum', randomArray('sum', [6, 2]));
      const run = await twin.compile(
        graphOf((b) => {
          const dense = b.scatterRows(b.input('x', ['n', 2]), b.input('ids', ['n'], 'i32'), 6);
          b.accumulate(b.state('sum', [6, 2]), dense);
          b.accumulate(b.state('sum', [6, 2]), dense);
          b.output('dense', dense);
        }),
      );
      await run({ x: randomArray('x', [4, 2]), ids: array([5, 1, 5, 5]) });
      await twin.check();
    });

    it.each([
      ['adamw', { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1 }],
      ['adamw', { beta1: 0, beta2: 0.95, eps: 1e-6, weightDecay: 0 }],
    ] as const)('%s %o updates over several steps', async (_, attributes) => {
      const twin = twinOf(bench);
      for (const name of ['p', 'm', 'v', 'g']) {
        await twin.create(name, name === 'p' ? randomArray('p', [5, 3]) : zeros(5, 3));
      }
      const run = await twin.compile(
        graphOf((b) => {
          const [p, g, m, v] = ['p', 'g', 'm', 'v'].map((name) => b.state(name, [5, 3]));
          b.accumulate(g!, b.input('x', [5, 3]));
          b.adamw([p!, g!, m!, v!], b.input('scalars', [4]), attributes);
          b.zero(g!);
        }),
      );
      for (let t = 1; t <= 5; t++) {
        const corrections = [1 - attributes.beta1 ** t, 1 - attributes.beta2 ** t];
        await run({ x: randomArray(`x ${t}`, [5, 3]), scalars: array([0.01 / t, 0.25, ...corrections]) });
        for (const name of ['p', 'm', 'v']) {
          // Relative to the small values themselves: (1 − β₂) rounded in f32 would be off by 5e-5.
          const got = { shape: [5, 3], data: await bench.engine.readState(name) };
          expectClose(name, got, array(await twin.reference.readState(name), [5, 3]), 1e-5, 0);
        }
        await twin.check();
      }
    });

    it('rmsprop updates over several steps and leaves the gradient', async () => {
      const twin = twinOf(bench);
      await twin.create('p', randomArray('p', [7]));
      await twin.create('g', randomArray('g', [7]));
      await twin.create('v', zeros(7));
      const run = await twin.compile(
        graphOf((b) => {
          const [p, g, v] = ['p', 'g', 'v'].map((name) => b.state(name, [7]));
          b.rmsprop([p!, g!, v!], b.input('scalars', [2]), { alpha: 0.99, eps: 1e-8 });
        }),
      );
      for (const rate of [0.01, 0.001, 0]) {
        await run({ scalars: array([rate, 0.5]) });
        await twin.check();
        const v = { shape: [7], data: await bench.engine.readState('v') };
        expectClose('v', v, array(await twin.reference.readState('v')), 1e-5, 0);
      }
    });
  });

  describe('caches', () => {
    const bench = benchOf(makeEngine, rounding);
    const [G, d, slots] = [2, 4, 5];
    const cacheShape = ['slots', G, 'capacity', d];

    it('are written at positions and moved as rows, in order', async () => {
      const twin = twinOf(bench);
      await twin.create('cache', randomArray('cache', [slots, G, 6, d]));
      const write = await twin.compile(
        graphOf((b) => {
          const [at, positions] = [b.input('at', ['n'], 'i32'), b.input('positions', ['n'], 'i32')];
          b.cacheWrite(b.state('cache', cacheShape), at, positions, b.input('x', ['n', G * d]));
        }),
      );
      const move = await twin.compile(
        graphOf((b) => {
          b.cacheMove(b.state('cache', cacheShape), b.input('from', ['m'], 'i32'), b.input('to', ['m'], 'i32'));
        }),
      );
      await write({ at: array([4, 0, 4, 2]), positions: array([5, 0, 1, 3]), x: randomArray('x', [4, G * d]) });
      await twin.check(0);
      await write({ at: array([1]), positions: array([2]), x: randomArray('y', [1, G * d]) });
      await twin.check(0);
      // Row 1 receives row 2, then row 0 receives the new row 1.
      await move({ from: array([2, 1, 4]), to: array([1, 0, 4]) });
      await twin.check(0);
      await move({ from: array([0]), to: array([3]) });
      await move({ from: array([]), to: array([]) });
      await twin.check(0);
    });

    it('serve decoding: prefill, steps on fewer rows than slots, growth, a finished row replaced', async () => {
      const twin = twinOf(bench);
      const heads = { headDim: d, scale: 0.5 };
      for (const name of ['keys', 'values']) await twin.create(name, zeros(slots, G, 4, d));
      const prefill = await twin.compile(
        graphOf((b) => {
          const [at, positions] = [b.input('at', ['n'], 'i32'), b.input('positions', ['n'], 'i32')];
          for (const name of ['keys', 'values']) {
            b.cacheWrite(b.state(name, cacheShape), at, positions, b.input(name, ['n', G * d]));
          }
        }),
      );
      const decode = await twin.compile(
        graphOf((b) => {
          const [keys, values] = [b.state('keys', cacheShape), b.state('values', cacheShape)];
          const [k, v] = [b.input('k', ['batch', G * d]), b.input('v', ['batch', G * d])];
          const q = b.input('q', ['batch', 3 * G * d]);
          const [at, lengths] = [b.input('at', ['batch'], 'i32'), b.input('lengths', ['batch'], 'i32')];
          b.output('y', b.decodeAttention([q, k, v], [keys, values], lengths, heads));
          b.cacheWrite(keys, at, lengths, k);
          b.cacheWrite(values, at, lengths, v);
        }),
      );
      const drop = await twin.compile(
        graphOf((b) => {
          const [from, to] = [b.input('from', ['m'], 'i32'), b.input('to', ['m'], 'i32')];
          for (const name of ['keys', 'values']) b.cacheMove(b.state(name, cacheShape), from, to);
        }),
      );
      // Prompts of 2, 0 and 3 tokens in rows 0 to 2.
      await prefill({
        at: array([0, 0, 2, 2, 2]),
        positions: array([0, 1, 0, 1, 2]),
        keys: randomArray('keys', [5, G * d]),
        values: randomArray('values', [5, G * d]),
      });
      let lengths = [2, 0, 3];
      for (let step = 0; step < 5; step++) {
        const batch = lengths.length;
        const rows = (name: string, width: number) => randomArray(`${name} ${step}`, [batch, width]);
        await decode({
          q: rows('q', 3 * G * d),
          k: rows('k', G * d),
          v: rows('v', G * d),
          at: array(lengths.map((_, b) => b)),
          lengths: array(lengths),
        });
        lengths = lengths.map((length) => length + 1);
        if (step === 0) for (const name of ['keys', 'values']) await twin.resize(name, 2, 9);
        if (step === 2) {
          await drop({ from: array([2]), to: array([0]) });
          lengths = [lengths[2]!, lengths[1]!];
        }
        await twin.check(0);
      }
    });
  });

  describe('two engines', () => {
    it('share nothing', async () => {
      const [one, other] = [await makeEngine(), await makeEngine()];
      try {
        await one.createState('a', [1]);
        await one.writeState('a', Float32Array.of(3));
        expect((await other.states()).size).toBe(0);
        await other.createState('a', [1]);
        await expectState(one, 'a', array([3]), 0);
      } finally {
        await one.dispose();
        await other.dispose();
      }
    });
  });
}
