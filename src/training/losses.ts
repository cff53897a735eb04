/**
 * Losses as pure graph functions: log-probs in, loss and rewards out.
 *
 * Sums run over the micro-batch; each weight carries the normalisation over the whole batch, so that accumulating
 * micro-batches gives the gradient of the batch's mean, however it is split.
 */
import type { GraphBuilder, Value } from '../graph/index.ts';

/** R response rows, P pairs, N responses of a micro-batch. */
export interface PairInputs {
  /** [R] log p_θ(token) */
  readonly logProbs: Value;
  /** [R] log p_θt(token), the opponent */
  readonly reference: Value;
  /** [R] -> 0..N-1 */
  readonly responseOf: Value;
  /** [P] indices of responses */
  readonly real: Value;
  readonly generated: Value;
  /** Name of the dimension N. */
  readonly responses: string;
  /** [1,1] 1 / pairs of the whole batch */
  readonly pairWeight: Value;
}

/** [R] -> sums per response, [N,1] */
export function sumPerResponse(b: GraphBuilder, perToken: Value, responseOf: Value, responses: string): Value {
  return b.scatterRows(b.reshape(perToken, [perToken.shape[0]!, 1]), responseOf, responses);
}

/**
 * SPIN's logistic loss (paper, equation 4.7, ℓ(t) = log(1 + e⁻ᵗ)):
 *
 *   mean over pairs of ℓ( β·log[p_θ(y|x)/p_θt(y|x)] − β·log[p_θ(y'|x)/p_θt(y'|x)] )
 *
 * with log p(y|x) summed over the response's tokens; the differences are taken per token, before the sum, which is
 * exact at θ = θt. There every margin is 0 and the loss is ln 2.
 *
 * @returns loss [1,1]; rewards β·log[p_θ/p_θt] of the real and the generated answers, [P,1] each
 */
export function spinLoss(b: GraphBuilder, x: PairInputs, beta: number) {
  const ratios = sumPerResponse(b, b.sub(x.logProbs, x.reference), x.responseOf, x.responses);
  const realReward = b.affine(b.gatherRows(ratios, x.real), beta);
  const generatedReward = b.affine(b.gatherRows(ratios, x.generated), beta);
  const margins = b.sub(realReward, generatedReward);
  const losses = b.softplus(b.affine(margins, -1));
  return { loss: b.mul(b.sumTo(losses, [1, 1]), x.pairWeight), realReward, generatedReward };
}

/**
 * Masked cross-entropy: −Σ w·log p_θ(token). With w = 1 / response tokens of the batch it is SFT's mean per token; a
 * token with w = 0 does not count.
 * @returns [1,1]
 */
export function crossEntropy(b: GraphBuilder, logProbs: Value, weights: Value): Value {
  return b.reshape(b.affine(b.sumTo(b.mul(logProbs, weights), [1]), -1), [1, 1]);
}
