/**
 * One gradient rule per op, read as formulas: given dL/d(results), return dL/d(inputs).
 *
 * `null` instead of a rule says "no gradient passes here" on purpose: integers, random choices, effects, and the
 * gradient ops themselves (second derivatives are not offered).
 */
import type { GraphBuilder, Node, OpName, Value } from '../graph/index.ts';
import { failure } from '../util/index.ts';

/**
 * @param dy dL/d(result i), undefined where the loss does not depend on it
 * @param needs whether input i needs a gradient; a rule may skip the work for those that do not
 * @returns dL/d(input i), undefined where not needed
 */
type Rule<K extends OpName> = (
  b: GraphBuilder,
  node: Node<K>,
  dy: readonly (Value | undefined)[],
  needs: readonly boolean[],
) => (Value | undefined)[];

export const gradientRules = {
  input: null,
  state: null,
  constant: null,
  add: (b, { inputs: [x, y] }, [d]) => [b.sumTo(d!, x!.shape), b.sumTo(d!, y!.shape)],
  sub: (b, { inputs: [x, y] }, [d]) => [b.sumTo(d!, x!.shape), b.sumTo(b.affine(d!, -1), y!.shape)],
  mul: (b, { inputs: [x, y] }, [d], [nx, ny]) => [
    nx ? b.sumTo(b.mul(d!, y!), x!.shape) : undefined,
    ny ? b.sumTo(b.mul(d!, x!), y!.shape) : undefined,
  ],
  affine: (b, { attributes: { scale } }, [d]) => [b.affine(d!, scale)],
  // σ' = σ·(1 − σ)
  sigmoid: (b, { values: [s] }, [d]) => [b.mul(d!, b.mul(s!, b.affine(s!, -1, 1)))],
  // log(1 + eˣ)' = σ(x)
  softplus: (b, { inputs: [x] }, [d]) => [b.mul(d!, b.sigmoid(x!))],
  exp: (b, { values: [y] }, [d]) => [b.mul(d!, y!)],
  // 1/x = e^(−log x)
  log: (b, { values: [y] }, [d]) => [b.mul(d!, b.exp(b.affine(y!, -1)))],
  // tanh' = 1 − tanh²
  tanh: (b, { values: [y] }, [d]) => [b.mul(d!, b.affine(b.mul(y!, y!), -1, 1))],
  step: () => [undefined],
  sumTo: (b, { inputs: [x] }, [d]) => [b.broadcastTo(d!, x!.shape)],
  broadcastTo: (b, { inputs: [x] }, [d]) => [b.sumTo(d!, x!.shape)],
  reshape: (b, { inputs: [x] }, [d]) => [b.reshape(d!, x!.shape)],
  sumSquares: (b, { inputs: [x] }, [d]) => [b.mul(b.affine(x!, 2), d!)],
  // C = A·B: dA = dC·Bᵀ, dB = Aᵀ·dC, with each transposed operand read the other way round.
  matmul: (b, { inputs: [x, y], attributes: { transposeA: ta, transposeB: tb } }, [d], [nx, ny]) => [
    !nx
      ? undefined
      : ta
        ? b.matmul(y!, d!, { transposeA: tb, transposeB: true })
        : b.matmul(d!, y!, { transposeB: !tb }),
    !ny
      ? undefined
      : tb
        ? b.matmul(d!, x!, { transposeA: true, transposeB: ta })
        : b.matmul(x!, d!, { transposeA: !ta }),
  ],
  // yᵢ = x·Wᵢᵀ: dx = Σ dyᵢ·Wᵢ, dWᵢ = dyᵢᵀ·x
  linear: (b, { inputs: [x, ...weights] }, dy, [nx, ...nw]) => {
    const used = weights.flatMap((w, i) => (dy[i] ? [{ w, d: dy[i] }] : []));
    return [
      nx
        ? b.linearGradInput(
            used.map(({ d }) => d),
            used.map(({ w }) => w),
          )
        : undefined,
      ...weights.map((_, i) => (nw[i] && dy[i] ? b.matmul(dy[i], x!, { transposeA: true }) : undefined)),
    ];
  },
  linearGradInput: null,
  gatherRows: (b, { inputs: [table, ids] }, [d]) => [b.scatterRows(d!, ids!, table!.shape[0]!), undefined],
  scatterRows: (b, { inputs: [, ids] }, [d]) => [b.gatherRows(d!, ids!), undefined],
  split: (b, { values }, dy) => [b.join(values.map((y, i) => dy[i] ?? b.affine(y, 0)))],
  join: (b, { inputs }, [d]) => [
    ...b.split(
      d!,
      inputs.map(({ shape }) => shape[1] as number),
    ),
  ],
  rmsNorm: (b, { inputs: [x, w], values: [, rstd] }, [d, drstd], [, nw]) => {
    if (!d || drstd) throw failure({ what: 'rmsNorm passes a gradient through its first result only' });
    return [...b.rmsNormGrad(d, x!, w!, rstd!, nw)];
  },
  rmsNormGrad: null,
  // A rotation's transpose is the rotation back.
  rope: (b, { inputs, attributes }, dy) => {
    const given = dy.filter((d) => d !== undefined);
    const back = b.rope(given, inputs.at(-1)!, { ...attributes, inverse: !attributes.inverse });
    return [...dy.map((d) => (d ? back[given.indexOf(d)] : undefined)), undefined];
  },
  attention: (b, { inputs: [q, k, v, segments], attributes }, [d]) => [
    ...b.attentionGrad(d!, [q!, k!, v!], segments!, attributes),
    undefined,
  ],
  attentionGrad: null,
  glu: (b, { inputs, attributes: { activation } }, [d]) => [...b.gluGrad(activation, d!, ...inputs)],
  gluGrad: null,
  tokenLogProbs: (b, { inputs: [h, head, targets], attributes }, [d], [, nw]) => [
    ...b.tokenLogProbsGrad(d!, [h!, head!, targets!], { ...attributes, forWeight: nw! }),
  ],
  tokenLogProbsGrad: null,
  // The mask is its own transpose.
  dropout: (b, { inputs: [, keys], attributes }, [d]) => [b.dropout(d!, keys!, attributes), undefined],
  barrier: null,
  decodeAttention: null,
  sample: null,
  accumulate: null,
  zero: null,
  cacheWrite: null,
  cacheMove: null,
  adamw: null,
  rmsprop: null,
} satisfies { [K in OpName]: Rule<K> | null };

/** The rule of `node`'s op, or null. */
export function ruleOf(node: Node): Rule<OpName> | null {
  return gradientRules[node.op] as Rule<OpName> | null;
}
