/** Reference kernels of the transformer parts and their gradients, written from their formulas. */
import {
  type Activation,
  dropoutColumns,
  dropoutThreshold,
  type HeadAttributes,
  type OpAttributes,
} from '../../src/graph/index.ts';
import { type Array64, addScaled, array, dot, index, logSumExp, map, row, softmax, zeros } from './array.ts';
import { sigmoid } from './basic.ts';

/** The rows of a matrix cut into parts of `width` columns, one below the other. */
const inParts = (x: Array64, width: number): Array64 => array(x.data, [x.data.length / width, width]);

/** -> x·rstd·w, rstd; each part of w's width on its own */
export function rmsNorm(whole: Array64, w: Array64, eps: number): Array64[] {
  const width = w.shape[0]!;
  const x = inParts(whole, width);
  const rstd = zeros(x.shape[0]!, 1);
  for (let t = 0; t < x.shape[0]!; t++) rstd.data[t] = 1 / Math.sqrt(dot(row(x, t), row(x, t)) / width + eps);
  const y = map(x, (value, i) => value * rstd.data[Math.floor(i / width)]! * w.data[i % width]!);
  return [array(y.data, whole.shape), array(rstd.data, [whole.shape[0]!, whole.shape[1]! / width])];
}

/** With n = x·rstd: dx = rstd·(dy·w − n·mean(dy·w·n)), dw = Σ dy·n. */
export function rmsNormGrad(dyWhole: Array64, whole: Array64, w: Array64, rstd: Array64): Array64[] {
  const width = w.shape[0]!;
  const [dy, x] = [inParts(dyWhole, width), inParts(whole, width)];
  const dx = zeros(...x.shape);
  const dw = zeros(width);
  for (let t = 0; t < x.shape[0]!; t++) {
    const r = rstd.data[t]!;
    const n = row(x, t).map((value) => value * r);
    const dn = row(dy, t).map((value, i) => value * w.data[i]!);
    const mean = dot(dn, n) / width;
    row(dx, t).set(dn.map((value, i) => r * (value - n[i]! * mean)));
    addScaled(
      dw.data,
      n.map((value, i) => value * row(dy, t)[i]!),
      1,
    );
  }
  return [array(dx.data, whole.shape), dw];
}

/** From the definition of the mask: products as whole numbers of any size, not in wrapping arithmetic. */
export function dropout(x: Array64, keys: Array64, attributes: OpAttributes['dropout']): Array64 {
  const width = x.shape[1]!;
  const numbers = dropoutColumns(attributes.salt, width);
  const threshold = BigInt(dropoutThreshold(attributes));
  return map(x, (value, i) => {
    const key = BigInt(keys.data[Math.floor(i / width)]! | 1);
    const product = BigInt.asIntN(32, key * BigInt(numbers[i % width]!));
    return product >= threshold ? value / (1 - attributes.probability) : 0;
  });
}

export function rope(x: Array64, positions: Array64, attributes: OpAttributes['rope']): Array64 {
  const { headDim, frequencies, inverse, scale = 1 } = attributes;
  const half = frequencies.length;
  const y = map(x, (value) => value);
  for (let t = 0; t < x.shape[0]!; t++) {
    for (let head = 0; head < x.shape[1]!; head += headDim) {
      frequencies.forEach((frequency, j) => {
        const angle = positions.data[t]! * frequency * (inverse ? -1 : 1);
        const a = row(x, t)[head + j]!;
        const b = row(x, t)[head + half + j]!;
        row(y, t)[head + j] = scale * (a * Math.cos(angle) - b * Math.sin(angle));
        row(y, t)[head + half + j] = scale * (b * Math.cos(angle) + a * Math.sin(angle));
      });
    }
  }
  return y;
}

/** For every token: the tokens that it sees, from the segment table; checks that each token is asked exactly once. */
export function visibleKeys(segments: Array64, tokens: number): number[][] {
  const visible: number[][] = Array.from({ length: tokens }, () => []);
  let next = 0;
  const range = (start: number, end: number) => Array.from({ length: end - start }, (_, i) => start + i);
  for (let s = 0; s < segments.shape[0]!; s++) {
    const [queryStart, queryEnd, keyStart, keyEnd, moreStart, moreEnd] = row(segments, s);
    if (queryStart !== next) throw new Error(`segments: segment ${s} starts at ${queryStart}, expected ${next}`);
    next = queryEnd!;
    const keys = [...range(keyStart!, keyEnd!), ...range(moreStart!, moreEnd!)];
    const queries = range(queryStart, queryEnd!);
    if (keys.length < queries.length) throw new Error(`segments: segment ${s} has fewer keys than queries`);
    queries.forEach((token, i) => {
      visible[index('segments: query', token, tokens)] = keys.slice(0, i + 1 + keys.length - queries.length);
    });
  }
  if (next !== tokens) throw new Error(`segments: they end at ${next}, expected ${tokens}`);
  return visible;
}

/** The slice of row t that belongs to one head. */
const headOf = (x: Array64, t: number, head: number, d: number) => row(x, t).subarray(head * d, (head + 1) * d);

const cap = (x: number, softcap: number | undefined) => (softcap === undefined ? x : softcap * Math.tanh(x / softcap));
/** Of `cap`, at x. */
const capSlope = (x: number, softcap: number | undefined) =>
  softcap === undefined ? 1 : 1 - Math.tanh(x / softcap) ** 2;
/** Of the keys that a query sees, those in its window. */
export const inWindow = <T>(keys: readonly T[], window: number | undefined): readonly T[] =>
  window === undefined ? keys : keys.slice(-window);

/** softmax(scale·q·kᵀ) of one query over the given keys. */
export function weights(
  q: Float64Array,
  keys: readonly Float64Array[],
  { scale, softcap }: Omit<HeadAttributes, 'headDim'>,
): Float64Array {
  return softmax(Float64Array.from(keys, (key) => cap(scale * dot(q, key), softcap)));
}

export function attention(q: Array64, k: Array64, v: Array64, segments: Array64, attributes: HeadAttributes) {
  const { headDim: d, window } = attributes;
  const queryHeads = q.shape[1]! / d;
  const group = queryHeads / (k.shape[1]! / d);
  const y = zeros(...q.shape);
  visibleKeys(segments, q.shape[0]!).forEach((visible, t) => {
    const keys = inWindow(visible, window);
    for (let h = 0; h < queryHeads; h++) {
      const g = Math.floor(h / group);
      const p = weights(
        headOf(q, t, h, d),
        keys.map((j) => headOf(k, j, g, d)),
        attributes,
      );
      keys.forEach((j, i) => {
        addScaled(headOf(y, t, h, d), headOf(v, j, g, d), p[i]!);
      });
    }
  });
  return y;
}

/** With p = softmax(s), s = cap(scale·q·k), y = Σ p·v: dv = p·dy, dp = dy·v, ds = p·(dp − Σ p·dp)·cap', dq = scale·ds·k. */
export function attentionGrad(
  dy: Array64,
  [q, k, v]: readonly [Array64, Array64, Array64],
  segments: Array64,
  attributes: HeadAttributes,
): Array64[] {
  const { headDim: d, scale, window, softcap } = attributes;
  const queryHeads = q.shape[1]! / d;
  const group = queryHeads / (k.shape[1]! / d);
  const [dq, dk, dv] = [zeros(...q.shape), zeros(...k.shape), zeros(...v.shape)];
  visibleKeys(segments, q.shape[0]!).forEach((visible, t) => {
    const keys = inWindow(visible, window);
    for (let h = 0; h < queryHeads; h++) {
      const g = Math.floor(h / group);
      const p = weights(
        headOf(q, t, h, d),
        keys.map((j) => headOf(k, j, g, d)),
        attributes,
      );
      const dp = Float64Array.from(keys, (j) => dot(headOf(dy, t, h, d), headOf(v, j, g, d)));
      const mean = dot(p, dp);
      keys.forEach((j, i) => {
        const slope = capSlope(scale * dot(headOf(q, t, h, d), headOf(k, j, g, d)), softcap);
        const ds = p[i]! * (dp[i]! - mean) * slope * scale;
        addScaled(headOf(dv, j, g, d), headOf(dy, t, h, d), p[i]!);
        addScaled(headOf(dq, t, h, d), headOf(k, j, g, d), ds);
        addScaled(headOf(dk, j, g, d), headOf(q, t, h, d), ds);
      });
    }
  });
  return [dq, dk, dv];
}

/** k·(x + c·x³) and its slope. */
const inner = (x: number) => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);
const innerSlope = (x: number) => Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x ** 2);

const activations: Readonly<Record<Activation, { f: (x: number) => number; slope: (x: number) => number }>> = {
  // silu'(x) = σ + x·σ·(1 − σ)
  silu: { f: (x) => x * sigmoid(x), slope: (x) => sigmoid(x) + x * sigmoid(x) * (1 - sigmoid(x)) },
  gelu_tanh: {
    f: (x) => (x / 2) * (1 + Math.tanh(inner(x))),
    slope: (x) => (1 + Math.tanh(inner(x))) / 2 + (x / 2) * (1 - Math.tanh(inner(x)) ** 2) * innerSlope(x),
  },
};

export function glu(activation: Activation, gate: Array64, up?: Array64): Array64 {
  return map(gate, (x, i) => activations[activation].f(x) * (up?.data[i] ?? 1));
}

export function gluGrad(activation: Activation, dy: Array64, gate: Array64, up?: Array64): Array64[] {
  const { f, slope } = activations[activation];
  const dgate = map(gate, (x, i) => dy.data[i]! * (up?.data[i] ?? 1) * slope(x));
  return up ? [dgate, map(gate, (x, i) => dy.data[i]! * f(x))] : [dgate];
}

const productsOf = (h: Float64Array, w: Array64): Float64Array =>
  Float64Array.from({ length: w.shape[0]! }, (_, id) => dot(h, row(w, id)));

export function tokenLogProbs(h: Array64, w: Array64, targets: Array64, softcap?: number): Array64 {
  return map(targets, (target, r) => {
    const logits = productsOf(row(h, r), w).map((x) => cap(x, softcap));
    return logits[index(`targets[${r}]`, target, logits.length)]! - logSumExp(logits);
  });
}

/** dlogits = d·(onehot − softmax)·cap', dh = dlogits·w, dw = dlogitsᵀ·h */
export function tokenLogProbsGrad(d: Array64, h: Array64, w: Array64, targets: Array64, softcap?: number): Array64[] {
  const dh = zeros(...h.shape);
  const dw = zeros(...w.shape);
  targets.data.forEach((target, r) => {
    const products = productsOf(row(h, r), w);
    softmax(products.map((x) => cap(x, softcap))).forEach((p, id) => {
      const dlogit = d.data[r]! * ((id === target ? 1 : 0) - p) * capSlope(products[id]!, softcap);
      addScaled(row(dh, r), row(w, id), dlogit);
      addScaled(row(dw, id), row(h, r), dlogit);
    });
  });
  return [dh, dw];
}
