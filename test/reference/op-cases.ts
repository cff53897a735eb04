/** The fixed cases of every op: a total table, so that a new op does not compile without a case. */
import type { EffectOp, OpName } from '../../src/graph/index.ts';
import type { OpCase } from './op-case.ts';
import * as make from './op-makers.ts';
import { randomArray } from './random.ts';
import { safeUniforms } from './sampling.ts';
import { continuedSegments, packedSegments } from './segments.ts';

/** Ops of arithmetic that a graph computes: neither sources nor effects. */
export type PureOp = Exclude<OpName, EffectOp | 'input' | 'state' | 'constant'>;

const T = (count: number) => ['tokens', count] as const;

const binaries = (op: 'add' | 'sub' | 'mul'): OpCase[] => [
  make.binary(op, [3, 5], [3, 5]),
  make.binary(op, [4, 1], [1, 6]),
  make.binary(op, [2, 3, 4], [4]),
  make.binary(op, [], [3, 2]),
  make.binary(op, [], []),
  make.binary(op, [T(1)], [T(1)]),
  make.binary(op, [T(5), 7], [7]),
  make.binary(op, [1, 7], [T(3), 7]),
  make.binary(op, [T(6), 1], [T(6), 3]),
  make.binaryWithItself(op, [T(4), 3]),
];

const someHeads: make.Heads[] = [
  { groups: 1, perGroup: 1, headDim: 4 },
  { groups: 2, perGroup: 1, headDim: 2 },
  { groups: 2, perGroup: 3, headDim: 6 },
];
const segmentCases = [
  ['one token', packedSegments([[1]])],
  ['one sequence', packedSegments([[7]])],
  ['a pair', packedSegments([[3, 4, 2]])],
  [
    'responses of one token',
    packedSegments([
      [1, 1, 1],
      [2, 1, 1, 1],
    ]),
  ],
  ['many segments', packedSegments([[2, 3, 4], [1], [5, 1, 6, 2], [3], [1, 1, 1], [4, 2, 2], [1], [2, 5, 3]])],
  ['a continuation', continuedSegments(5, 3)],
  ['a continuation by one', continuedSegments(6, 1)],
] as const;
const attentions = (maker: typeof make.attention): OpCase[] => [
  ...segmentCases.flatMap(([name, packed]) => someHeads.map((heads) => maker(name, heads, packed))),
  // A window counts positions: of a second response it reaches past the first one into the prompt.
  ...segmentCases.flatMap(([name, packed]) =>
    [1, 3, 5].map((window) => maker(name, someHeads[1]!, packed, { window })),
  ),
  ...segmentCases.map(([name, packed]) => maker(name, someHeads[2]!, packed, { window: 4, softcap: 0.7 })),
  ...someHeads.map((heads) => maker('a pair', heads, packedSegments([[3, 4, 2]]), { softcap: 0.5 })),
];

const samples: OpCase[] = (
  [
    { temperature: 0, topK: 0, topP: 1 },
    { temperature: 1, topK: 0, topP: 1 },
    { temperature: 0.6, topK: 0, topP: 1 },
    { temperature: 1.7, topK: 0, topP: 1 },
    { temperature: 1, topK: 1, topP: 1 },
    { temperature: 1, topK: 5, topP: 1 },
    { temperature: 1, topK: 1000, topP: 1 },
    { temperature: 1, topK: 0, topP: 0.9 },
    { temperature: 1, topK: 0, topP: 0.01 },
    { temperature: 0.8, topK: 8, topP: 0.7 },
  ] as const
).flatMap((attributes) =>
  (
    [
      [1, 13],
      [9, 101],
    ] as const
  ).map(([rows, vocabulary]) => {
    const logits = randomArray('logits', [rows, vocabulary], 2);
    return make.sample(`${rows}x${vocabulary}`, logits, safeUniforms('sample', logits, attributes), attributes);
  }),
);

/** All cases by op. */
export const opCases = {
  add: binaries('add'),
  sub: binaries('sub'),
  mul: binaries('mul'),
  affine: [make.affine([T(4), 3], -1.5, 0.25), make.affine([], 2, 0), make.affine([T(1)], 0.5, 1)],
  sigmoid: [make.unary('sigmoid', [T(5), 3]), make.unary('sigmoid', [T(9)], 30), make.unary('sigmoid', [])],
  softplus: [make.unary('softplus', [T(5), 3]), make.unary('softplus', [T(9)], 50), make.unary('softplus', [])],
  exp: [make.unary('exp', [T(5), 3]), make.unary('exp', [T(9)], 5), make.unary('exp', [])],
  log: [make.log([T(5), 3]), make.log([T(9)], 50), make.log([])],
  tanh: [make.unary('tanh', [T(5), 3]), make.unary('tanh', [T(9)], 20), make.unary('tanh', [])],
  step: [make.unary('step', [T(5), 3]), make.unary('step', []), make.stepAt0],
  sumTo: [
    make.reshaping('sumTo', [4, 5], [5]),
    make.reshaping('sumTo', [4, 5], [4, 1]),
    make.reshaping('sumTo', [4, 5], []),
    make.reshaping('sumTo', [2, 3, 4], [3, 1]),
    make.reshaping('sumTo', [T(1), 3], [1, 1]),
    make.reshaping('sumTo', [T(7), 3], [1, 3]),
    make.reshaping('sumTo', [T(7), 3], ['tokens', 1]),
    make.reshaping('sumTo', [T(300)], []),
  ],
  broadcastTo: [
    make.reshaping('broadcastTo', [5], [4, 5]),
    make.reshaping('broadcastTo', [], [3]),
    make.reshaping('broadcastTo', [2, 1], [3, 2, 4]),
    make.reshaping('broadcastTo', [T(5), 1], ['tokens', 4]),
    make.reshaping('broadcastTo', [T(5)], [2, 'tokens']),
  ],
  reshape: [
    make.reshaping('reshape', [4, 6], [8, 3]),
    make.reshaping('reshape', [T(5), 6], ['tokens', 2, 3]),
    make.reshaping('reshape', [T(5)], [1, 'tokens']),
    make.reshaping('reshape', [1], []),
    make.reshaping('reshape', [['a', 2], 6, ['b', 3]], ['a', 2, 'b', 3]),
  ],
  sumSquares: [make.unary('sumSquares', [7, 3]), make.unary('sumSquares', [T(1)]), make.unary('sumSquares', [])],
  matmul: [false, true].flatMap((a) =>
    [false, true].flatMap((b) => [
      make.matmul(1, 1, 1, a, b),
      make.matmul(3, 5, 2, a, b),
      make.matmul(1, 7, 4, a, b),
      make.matmul(33, 17, 9, a, b),
    ]),
  ),
  linear: [
    make.linear(1, 1, [1]),
    make.linear(5, 7, [3]),
    make.linear(4, 6, [6, 2, 2]),
    make.linear(1, 5, [4, 9]),
    make.linear(37, 19, [11, 3]),
  ],
  linearGradInput: [
    make.linearGradInput(1, 1, [1]),
    make.linearGradInput(5, 7, [3]),
    make.linearGradInput(4, 6, [6, 2, 2]),
    make.linearGradInput(37, 19, [11, 3]),
  ],
  gatherRows: [make.gatherRows(5, 3, 9), make.gatherRows(1, 4, 2), make.gatherRows(['vocabulary', 40], 7, 1)],
  scatterRows: [make.scatterRows(5, 3, 9), make.scatterRows(1, 4, 3), make.scatterRows(40, 7, 1)],
  split: [make.split(1, [1, 1]), make.split(5, [6, 2, 2]), make.split(37, [11, 3]), make.split(4, [5])],
  join: [make.join(1, [1, 1]), make.join(5, [6, 2, 2]), make.join(37, [11, 3]), make.join(4, [5])],
  rmsNorm: [
    make.rmsNorm(1, 1),
    make.rmsNorm(5, 6, 1e-5, 1, 3),
    make.rmsNorm(1, 4, 1e-6, 1, 2),
    make.rmsNormWithRstd(6, 4, 3),
    make.rmsNorm(5, 7),
    make.rmsNorm(1, 16, 1e-6),
    make.rmsNorm(3, 8, 0.1, 0.01),
    make.rmsNormWithRstd(6, 5),
  ],
  rmsNormGrad: [
    make.rmsNormGrad(1, 3),
    make.rmsNormGrad(5, 7),
    make.rmsNormGrad(33, 16),
    make.rmsNormGrad(5, 7, false),
    make.rmsNormGrad(5, 6, true, 3),
    make.rmsNormGrad(33, 4, false, 2),
  ],
  rope: [
    make.rope(1, [1], 2, false),
    make.rope(5, [3], 4, false),
    make.rope(5, [2, 1], 6, true),
    make.rope(40, [2, 3], 8, false, 2048, 2e-4),
    make.rope(5, [2, 1], 8, false, 16, 1e-5, { columns: 4 }),
    make.rope(1, [1], 6, true, 16, 1e-5, { columns: 2, scale: 1.3 }),
    make.rope(7, [3, 1], 6, false, 16, 1e-5, { scale: 0.8 }),
  ],
  attention: attentions(make.attention),
  attentionGrad: attentions(make.attentionGrad),
  glu: (['silu', 'gelu_tanh'] as const).flatMap((activation) =>
    [true, false].flatMap((isGated) => [
      make.glu(activation, isGated, 1, 1),
      make.glu(activation, isGated, 5, 7),
      make.glu(activation, isGated, 6, 8, 20),
    ]),
  ),
  gluGrad: (['silu', 'gelu_tanh'] as const).flatMap((activation) =>
    [true, false].flatMap((isGated) => [
      make.gluGrad(activation, isGated, 1, 1),
      make.gluGrad(activation, isGated, 5, 7),
    ]),
  ),
  tokenLogProbs: [
    make.tokenLogProbs(1, 3, 2),
    make.tokenLogProbs(6, 5, 13),
    make.tokenLogProbs(9, 8, 301),
    make.tokenLogProbs(6, 5, 13, 40),
    make.tokenLogProbs(6, 5, 13, 2, 3),
    make.tokenLogProbs(9, 8, 301, 40, 30),
  ],
  tokenLogProbsGrad: [
    make.tokenLogProbsGrad(1, 3, 2),
    make.tokenLogProbsGrad(6, 5, 13),
    make.tokenLogProbsGrad(9, 8, 301),
    make.tokenLogProbsGrad(9, 8, 301, false),
    make.tokenLogProbsGrad(6, 5, 13, true, 1.5),
    make.tokenLogProbsGrad(9, 8, 301, false, 3),
  ],
  dropout: [
    make.dropout(1, 1, 0.5, 0),
    make.dropout(5, 7, 0.1, 1),
    make.dropout(37, 130, 0.3, -5),
    make.dropout(4, 3, 0, 2 ** 32 - 1),
  ],
  barrier: [make.barrier([['tokens', 5], 7], [3]), make.barrier([1], []), make.barrier([4, 6], [['n', 5], 2])],
  decodeAttention: someHeads.flatMap((heads) => [
    make.decodeAttention(heads, [0], 1, 1),
    make.decodeAttention(heads, [3], 1, 5),
    make.decodeAttention(heads, [4, 0, 1, 6, 2], 6, 7),
    make.decodeAttention(heads, [4, 0, 1, 6, 2], 6, 7, { window: 3 }),
    make.decodeAttention(heads, [4, 0, 3], 4, 7, { window: 1, softcap: 0.5 }),
  ]),
  sample: samples,
} satisfies { [K in PureOp]: OpCase[] };

/** Every case with its op. */
export const allOpCases: readonly { readonly op: PureOp; readonly one: OpCase }[] = Object.entries(opCases).flatMap(
  ([op, cases]) => cases.map((one) => ({ op: op as PureOp, one })),
);
