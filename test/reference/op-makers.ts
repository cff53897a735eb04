/** Makers of op cases, one per op, by size: the fixed cases and the random ones are both made here. */
import type { Activation, HeadAttributes, OpAttributes, Shape } from '../../src/graph/index.ts';
import { type Array64, array, map } from './array.ts';
import { floatInput, floatState, givenInput, idInput, type OpCase, opCase, type Sizes } from './op-case.ts';
import { randomArray } from './random.ts';

type Binary = 'add' | 'sub' | 'mul';
const show = (sizes: Sizes) => `[${sizes.map((size) => (typeof size === 'number' ? size : `${size[0]}=${size[1]}`))}]`;
/** Rows known only at run time. */
const rows = (count: number) => ['tokens', count] as const;

export const binary = (op: Binary, x: Sizes, y: Sizes): OpCase =>
  opCase(`${op} ${show(x)} ${show(y)}`, { x: floatInput('x', x), y: floatInput('y', y) }, (b, v) => [b[op](v.x, v.y)]);

/** A value used as both operands. */
export const binaryWithItself = (op: Binary, x: Sizes): OpCase =>
  opCase(`${op} ${show(x)} with itself`, { x: floatInput('x', x) }, (b, v) => [b[op](v.x, v.x)]);

export const affine = (x: Sizes, scale: number, shift: number): OpCase =>
  opCase(`affine ${show(x)}·${scale}+${shift}`, { x: floatInput('x', x) }, (b, v) => [b.affine(v.x, scale, shift)]);

export const unary = (
  op: 'sigmoid' | 'softplus' | 'exp' | 'tanh' | 'step' | 'sumSquares',
  x: Sizes,
  scale = 1,
): OpCase => opCase(`${op} ${show(x)} scale ${scale}`, { x: floatInput('x', x, scale) }, (b, v) => [b[op](v.x)]);

/** Of positive numbers. */
export function log(x: Sizes, scale = 1): OpCase {
  const { value, ...declared } = floatInput('x', x, scale);
  const positive = { ...declared, value: map(value, (number) => Math.fround(0.1 + Math.abs(number))) };
  return opCase(`log ${show(x)} scale ${scale}`, { x: positive }, (b, v) => [b.log(v.x)]);
}

/** Where it jumps, which finite differences cannot follow. */
export const stepAt0 = opCase(
  'step at 0',
  { x: givenInput(array([-1e-30, 0, 1e-30, -0], [4]), [['tokens', 4]]) },
  (b, v) => [b.step(v.x)],
  { forwardOnly: true },
);

export const reshaping = (op: 'sumTo' | 'broadcastTo' | 'reshape', x: Sizes, shape: Shape): OpCase =>
  opCase(`${op} ${show(x)} to [${shape}]`, { x: floatInput('x', x) }, (b, v) => [b[op](v.x, shape)]);

export function matmul(m: number, k: number, n: number, transposeA: boolean, transposeB: boolean): OpCase {
  const x = transposeA ? [k, rows(m)] : [rows(m), k];
  const y = transposeB ? [n, k] : [k, n];
  return opCase(
    `matmul ${show(x)}${transposeA ? 'ᵀ' : ''} ${show(y)}${transposeB ? 'ᵀ' : ''}`,
    { x: floatInput('x', x), y: floatState('y', y) },
    (b, v) => [b.matmul(v.x, v.y, { transposeA, transposeB })],
  );
}

const weightsOf = (widths: readonly number[], k: number) =>
  Object.fromEntries(widths.map((n, i) => [`w${i}`, floatState(`w${i}`, [n, k])]));

export const linear = (t: number, k: number, widths: readonly number[]): OpCase =>
  opCase(`linear ${t}x${k} to [${widths}]`, { x: floatInput('x', [rows(t), k]), ...weightsOf(widths, k) }, (b, v) =>
    b.linear(v.x, ...widths.map((_, i) => (v as Record<string, typeof v.x>)[`w${i}`]!)),
  );

export function linearGradInput(t: number, k: number, widths: readonly number[]): OpCase {
  const gradients = widths.map((n, i) => [`dy${i}`, floatInput(`dy${i}`, [rows(t), n])] as const);
  return opCase<string>(
    `linearGradInput ${t} rows [${widths}] to ${k}`,
    { ...Object.fromEntries(gradients), ...weightsOf(widths, k) },
    (b, v) => [
      b.linearGradInput(
        widths.map((_, i) => v[`dy${i}`]!),
        widths.map((_, i) => v[`w${i}`]!),
      ),
    ],
  );
}

export const gatherRows = (vocabulary: Sizes[number], width: number, count: number): OpCase => {
  const limit = typeof vocabulary === 'number' ? vocabulary : vocabulary[1];
  return opCase(
    `gatherRows ${count} of ${show([vocabulary, width])}`,
    { table: floatState('table', [vocabulary, width]), ids: idInput('ids', rows(count), limit) },
    (b, v) => [b.gatherRows(v.table, v.ids)],
  );
};

export const scatterRows = (count: number, width: number, from: number): OpCase =>
  opCase(
    `scatterRows ${from}x${width} into ${count}`,
    { x: floatInput('x', [rows(from), width]), ids: idInput('ids', rows(from), count) },
    (b, v) => [b.scatterRows(v.x, v.ids, count)],
  );

export const split = (t: number, widths: readonly number[]): OpCase =>
  opCase(
    `split ${t} rows to [${widths}]`,
    { x: floatInput('x', [rows(t), widths.reduce((sum, width) => sum + width)]) },
    (b, v) => b.split(v.x, widths),
  );

export function join(t: number, widths: readonly number[]): OpCase {
  const xs = widths.map((width, i) => [`x${i}`, floatInput(`x${i}`, [rows(t), width])] as const);
  return opCase<string>(`join ${t} rows of [${widths}]`, Object.fromEntries(xs), (b, v) => [
    b.join(xs.map(([name]) => v[name]!)),
  ]);
}

/** With `parts` of that width in a row. */
export const rmsNorm = (t: number, width: number, eps = 1e-5, scale = 1, parts = 1): OpCase =>
  opCase(
    `rmsNorm ${t}x${width} eps ${eps} scale ${scale}, ${parts} parts`,
    { x: floatInput('x', [rows(t), width * parts], scale), w: floatState('w', [width]) },
    (b, v) => b.rmsNorm(v.x, v.w, eps).slice(0, 1),
  );

export const rmsNormWithRstd = (t: number, width: number, parts = 1): OpCase =>
  opCase(
    `rmsNorm ${t}x${width} with rstd, ${parts} parts`,
    { x: floatInput('x', [rows(t), width * parts]), w: floatState('w', [width]) },
    (b, v) => b.rmsNorm(v.x, v.w, 1e-6),
    { forwardOnly: true },
  );

export const rmsNormGrad = (t: number, width: number, forWeight = true, parts = 1): OpCase =>
  opCase(
    `rmsNormGrad ${t}x${width}${forWeight ? '' : ' of a frozen weight'}, ${parts} parts`,
    {
      dy: floatInput('dy', [rows(t), width * parts]),
      x: floatInput('x', [rows(t), width * parts]),
      w: floatState('w', [width]),
      rstd: givenInput(
        map(randomArray('rstd', [t, parts]), (r) => Math.fround(0.5 + Math.abs(r))),
        [rows(t), parts],
      ),
    },
    (b, v) => b.rmsNormGrad(v.dy, v.x, v.w, v.rstd, forWeight),
  );

/** The angles of positions up to `limit` are rounded in f32, which costs `tolerance`. */
export function rope(
  t: number,
  heads: readonly number[],
  headDim: number,
  inverse: boolean,
  limit = 16,
  tolerance = 1e-5,
  { columns = headDim, scale }: { columns?: number; scale?: number } = {},
) {
  const frequencies = Array.from({ length: columns / 2 }, (_, j) => 10_000 ** ((-2 * j) / columns));
  const xs = heads.map((count, i) => [`x${i}`, floatInput(`x${i}`, [rows(t), count * headDim])] as const);
  return opCase<string>(
    `rope ${t} tokens, ${heads} heads of ${headDim}, positions below ${limit}${inverse ? ', inverse' : ''}, ${columns} columns, scale ${scale}`,
    { ...Object.fromEntries(xs), positions: idInput('positions', rows(t), limit) },
    (b, v) =>
      b.rope(
        xs.map(([name]) => v[name]!),
        v['positions']!,
        { headDim, frequencies, inverse, ...(scale === undefined ? {} : { scale }) },
      ),
    { tolerance },
  );
}

export interface Heads {
  readonly groups: number;
  /** Query heads per key head. */
  readonly perGroup: number;
  readonly headDim: number;
}

function attentionSources(heads: Heads, segments: Array64, tokens: number) {
  const width = heads.groups * heads.headDim;
  return {
    q: floatInput('q', [rows(tokens), width * heads.perGroup]),
    k: floatInput('k', [rows(tokens), width]),
    v: floatInput('v', [rows(tokens), width]),
    segments: givenInput(segments, [['segments', segments.shape[0]!], 6], 'i32'),
  };
}
const showHeads = ({ groups, perGroup, headDim }: Heads) => `${groups}x${perGroup} heads of ${headDim}`;
const scaleOf = ({ headDim }: Heads) => 1 / Math.sqrt(headDim);

/** What attention may have besides. */
type Limits = Pick<HeadAttributes, 'window' | 'softcap'>;
const showLimits = ({ window, softcap }: Limits) =>
  `${window === undefined ? '' : `, window ${window}`}${softcap === undefined ? '' : `, cap ${softcap}`}`;

export const attention = (
  name: string,
  heads: Heads,
  { segments, tokens }: { segments: Array64; tokens: number },
  limits: Limits = {},
) =>
  opCase(
    `attention ${name}, ${showHeads(heads)}${showLimits(limits)}`,
    attentionSources(heads, segments, tokens),
    (b, v) => [b.attention(v.q, v.k, v.v, v.segments, { headDim: heads.headDim, scale: scaleOf(heads), ...limits })],
  );

export const attentionGrad = (
  name: string,
  heads: Heads,
  { segments, tokens }: { segments: Array64; tokens: number },
  limits: Limits = {},
) =>
  opCase(
    `attentionGrad ${name}, ${showHeads(heads)}${showLimits(limits)}`,
    {
      dy: floatInput('dy', [rows(tokens), heads.groups * heads.perGroup * heads.headDim]),
      ...attentionSources(heads, segments, tokens),
    },
    (b, v) =>
      b.attentionGrad(v.dy, [v.q, v.k, v.v], v.segments, {
        headDim: heads.headDim,
        scale: scaleOf(heads),
        ...limits,
      }),
    // Rounding q, k, v and dy alone moves dq and dk by 0.3 to 0.65 %; probabilities and their gradients are rounded too.
    { roundings: 2 },
  );

export const glu = (activation: Activation, isGated: boolean, t: number, width: number, scale = 1): OpCase =>
  opCase<string>(
    `glu ${activation} ${isGated ? '' : 'without up '}${t}x${width} scale ${scale}`,
    {
      gate: floatInput('gate', [rows(t), width], scale),
      ...(isGated ? { up: floatInput('up', [rows(t), width]) } : {}),
    },
    (b, v) => [b.glu(activation, v['gate']!, v['up'])],
  );

export const gluGrad = (activation: Activation, isGated: boolean, t: number, width: number): OpCase =>
  opCase<string>(
    `gluGrad ${activation} ${isGated ? '' : 'without up '}${t}x${width}`,
    {
      dy: floatInput('dy', [rows(t), width]),
      gate: floatInput('gate', [rows(t), width]),
      ...(isGated ? { up: floatInput('up', [rows(t), width]) } : {}),
    },
    (b, v) => b.gluGrad(activation, v['dy']!, v['gate']!, ...(v['up'] ? [v['up']] : [])),
  );

const headSources = (r: number, width: number, vocabulary: number, scale = 1) => ({
  h: floatInput('h', [['rows', r], width], scale),
  w: floatState('head', [vocabulary, width]),
  targets: idInput('targets', ['rows', r], vocabulary),
});

/** A large `scale` makes logits whose exponentials overflow in f32. */
export const tokenLogProbs = (
  r: number,
  width: number,
  vocabulary: number,
  scale = 1,
  softcap: number | undefined = undefined,
): OpCase =>
  opCase(
    `tokenLogProbs ${r}x${width}, vocabulary ${vocabulary}, scale ${scale}, cap ${softcap}`,
    headSources(r, width, vocabulary, scale),
    (b, v) => [b.tokenLogProbs(v.h, v.w, v.targets, { softcap })],
  );

/** Keys of any sign, even ones too. */
export const dropout = (t: number, width: number, probability: number, salt: number): OpCase =>
  opCase(
    `dropout ${t}x${width}, p ${probability}, salt ${salt}`,
    {
      x: floatInput('x', [rows(t), width]),
      keys: givenInput(
        map(randomArray('keys', [t], 2 ** 30), (key) => Math.round(key) | 0),
        [rows(t)],
        'i32',
      ),
    },
    (b, v) => [b.dropout(v.x, v.keys, { probability, salt })],
  );

export const barrier = (x: Sizes, after: Sizes): OpCase =>
  opCase(
    `barrier ${show(x)} after ${show(after)} and a number`,
    { x: floatInput('x', x), after: floatInput('after', after), number: floatInput('number', []) },
    (b, v) => [b.barrier(v.x, [v.after, v.number])],
  );

export const tokenLogProbsGrad = (
  r: number,
  width: number,
  vocabulary: number,
  forWeight = true,
  softcap: number | undefined = undefined,
): OpCase =>
  opCase(
    `tokenLogProbsGrad ${r}x${width}, vocabulary ${vocabulary}${forWeight ? '' : ', frozen head'}, cap ${softcap}`,
    { d: floatInput('d', [['rows', r]]), ...headSources(r, width, vocabulary) },
    (b, v) => b.tokenLogProbsGrad(v.d, [v.h, v.w, v.targets], { forWeight, softcap }),
  );

/** Caches of more slots than rows, with numbers where nothing may be read. */
export function decodeAttention(
  heads: Heads,
  lengths: readonly number[],
  slots: number,
  capacity: number,
  limits: Limits = {},
): OpCase {
  const { groups, perGroup, headDim } = heads;
  const batch = ['batch', lengths.length] as const;
  const cache = [['slots', slots], groups, ['capacity', capacity], headDim] as const;
  return opCase(
    `decodeAttention lengths [${lengths}], ${showHeads(heads)}, ${slots} slots of ${capacity}${showLimits(limits)}`,
    {
      q: floatInput('q', [batch, groups * perGroup * headDim]),
      k: floatInput('k', [batch, groups * headDim]),
      v: floatInput('v', [batch, groups * headDim]),
      keys: floatState('keys', cache),
      values: floatState('values', cache),
      lengths: givenInput(array(lengths), [batch], 'i32'),
    },
    (b, v) => [
      b.decodeAttention([v.q, v.k, v.v], [v.keys, v.values], v.lengths, { headDim, scale: scaleOf(heads), ...limits }),
    ],
  );
}

/** `uniforms` must keep away from the boundaries of the distribution. */
export const sample = (name: string, logits: Array64, uniforms: Array64, attributes: OpAttributes['sample']): OpCase =>
  opCase(
    `sample ${name} ${JSON.stringify(attributes)}`,
    {
      logits: givenInput(logits, [['batch', logits.shape[0]!], logits.shape[1]!]),
      uniforms: givenInput(uniforms, [['batch', uniforms.shape[0]!]]),
    },
    (b, v) => b.sample(v.logits, v.uniforms, attributes),
  );
