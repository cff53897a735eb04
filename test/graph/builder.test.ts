// What the builder infers and what it refuses, where it is written.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { effectOps, type GraphBuilder, graphBuilder, type OpName, type Value } from '../../src/graph/index.ts';
import { shapeRules } from '../../src/graph/shapeRules.ts';
import { SelfplayError } from '../../src/util/index.ts';
import { evaluateOn, valuesOf } from '../reference/differentiate.ts';
import { declareSources } from '../reference/op-case.ts';
import { allOpCases, opCases } from '../reference/op-cases.ts';
import * as make from '../reference/op-makers.ts';

const heads = { headDim: 4, scale: 0.5 };

/** One mistake a line: the op that must be named, what must be said, how to make it. */
const mistakes: [OpName, RegExp, (b: GraphBuilder) => unknown][] = [
  ['constant', /constant of shape \[3\] has 2 values/, (b) => b.constant([1, 2], [3])],
  ['add', /\[2,3\] and \[4\] do not broadcast/, (b) => b.add(b.input('x', [2, 3]), b.input('y', [4]))],
  ['add', /\[n\] and \[m\] do not broadcast/, (b) => b.add(b.input('x', ['n']), b.input('y', ['m']))],
  ['sub', /\[n\] and \[3\] do not broadcast/, (b) => b.sub(b.input('x', ['n']), b.input('y', [3]))],
  ['mul', /input 1 is i32, expected float/, (b) => b.mul(b.input('x', [2]), b.input('y', [2], 'i32'))],
  ['affine', /input 0 is i32/, (b) => b.affine(b.input('x', [2], 'i32'), 2)],
  ['sumTo', /dimension 0 of sumTo/, (b) => b.sumTo(b.input('x', [1, 3]), [2, 3])],
  ['sumTo', /do not broadcast/, (b) => b.sumTo(b.input('x', [4, 3]), [2])],
  ['broadcastTo', /dimension 0 of broadcastTo/, (b) => b.broadcastTo(b.input('x', [2, 3]), [1, 3])],
  ['broadcastTo', /do not broadcast/, (b) => b.broadcastTo(b.input('x', [2]), [2, 3])],
  ['reshape', /cannot reshape \[2,3\] to \[5\]/, (b) => b.reshape(b.input('x', [2, 3]), [5])],
  ['reshape', /cannot reshape \[n,3\] to \[m,3\]/, (b) => b.reshape(b.input('x', ['n', 3]), ['m', 3])],
  ['matmul', /inner dimension: got 4, expected 3/, (b) => b.matmul(b.input('x', [2, 3]), b.input('y', [4, 5]))],
  [
    'matmul',
    /inner dimension: got 5, expected 2/,
    (b) => b.matmul(b.input('x', [2, 3]), b.input('y', [4, 5]), { transposeA: true, transposeB: true }),
  ],
  ['matmul', /input 1 has rank 1, expected 2/, (b) => b.matmul(b.input('x', [2, 3]), b.input('y', [3]))],
  [
    'linear',
    /inner dimension of weight 1/,
    (b) => b.linear(b.input('x', ['n', 3]), b.input('v', [4, 3]), b.input('w', [3, 4])),
  ],
  [
    'linearGradInput',
    /rows of gradient 1/,
    (b) =>
      b.linearGradInput(
        [b.input('dy', ['n', 2]), b.input('dz', ['m', 2])],
        [b.input('v', [2, 3]), b.input('w', [2, 3])],
      ),
  ],
  [
    'linearGradInput',
    /width of weight 1/,
    (b) =>
      b.linearGradInput(
        [b.input('dy', ['n', 2]), b.input('dz', ['n', 2])],
        [b.input('v', [2, 3]), b.input('w', [2, 5])],
      ),
  ],
  ['gatherRows', /input 1 is f32, expected i32/, (b) => b.gatherRows(b.input('x', [4, 2]), b.input('ids', ['n']))],
  ['scatterRows', /ids: got m, expected n/, (b) => b.scatterRows(b.input('x', ['n', 2]), ints(b, 'ids', 'm'), 4)],
  [
    'rmsNorm',
    /a width of 3 is not a multiple of the weight's 4/,
    (b) => b.rmsNorm(b.input('x', ['n', 3]), b.input('w', [4]), 1e-5),
  ],
  [
    'rmsNormGrad',
    /rows of rstd/,
    (b) => b.rmsNormGrad(b.input('dy', ['n', 3]), b.input('x', ['n', 3]), b.input('w', [3]), b.input('r', ['m', 1])),
  ],
  [
    'rope',
    /3 frequencies for heads of 4/,
    (b) => b.rope([b.input('x', ['n', 8])], ints(b, 'p', 'n'), { headDim: 4, frequencies: [1, 1, 1], inverse: false }),
  ],
  [
    'rope',
    /width 6 is not whole heads/,
    (b) => b.rope([b.input('x', ['n', 6])], ints(b, 'p', 'n'), { headDim: 4, frequencies: [1, 1], inverse: false }),
  ],
  ['attention', /width of k is 6, not a multiple of the head width 4/, (b) => attention(b, 8, 6, 6)],
  ['attention', /query width 12 is not a multiple of key width 8/, (b) => attention(b, 12, 8, 8)],
  ['attention', /width of v: got 8, expected 4/, (b) => attention(b, 8, 4, 8)],
  ['attention', /columns of the segment table: got 4, expected 6/, (b) => attention(b, 8, 4, 4, 4)],
  ['split', /sum of the widths: got 5, expected 6/, (b) => b.split(b.input('x', ['n', 6]), [2, 3])],
  ['join', /rows of input 1: got m, expected n/, (b) => b.join([b.input('x', ['n', 2]), b.input('y', ['m', 2])])],
  ['glu', /width of input 1/, (b) => b.glu('silu', b.input('x', ['n', 3]), b.input('y', ['n', 4]))],
  ['glu', /rows of input 1/, (b) => b.glu('silu', b.input('x', ['n', 3]), b.input('y', ['m', 3]))],
  [
    'tokenLogProbs',
    /width of the head/,
    (b) => b.tokenLogProbs(b.input('h', ['n', 3]), b.input('w', [9, 4]), ints(b, 't', 'n')),
  ],
  [
    'tokenLogProbs',
    /targets: got m, expected n/,
    (b) => b.tokenLogProbs(b.input('h', ['n', 3]), b.input('w', [9, 3]), ints(b, 't', 'm')),
  ],
  ['decodeAttention', /cached heads: got 2, expected 1/, (b) => decode(b, [9, 2, 'c', 4], [9, 2, 'c', 4])],
  ['decodeAttention', /cached head width: got 8/, (b) => decode(b, [9, 1, 'c', 8], [9, 1, 'c', 8])],
  ['decodeAttention', /dimension 2 of the value cache/, (b) => decode(b, [9, 1, 'c', 4], [9, 1, 'd', 4])],
  [
    'sample',
    /uniforms: got m, expected n/,
    (b) => b.sample(b.input('x', ['n', 5]), b.input('u', ['m']), { temperature: 1, topK: 0, topP: 1 }),
  ],
  ['accumulate', /dimension 0 of input 1/, (b) => b.accumulate(b.state('s', [3]), b.input('x', [4]))],
  ['accumulate', /rank of input 1/, (b) => b.accumulate(b.state('s', [3]), b.input('x', [1, 3]))],
  [
    'cacheWrite',
    /width of the values: got 7, expected 8/,
    (b) => b.cacheWrite(b.state('c', ['s', 2, 'c', 4]), ints(b, 'a', 'n'), ints(b, 'p', 'n'), b.input('x', ['n', 7])),
  ],
  ['cacheMove', /targets/, (b) => b.cacheMove(b.state('c', ['s', 2, 'c', 4]), ints(b, 'a', 'n'), ints(b, 'p', 'm'))],
  [
    'adamw',
    /scalars: got 3, expected 4/,
    (b) => {
      const [p, g, m, v] = ['p', 'g', 'm', 'v'].map((name) => b.state(name, [3]));
      const attributes = { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0 };
      b.adamw([p!, g!, m!, v!], b.input('s', [3]), attributes);
    },
  ],
  [
    'rmsprop',
    /dimension 0 of input 2/,
    (b) =>
      b.rmsprop([b.state('p', [3]), b.state('g', [3]), b.state('v', [4])], b.input('s', [2]), { alpha: 0.9, eps: 1 }),
  ],
];

const ints = (b: GraphBuilder, name: string, size: string): Value => b.input(name, [size], 'i32');

function attention(b: GraphBuilder, q: number, k: number, v: number, columns = 6): Value {
  const table = b.input('segments', ['s', columns], 'i32');
  return b.attention(b.input('q', ['n', q]), b.input('k', ['n', k]), b.input('v', ['n', v]), table, heads);
}

function decode(b: GraphBuilder, keys: (number | string)[], values: (number | string)[]): Value {
  const [q, k, v] = [b.input('q', ['n', 8]), b.input('k', ['n', 4]), b.input('v', ['n', 4])];
  return b.decodeAttention([q, k, v], [b.state('keys', keys), b.state('values', values)], ints(b, 'l', 'n'), heads);
}

describe('the builder', () => {
  it.each(mistakes)('refuses a wrong %s: %s', (op, message, build) => {
    const run = () => build(graphBuilder());
    expect(run).toThrow(SelfplayError);
    expect(run).toThrow(message);
    expect(run).toThrow(new RegExp(`^${op}\\(`));
  });

  it.each(allOpCases)('infers the shapes that come out: $one.name', ({ one }) => {
    const b = graphBuilder();
    const results = one.build(b, declareSources(b, one));
    results.forEach((value, i) => {
      b.output(`${i}`, value);
    });
    const { outputs } = evaluateOn(b.build(), valuesOf(one));
    const sizes = new Map(
      Object.values(one.sources).flatMap(({ shape, value }) => shape.map((dim, i) => [dim, value.shape[i]!] as const)),
    );
    results.forEach(({ shape }, i) => {
      expect(outputs[i]!.shape).toEqual(shape.map((dim) => (typeof dim === 'number' ? dim : sizes.get(dim))));
    });
  });

  it('has a case for every pure op, and knows the effects', () => {
    const others = ['input', 'state', 'constant', ...Object.keys(effectOps)];
    expect([...Object.keys(opCases), ...others].sort()).toEqual(Object.keys(shapeRules).sort());
  });

  it('broadcasts like the evaluator, in either order', () => {
    const dims = fc.array(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.boolean(), fc.boolean()), { maxLength: 4 });
    fc.assert(
      fc.property(dims, fc.nat(4), (all, cut) => {
        const x = all.map(([dim, one]) => (one ? 1 : dim));
        const y = all.map(([dim, , one]) => (one ? 1 : dim)).slice(cut);
        for (const one of [make.binary('add', x, y), make.binary('add', y, x)]) {
          const b = graphBuilder();
          const [sum] = one.build(b, declareSources(b, one));
          b.output('sum', sum!);
          expect(evaluateOn(b.build(), valuesOf(one)).outputs['sum']!.shape).toEqual(sum!.shape);
        }
      }),
      { seed: 5, numRuns: 60 },
    );
  });

  it('returns the same source for the same name, and refuses another type', () => {
    const b = graphBuilder();
    expect(b.input('x', ['n', 3])).toBe(b.input('x', ['n', 3]));
    expect(b.state('x', [2])).not.toBe(b.input('x', ['n', 3]));
    expect(() => b.input('x', ['m', 3])).toThrow('input "x" is f32[n,3], asked again as f32[m,3]');
    expect(() => b.input('x', ['n', 3], 'i32')).toThrow('input "x" is f32[n,3], asked again as i32[n,3]');
    expect(b.build().nodes).toHaveLength(2);
  });

  it('refuses two outputs of one name', () => {
    const b = graphBuilder();
    b.output('y', b.constant([1]));
    expect(() => b.output('y', b.constant([2]))).toThrow('output "y" is declared twice');
  });

  it('adds no node for a sum or a broadcast to the same shape', () => {
    const b = graphBuilder();
    const x = b.input('x', ['n', 3]);
    expect(b.sumTo(x, ['n', 3])).toBe(x);
    expect(b.broadcastTo(x, ['n', 3])).toBe(x);
  });

  it('builds graphs that later additions do not change', () => {
    const b = graphBuilder();
    b.output('x', b.input('x', [1]));
    const graph = b.build();
    b.output('y', b.constant([1]));
    expect([graph.nodes.length, graph.outputs.size]).toEqual([1, 1]);
  });
});
