// Every op's gradient rule against finite differences in float64: fixed shapes, random shapes, and composed graphs.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { gradients } from '../../src/autodiff/index.ts';
import { gradientRules } from '../../src/autodiff/rules.ts';
import { type Graph, graphBuilder, type OpName } from '../../src/graph/index.ts';
import { array } from '../reference/array.ts';
import { evaluateOn, gradientGraph, lossOfCase, valuesOf } from '../reference/differentiate.ts';
import type { OpCase } from '../reference/op-case.ts';
import { allOpCases, opCases } from '../reference/op-cases.ts';
import * as make from '../reference/op-makers.ts';
import { randomArray } from '../reference/random.ts';
import { packedSegments } from '../reference/segments.ts';
import { checkGradients } from './finite-differences.ts';

const checkCase = (one: OpCase) => checkGradients((b) => lossOfCase(b, one), valuesOf(one));

const isDifferentiable = (op: string) => gradientRules[op as OpName] !== null;
const differentiable = allOpCases.filter(({ op, one }) => isDifferentiable(op) && !one.forwardOnly);
const withoutRule = Object.entries(opCases).filter(([op]) => !isDifferentiable(op));

describe('gradient rules', () => {
  it('all have a case', () => {
    const covered = new Set<string>(differentiable.map(({ op }) => op));
    expect(Object.keys(gradientRules).filter((op) => isDifferentiable(op) && !covered.has(op))).toEqual([]);
  });

  it.each(differentiable)('$one.name', ({ one }) => {
    checkCase(one);
  });

  it.each(withoutRule)('%s has none, and says so', (op, [one]) => {
    expect(() => gradientGraph((b) => lossOfFirstFloat(b, one!))).toThrow(new RegExp(`^${op} has no gradient`));
  });
});

/** Like lossOfCase, over the float results alone: sampled ids have no arithmetic. */
function lossOfFirstFloat(b: Parameters<typeof lossOfCase>[0], one: OpCase) {
  return lossOfCase(b, { ...one, build: (...given) => one.build(...given).filter(({ dtype }) => dtype === 'f32') });
}

const size = (max: number) => fc.integer({ min: 1, max });
const sizes = (max: number, most: number) => fc.array(size(max), { minLength: 1, maxLength: most });
/** Two shapes that broadcast: dimensions cut off the front, others set to 1. */
const broadcasting = fc
  .array(fc.tuple(size(4), fc.boolean(), fc.boolean()), { maxLength: 3 })
  .chain((dims) => fc.tuple(fc.constant(dims), fc.nat(dims.length), fc.boolean()))
  .map(([dims, cut, swap]) => {
    const x = dims.map(([dim, one]) => (one ? 1 : dim));
    const y = dims.map(([dim, , one]) => (one ? 1 : dim)).slice(cut);
    return swap ? ([y, x] as const) : ([x, y] as const);
  });
const heads = fc.record({ groups: size(2), perGroup: size(3), headDim: size(3).map((half) => 2 * half) });
const packed = fc
  .array(fc.tuple(size(3), size(3), size(3)), { minLength: 1, maxLength: 3 })
  .map((groups) => packedSegments(groups));

const randomCases: Record<string, fc.Arbitrary<OpCase>> = {
  broadcasting: fc
    .tuple(fc.constantFrom('add', 'sub', 'mul'), broadcasting)
    .map(([op, [x, y]]) => make.binary(op, x, y)),
  sumTo: broadcasting.map(([x, y]) =>
    make.reshaping(
      'sumTo',
      x.length < y.length ? y : x,
      x.map(() => 1),
    ),
  ),
  matmul: fc.tuple(size(5), size(5), size(5), fc.boolean(), fc.boolean()).map((dims) => make.matmul(...dims)),
  linear: fc.tuple(size(4), size(5), sizes(4, 3)).map((dims) => make.linear(...dims)),
  gatherRows: fc.tuple(size(5), size(3), size(7)).map((dims) => make.gatherRows(...dims)),
  scatterRows: fc.tuple(size(5), size(3), size(7)).map((dims) => make.scatterRows(...dims)),
  rmsNorm: fc.tuple(size(4), size(6), fc.constantFrom(1e-5, 1e-2)).map((dims) => make.rmsNorm(...dims)),
  rope: fc
    .tuple(size(4), sizes(3, 2), size(3), fc.boolean())
    .map(([t, heads, half, inverse]) => make.rope(t, heads, 2 * half, inverse)),
  attention: fc.tuple(heads, packed).map(([h, p]) => make.attention('random', h, p)),
  dropout: fc.tuple(size(4), size(6), fc.constantFrom(0, 0.4), size(9)).map((dims) => make.dropout(...dims)),
  glu: fc
    .tuple(fc.constantFrom('silu', 'gelu_tanh'), fc.boolean(), size(4), size(5))
    .map((given) => make.glu(...given)),
  split: fc.tuple(size(4), sizes(4, 3)).map((dims) => make.split(...dims)),
  tokenLogProbs: fc.tuple(size(5), size(4), size(9)).map((dims) => make.tokenLogProbs(...dims)),
};

describe('gradient rules on random shapes', () => {
  it.each(Object.entries(randomCases))('%s', (_, arbitrary) => {
    fc.assert(fc.property(arbitrary, checkCase), { numRuns: 25, seed: 11 });
  });
});

describe('gradients', () => {
  it('adds the contributions of a value used several times', () => {
    const values = { x: randomArray('x', [3, 4]), w: randomArray('w', [4, 4]) };
    checkGradients((b) => {
      const x = b.input('x', ['tokens', 4]);
      const w = b.state('w', [4, 4]);
      const once = b.sigmoid(b.matmul(x, w));
      const twice = b.matmul(b.add(once, x), w, { transposeB: true });
      return { loss: b.sumSquares(b.mul(twice, b.softplus(once))), wrt: { x, w } };
    }, values);
  });

  it('returns the contributions to a parameter apart: a tied table has a dense one and one by rows', () => {
    const b = graphBuilder();
    const table = b.state('table', [6, 4]);
    const ids = b.input('ids', ['tokens'], 'i32');
    const scores = b.tokenLogProbs(b.gatherRows(table, ids), table, b.input('targets', ['tokens'], 'i32'));
    const [parts] = gradients(b, b.sumTo(scores, []), [table]);
    expect(parts!.map(({ node }) => node.op).sort()).toEqual(['scatterRows', 'tokenLogProbsGrad']);

    checkGradients(
      (c) => {
        const tied = c.state('table', [6, 4]);
        const rows = c.gatherRows(tied, c.input('ids', ['tokens'], 'i32'));
        const logProbs = c.tokenLogProbs(rows, tied, c.input('targets', ['tokens'], 'i32'));
        return { loss: c.sumTo(logProbs, []), wrt: { table: tied } };
      },
      { table: randomArray('table', [6, 4]), ids: array([5, 0, 5]), targets: array([1, 5, 1]) },
    );
  });

  it('of a parameter without influence are none, and cost no node', () => {
    const b = graphBuilder();
    const used = b.input('used', [3]);
    const unused = b.input('unused', [3]);
    b.sigmoid(unused);
    const [ofUsed, ofUnused] = gradients(b, b.sumSquares(used), [used, unused]);
    expect(ofUsed).toHaveLength(1);
    expect(ofUnused).toEqual([]);
  });

  it('build nothing for inputs that need no gradient', () => {
    const graph = gradientGraph((b) => {
      const x = b.input('x', ['tokens', 4]);
      const w = b.state('w', [5, 4]);
      return { loss: b.sumSquares(b.linear(x, w)[0]!), wrt: { w } };
    });
    expect(opsOf(graph)).not.toContain('linearGradInput');
    expect(opsOf(graph)).toContain('matmul');
  });

  it('of one of several results: only its weight has a gradient', () => {
    const values = { x: randomArray('x', [3, 4]), w0: randomArray('w0', [2, 4]), w1: randomArray('w1', [5, 4]) };
    checkGradients((b) => {
      const x = b.input('x', [3, 4]);
      const [w0, w1] = [b.state('w0', [2, 4]), b.state('w1', [5, 4])];
      return { loss: b.sumSquares(b.linear(x, w0, w1)[1]!), wrt: { x, w0, w1 } };
    }, values);
  });

  it('of the loss itself and of a loss of shape [1,1] are 1', () => {
    const graph = gradientGraph((b) => {
      const x = b.input('x', [1, 1]);
      return { loss: x, wrt: { x } };
    });
    expect(evaluateOn(graph, { x: array([3], [1, 1]) }).outputs['d x']!.data).toEqual(Float64Array.of(1));
  });

  it('want one number as loss', () => {
    const b = graphBuilder();
    const x = b.input('x', [2]);
    expect(() => gradients(b, x, [x])).toThrow('the loss has shape [2], not one element');
  });
});

const opsOf = (graph: Graph) => graph.nodes.map(({ op }) => op);
