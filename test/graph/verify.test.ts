// What the verifier refuses in graphs that no builder made, and how symbols are bound.
import { describe, expect, it } from 'vitest';
import {
  bindShape,
  type Graph,
  graphBuilder,
  type Node,
  type OpAttributes,
  type OpName,
  type TensorType,
  type Value,
  verifyGraph,
} from '../../src/graph/index.ts';
import { SelfplayError } from '../../src/util/index.ts';
import { gradientGraph } from '../reference/differentiate.ts';
import { pairLoss, tinyLlama } from '../reference/tiny-llama.ts';

/** A node made by hand, right or wrong. */
function node<K extends OpName>(
  id: number,
  op: K,
  inputs: readonly Value[],
  attributes: OpAttributes[K],
  ...types: TensorType[]
): Node {
  const values: Value[] = [];
  const made = { id, op, inputs, attributes, values } as unknown as Node;
  types.forEach((type, index) => {
    values.push({ ...type, node: made, index });
  });
  return made;
}
const graph = (...nodes: Node[]): Graph => ({ nodes, outputs: new Map() });
const f32 = (...shape: (number | string)[]): TensorType => ({ dtype: 'f32', shape });
const input = (id: number, name: string, type: TensorType) => node(id, 'input', [], { name, type }, type);
const state = (id: number, name: string, type: TensorType) => node(id, 'state', [], { name, type }, type);
const first = ({ values }: Node): Value => values[0]!;

function expectRefused(refused: Graph, message: string): void {
  expect(() => verifyGraph(refused)).toThrow(SelfplayError);
  expect(() => verifyGraph(refused)).toThrow(message);
}

describe('verifyGraph', () => {
  it('accepts what builders make, with gradients and effects', () => {
    const model = tinyLlama(true);
    verifyGraph(gradientGraph((b) => pairLoss(b, model)));
    const b = graphBuilder();
    b.accumulate(b.state('s', ['n', 2]), b.input('x', ['n', 2]));
    b.output('x', b.input('x', ['n', 2]));
    verifyGraph(b.build());
    verifyGraph(graph());
  });

  it('refuses reversed order', () => {
    const b = graphBuilder();
    b.output('y', b.sigmoid(b.input('x', ['n'])));
    const { nodes, outputs } = b.build();
    expectRefused({ nodes: nodes.toReversed(), outputs }, 'node %1 sigmoid uses %0 before it exists');
  });

  it('refuses a node that is missing', () => {
    const x = input(0, 'x', f32(2));
    expectRefused(graph(node(1, 'sigmoid', [first(x)], {}, f32(2))), 'node %1 sigmoid uses %0 before it exists');
  });

  it('refuses types that the rule of the op does not give', () => {
    const x = input(0, 'x', f32(2));
    const said = (type: TensorType) => graph(x, node(1, 'sigmoid', [first(x)], {}, type));
    expectRefused(said(f32(3)), 'node %1 sigmoid has results f32[3], its rule says f32[2]');
    expectRefused(said({ dtype: 'i32', shape: [2] }), 'has results i32[2], its rule says f32[2]');
    expectRefused(graph(x, node(1, 'sigmoid', [first(x)], {})), 'its rule says f32[2]');
  });

  it('refuses inputs that the rule of the op does not take', () => {
    const x = input(0, 'x', f32(2));
    expectRefused(
      graph(x, node(1, 'matmul', [first(x), first(x)], { transposeA: false, transposeB: false })),
      'rank 1',
    );
    expectRefused(graph(node(0, 'affine', [], { scale: 1, shift: 0 }, f32(2))), 'input 0 is missing');
  });

  it('refuses a symbol that no input or state has', () => {
    const x = input(0, 'x', f32('n'));
    const wide = node(1, 'broadcastTo', [first(x)], { shape: ['m', 'n'] }, f32('m', 'n'));
    expectRefused(graph(x, wide), 'node %1 broadcastTo: no input or state has the dimension "m"');
    verifyGraph(graph(x, input(2, 'y', f32('m')), wide));
  });

  it('refuses effects on what is not a state', () => {
    const [x, p, s] = [input(0, 'x', f32(2)), state(1, 'p', f32(2)), input(2, 's', f32(4))];
    expectRefused(graph(x, node(3, 'zero', [first(x)], {})), 'node %3 zero: input 0 must be a state');
    expectRefused(graph(x, p, node(3, 'accumulate', [first(x), first(p)], {})), 'input 0 must be a state');
    verifyGraph(graph(x, p, node(3, 'accumulate', [first(p), first(x)], {})));
    const attributes = { beta1: 0, beta2: 0, eps: 1, weightDecay: 0 };
    for (let wrong = 0; wrong < 4; wrong++) {
      const inputs = [0, 1, 2, 3].map((i) => first(i === wrong ? x : p));
      expectRefused(
        graph(x, p, s, node(3, 'adamw', [...inputs, first(s)], attributes)),
        `node %3 adamw: input ${wrong} must be a state`,
      );
    }
  });

  it('refuses a name with two types', () => {
    expectRefused(graph(input(0, 'x', f32(2)), input(1, 'x', f32(3))), 'input "x" is both f32[2] and f32[3]');
    expectRefused(graph(state(0, 'x', f32(2)), state(1, 'x', f32('n'))), 'state "x" is both f32[2] and f32[n]');
    verifyGraph(graph(state(0, 'x', f32(2)), input(1, 'x', f32(3))));
  });

  it('refuses an output that is not in the graph', () => {
    const x = input(0, 'x', f32(2));
    expectRefused({ nodes: [], outputs: new Map([['y', first(x)]]) }, 'output "y" is not in the graph');
  });
});

describe('bindShape', () => {
  it('binds symbols and keeps earlier bindings', () => {
    const bindings = new Map([['n', 4]]);
    bindShape('input "x"', ['n', 3, 'm'], [4, 3, 7], bindings);
    bindShape('input "scalar"', [], [], bindings);
    expect(bindings).toEqual(
      new Map([
        ['n', 4],
        ['m', 7],
      ]),
    );
  });

  it.each<[string, (number | string)[], number[], string]>([
    ['a size', [2, 3], [2, 4], 'input "x" has shape [2,4], expected [2,3]'],
    ['the rank', ['n', 3], [3], 'input "x" has shape [3], expected [n=5,3]'],
    ['a rank too high', ['n', 3], [5, 3, 1], 'input "x" has shape [5,3,1], expected [n=5,3]'],
    ['an earlier binding', ['n', 'm'], [6, 2], 'input "x" has shape [6,2], expected [n=5,m]'],
    ['itself', ['k', 'k'], [6, 2], 'input "x" has shape [6,2], expected [k=6,k=6]'],
  ])('fails by name where %s disagrees', (_, shape, actual, message) => {
    expect(() => bindShape('input "x"', shape, actual, new Map([['n', 5]]))).toThrow(message);
  });
});
