/** Conformance: every op and its gradient against the float64 evaluator, composed graphs, sizes, determinism. */
import { describe, expect, it } from 'vitest';
import { gradients } from '../../src/autodiff/index.ts';
import { gradientRules } from '../../src/autodiff/rules.ts';
import { type Graph, graphBuilder } from '../../src/graph/index.ts';
import { array } from '../reference/array.ts';
import { evaluateOn, gradientGraph, lossOfCase, valuesOf } from '../reference/differentiate.ts';
import { declareSources, type OpCase } from '../reference/op-case.ts';
import { allOpCases } from '../reference/op-cases.ts';
import * as make from '../reference/op-makers.ts';
import { randomArray, randomIds } from '../reference/random.ts';
import { packedSegments } from '../reference/segments.ts';
import { pairInputs, pairLoss, tinyLlama, tinyWeights } from '../reference/tiny-llama.ts';
import { benchOf, expectClose, expectOutputs, graphOf, type MakeEngine, tensors } from './bench.ts';

/** Relative L2 error of one op in f32. */
const FORWARD = 1e-5;
/** A gradient program computes the op, its loss and its gradient one after the other. */
const GRADIENT = 3e-5;
/** Two layers forward and backward. */
const MODEL = 1e-4;

/** Larger ones than finite differences can afford. */
const largeCases: OpCase[] = [
  make.linear(130, 96, [96, 32, 32]),
  make.linearGradInput(130, 96, [96, 32]),
  make.rmsNorm(130, 96),
  make.tokenLogProbs(70, 48, 2049),
  make.tokenLogProbsGrad(70, 48, 2049),
  make.gatherRows(500, 24, 200),
  make.scatterRows(500, 24, 200),
  ...[make.attention, make.attentionGrad].flatMap((maker) => [
    maker('long', { groups: 3, perGroup: 3, headDim: 16 }, packedSegments([[40, 70, 33]])),
    maker('longer', { groups: 2, perGroup: 2, headDim: 8 }, packedSegments([[130, 60, 90]])),
    maker('longer', { groups: 2, perGroup: 2, headDim: 8 }, packedSegments([[130, 60, 90]]), { window: 70 }),
    maker('long', { groups: 3, perGroup: 3, headDim: 16 }, packedSegments([[40, 70, 33]]), { window: 9, softcap: 1 }),
    maker(
      'forty sequences',
      { groups: 1, perGroup: 3, headDim: 8 },
      packedSegments(Array.from({ length: 40 }, (_, i) => [1 + (i % 7), (i * 5) % 6] as const)),
    ),
    maker(
      'four responses each',
      { groups: 2, perGroup: 1, headDim: 8 },
      packedSegments([
        [9, 3, 17, 1, 5],
        [2, 8, 8, 8, 1],
      ]),
    ),
  ]),
  make.decodeAttention({ groups: 3, perGroup: 3, headDim: 16 }, [63, 0, 17, 40, 1, 62, 5], 9, 64),
];

function forwardGraph(one: OpCase): Graph {
  return graphOf((b) => {
    one.build(b, declareSources(b, one)).forEach((value, i) => {
      b.output(`result ${i}`, value);
    });
  });
}

export function opsConformance(makeEngine: MakeEngine, rounding: number): void {
  describe('ops', () => {
    const bench = benchOf(makeEngine, rounding);
    const cases = [...allOpCases.map(({ one }) => one), ...largeCases];
    it.each(cases)('$name', async (one) => {
      const graph = forwardGraph(one);
      const { outputs } = evaluateOn(graph, valuesOf(one));
      const allowed = Math.max(one.tolerance ?? FORWARD, rounding * (one.roundings ?? 1));
      expectOutputs(await bench.runOnce(graph, valuesOf(one)), outputs, allowed);
    });
  });

  describe('gradients', () => {
    const bench = benchOf(makeEngine, rounding);
    const cases = allOpCases.filter(({ op, one }) => gradientRules[op] && !one.forwardOnly).map(({ one }) => one);
    it.each(cases)('$name', async (one) => {
      const graph = gradientGraph((b) => lossOfCase(b, one));
      const { loss, ...expected } = evaluateOn(graph, valuesOf(one)).outputs;
      const { loss: gotLoss, ...got } = await bench.runOnce(graph, valuesOf(one));
      expectClose('loss', gotLoss, loss!, Math.max(GRADIENT, 3 * rounding), 1);
      expectOutputs(got, expected, Math.max(GRADIENT, 3 * Math.max(one.tolerance ?? 0, rounding)));
    });
  });

  describe('whole graphs', () => {
    const bench = benchOf(makeEngine, rounding);

    it.each([
      ['tied', true],
      ['untied', false],
    ])('a Llama with a %s head: loss and every gradient of packed pairs', async (_, tied) => {
      const model = tinyLlama(tied);
      const values = { ...pairInputs(model), ...tinyWeights(model) };
      const graph = gradientGraph((b) => pairLoss(b, model));
      expectOutputs(
        await bench.runOnce(graph, values),
        evaluateOn(graph, values).outputs,
        Math.max(MODEL, 5 * rounding),
      );
    });

    it('one program serves all sizes', async () => {
      const one = (tokens: number, lengths: readonly number[]) => ({
        x: randomArray(`x ${tokens}`, [tokens, 12]),
        segments: packedSegments(lengths.map((length) => [length])).segments,
        positions: randomIds(`p ${tokens}`, tokens, 9),
      });
      const weights = { qkv: randomArray('qkv', [12, 12]), norm: randomArray('norm', [12]) };
      const graph = graphOf((b) => {
        const [x] = b.rmsNorm(b.input('x', ['tokens', 12]), b.state('norm', [12]), 1e-5);
        const [q] = b.linear(x, b.state('qkv', [12, 12]));
        const [turned] = b.rope([q!], b.input('positions', ['tokens'], 'i32'), {
          headDim: 4,
          frequencies: [1, 0.1],
          inverse: false,
        });
        const segments = b.input('segments', ['segments', 6], 'i32');
        const mixed = b.attention(turned!, turned!, q!, segments, { headDim: 4, scale: 0.5 });
        b.output('y', mixed);
        b.output('total', b.sumTo(mixed, []));
      });
      for (const [name, value] of Object.entries(weights)) await bench.create(name, value);
      const program = await bench.compile(graph);
      for (const values of [one(1, [1]), one(7, [7]), one(64, [30, 1, 33]), one(2, [1, 1]), one(7, [3, 4])]) {
        const expected = evaluateOn(graph, { ...weights, ...values }).outputs;
        const got = await program.run(tensors(graph, values));
        expectClose('y', got['y'], expected['y']!, Math.max(FORWARD, 2 * rounding));
        expectClose('total', got['total'], expected['total']!, Math.max(FORWARD, 2 * rounding), 1);
      }
    });

    it('dropout has the mask of the reference to the bit', async () => {
      const graph = graphOf((b) => {
        const keys = b.input('keys', ['tokens'], 'i32');
        b.output('y', b.dropout(b.input('x', ['tokens', 700]), keys, { probability: 0.25, salt: 3 }));
      });
      const keys = randomArray('keys', [301], 2 ** 30);
      const values = {
        x: array(new Float64Array(301 * 700).fill(1), [301, 700]),
        keys: array(
          keys.data.map((key) => Math.round(key) | 0),
          [301],
        ),
      };
      const kept = (data: ArrayLike<number>) => Array.from(data, (x) => x !== 0);
      const got = await bench.runOnce(graph, values);
      expect(kept(got['y']!.data)).toEqual(kept(evaluateOn(graph, values).outputs['y']!.data));
    });

    it('sources may be outputs, a value may be two outputs, an input may be unused', async () => {
      const graph = graphOf((b) => {
        const x = b.input('x', ['n']);
        const ids = b.input('ids', ['n'], 'i32');
        b.input('unused', ['n', 2]);
        const twice = b.affine(x, 2);
        b.output('x', x);
        b.output('ids', ids);
        b.output('state', b.state('state', [2]));
        b.output('constant', b.constant([1, 2, 3]));
        b.output('twice', twice);
        b.output('twice again', twice);
        b.output('reshaped', b.reshape(x, ['n', 1]));
      });
      const values = {
        x: array([1.5, -2, 3]),
        ids: array([2, -1, 2 ** 31 - 1]),
        unused: array([1, 2, 3, 4, 5, 6], [3, 2]),
        state: array([7, 8]),
      };
      const got = await bench.runOnce(graph, values);
      expectOutputs(got, evaluateOn(graph, values).outputs, 0);
      expect(got['ids']!.data).toBeInstanceOf(Int32Array);
      expect(got['x']!.data).toBeInstanceOf(Float32Array);
    });

    it('the same run twice gives the same bits, on this engine and on another', async () => {
      const model = tinyLlama(true);
      const inputs = pairInputs(model);
      const b = graphBuilder();
      const { loss, wrt } = pairLoss(b, model);
      b.output('loss', loss);
      gradients(b, loss, Object.values(wrt)).forEach((parts, i) => {
        const name = Object.keys(wrt)[i]!;
        const sum = b.state(`gradient of ${name}`, wrt[name]!.shape);
        for (const part of parts) b.accumulate(sum, part);
      });
      const graph = b.build();

      async function bits(engine: typeof bench.engine): Promise<Record<string, Float32Array>> {
        const zero = Object.entries(tinyWeights(model)).map(
          ([name, { shape }]) =>
            [`gradient of ${name}`, { shape, data: new Float64Array(shape.reduce((a, n) => a * n, 1)) }] as const,
        );
        for (const [name, { shape, data }] of [...Object.entries(tinyWeights(model)), ...zero]) {
          await engine.createState(name, shape);
          await engine.writeState(name, Float32Array.from(data));
        }
        const program = await engine.compile(graph);
        const result: Record<string, Float32Array> = {};
        result['loss'] = (await program.run(tensors(graph, inputs)))['loss']!.data as Float32Array;
        for (const [name] of zero) result[name] = await engine.readState(name);
        await program.dispose();
        return result;
      }
      const first = await bits(bench.engine);
      expect(await bits(bench.engine)).toEqual(first);
      const other = await makeEngine();
      try {
        expect(await bits(other)).toEqual(first);
      } finally {
        await other.dispose();
      }
    });
  });
}
