/**
 * Losses as pure graph functions: log-probs in, loss and rewards out. docs/losses.md says when to take which.
 *
 * Sums run over the micro-batch; each weight carries the normalisation over the whole batch, so that accumulating
 * micro-batches gives the gradient of the batch's mean, however it is split.
 *
 * Notation: y is the human answer, y' the opponent's; log p(y) is short for log p(y|x), summed over the answer's tokens;
 * |y| is their number. The reward of an answer is r(y) = β·log[p_θ(y)/p_ref(y)], in losses without a reference
 * r(y) = β·log p_θ(y); the margin is t = r(y) − r(y').
 */
import type { GraphBuilder, Value } from '../graph/index.ts';

/** R response rows, P pairs, N responses of a micro-batch. */
export interface PairInputs {
  /** [R] log p_θ(token) */
  readonly logProbs: Value;
  /** [R] log p_ref(token): the opponent p_θt, or its mixture with the base model */
  readonly reference: Value;
  /** [R] 1 / tokens of the response that the row belongs to */
  readonly tokenShares: Value;
  /** [R] -> 0..N-1 */
  readonly responseOf: Value;
  /** [P] indices of responses */
  readonly real: Value;
  readonly generated: Value;
  /** [P] answers of the initial model, where the loss asks for them (`usesInitial`) */
  readonly initial?: Value;
  /** Name of the dimension N. */
  readonly responses: string;
  /** [P,1] of each pair its weight / pairs of the whole batch */
  readonly pairWeight: Value;
}

/** log p(y) / |y| in place of log p(y): an answer does not weigh more because it is longer. */
interface Normalizable {
  readonly lengthNormalization: boolean;
}

type None = Record<never, never>;

/** What each loss takes beside β. */
export interface LossParameters {
  readonly logistic: Normalizable & { readonly labelSmoothing: number };
  readonly hinge: Normalizable;
  readonly exponential: Normalizable;
  readonly linear: Normalizable;
  readonly robust: Normalizable & { readonly labelSmoothing: number };
  readonly dpop: Normalizable & { readonly dpopLambda: number };
  readonly ipo: None;
  readonly simpo: { readonly simpoGamma: number };
  readonly orpo: None;
  readonly 't-spin': { readonly historyWeight: number };
}

export type LossName = keyof LossParameters;
type Settings<K extends LossName> = { readonly name: K } & LossParameters[K];
/** A loss with its parameters. */
export type LossSettings = { [K in LossName]: Settings<K> }[LossName];

/** Of each pair the loss and both rewards, [P,1]. */
interface PairLoss {
  readonly losses: Value;
  readonly realReward: Value;
  readonly generatedReward: Value;
}

interface Loss<K extends LossName> {
  /** ℓ(0): the loss where p_θ = p_ref, so that every reward is 0. null without a reference: it may start anywhere. */
  start(beta: number): number | null;
  ofPairs(b: GraphBuilder, x: PairInputs, beta: number, settings: Settings<K>): PairLoss;
}

/** [R] -> sums per response, [N,1] */
export function sumPerResponse(b: GraphBuilder, perToken: Value, responseOf: Value, responses: string): Value {
  return b.scatterRows(b.reshape(perToken, [perToken.shape[0]!, 1]), responseOf, responses);
}

/** [R] -> means per response, [N,1] */
function meanPerResponse(b: GraphBuilder, perToken: Value, { tokenShares, responseOf, responses }: PairInputs): Value {
  return sumPerResponse(b, b.mul(perToken, tokenShares), responseOf, responses);
}

/** r(y) and r(y') [P,1]; the differences are taken per token, before the sum, which is exact at θ = θ_t. */
function ratioRewards(b: GraphBuilder, x: PairInputs, beta: number, mean: boolean) {
  const perToken = b.sub(x.logProbs, x.reference);
  const ratios = mean ? meanPerResponse(b, perToken, x) : sumPerResponse(b, perToken, x.responseOf, x.responses);
  return {
    realReward: b.affine(b.gatherRows(ratios, x.real), beta),
    generatedReward: b.affine(b.gatherRows(ratios, x.generated), beta),
  };
}

/** −log σ(t) = log(1 + e⁻ᵗ) */
const logisticOf = (b: GraphBuilder, t: Value): Value => b.softplus(b.affine(t, -1));

/** max(0, x) */
const positivePart = (b: GraphBuilder, x: Value): Value => b.mul(x, b.step(x));

/** A function ℓ of the margin alone. */
function ofMargin<K extends 'logistic' | 'hinge' | 'exponential' | 'linear' | 'robust'>(
  start: number,
  ell: (b: GraphBuilder, t: Value, settings: Settings<K>) => Value,
): Loss<K> {
  return {
    start: () => start,
    ofPairs: (b, x, beta, settings) => {
      const rewards = ratioRewards(b, x, beta, settings.lengthNormalization);
      return { losses: ell(b, b.sub(rewards.realReward, rewards.generatedReward), settings), ...rewards };
    },
  };
}

const losses: { readonly [K in LossName]: Loss<K> } = {
  /**
   * ℓ(t) = log(1 + e⁻ᵗ): SPIN's own loss (Chen et al. 2024, equation 4.7), TRL's `sigmoid`; ℓ(0) = ln 2. With label
   * smoothing ε it is (1−ε)·ℓ(t) + ε·ℓ(−t), where a share ε of the pairs is taken to be the wrong way round (cDPO,
   * Mitchell 2023; TRL's label_smoothing of `sigmoid`).
   */
  logistic: ofMargin(Math.LN2, (b, t, { labelSmoothing: epsilon }) =>
    epsilon === 0 ? logisticOf(b, t) : b.add(b.affine(logisticOf(b, t), 1 - epsilon), b.affine(b.softplus(t), epsilon)),
  ),

  /** ℓ(t) = max(0, 1−t) (SPIN, assumption 5.1; SLiC, Zhao et al. 2023; TRL's `hinge`); ℓ(0) = 1. */
  hinge: ofMargin(1, (b, t) => positivePart(b, b.affine(t, -1, 1))),

  /** ℓ(t) = e⁻ᵗ (SPIN, assumption 5.1); ℓ(0) = 1. */
  exponential: ofMargin(1, (b, t) => b.exp(b.affine(t, -1))),

  /** ℓ(t) = 1−t (SPIN, assumption 5.1, moved to start where the hinge does); ℓ(0) = 1. Unbounded below. */
  linear: ofMargin(1, (b, t) => b.affine(t, -1, 1)),

  /**
   * [(1−ε)·ℓ(t) − ε·ℓ(−t)] / (1−2ε), ℓ logistic: what is expected of it when a share ε of the pairs is the wrong way
   * round is ℓ(t) (rDPO, Chowdhury et al. 2024; TRL's `robust`); ℓ(0) = ln 2. Unbounded below for ε > 0.
   */
  robust: ofMargin(Math.LN2, (b, t, { labelSmoothing: epsilon }) =>
    b.affine(b.sub(b.affine(logisticOf(b, t), 1 - epsilon), b.affine(b.softplus(t), epsilon)), 1 / (1 - 2 * epsilon)),
  ),

  /**
   * log(1 + e^−u), u = t − λ·max(0, −r(y)): the human answer must not become less likely than under the reference
   * (DPO-positive, Pal et al. 2024, equation 3); ℓ(0) = ln 2.
   */
  dpop: {
    start: () => Math.LN2,
    ofPairs: (b, x, beta, { lengthNormalization, dpopLambda }) => {
      const rewards = ratioRewards(b, x, beta, lengthNormalization);
      const lost = positivePart(b, b.affine(rewards.realReward, -1));
      const margins = b.sub(rewards.realReward, rewards.generatedReward);
      return { losses: logisticOf(b, b.sub(margins, b.affine(lost, dpopLambda))), ...rewards };
    },
  },

  /**
   * (t/β − 1/(2β))² with means over the tokens: the margin is drawn to a finite goal, ½ (Azar et al. 2023, equation 17,
   * their τ being β; TRL's `ipo`, whose means per token the authors confirmed); ℓ(0) = 1/(4β²).
   */
  ipo: {
    start: (beta) => 1 / (4 * beta * beta),
    ofPairs: (b, x, beta) => {
      const rewards = ratioRewards(b, x, beta, true);
      const distance = b.affine(b.sub(rewards.realReward, rewards.generatedReward), 1 / beta, -1 / (2 * beta));
      return { losses: b.mul(distance, distance), ...rewards };
    },
  },

  /**
   * log(1 + e^−(t − γ)) with r(y) = β·log p_θ(y)/|y| (SimPO, Meng et al. 2024, equation 6; TRL's CPO with `simpo`, where
   * γ is simpo_gamma as here). No reference.
   */
  simpo: {
    start: () => null,
    ofPairs: (b, x, beta, { simpoGamma }) => {
      const means = meanPerResponse(b, x.logProbs, x);
      const realReward = b.affine(b.gatherRows(means, x.real), beta);
      const generatedReward = b.affine(b.gatherRows(means, x.generated), beta);
      const margins = b.sub(realReward, generatedReward);
      return { losses: logisticOf(b, b.affine(margins, 1, -simpoGamma)), realReward, generatedReward };
    },
  },

  /**
   * β·log(1 + e^−s), s = log odds(y) − log odds(y'), odds(y) = q/(1−q) with log q = log p_θ(y)/|y| (ORPO, Hong et al.
   * 2024, equations 4 and 7, their λ being β; TRL's ORPOTrainer). The paper's loss is this plus the cross-entropy of the
   * human answers: `crossEntropy` with weight 1. No reference.
   */
  orpo: {
    start: () => null,
    ofPairs: (b, x, beta) => {
      const means = meanPerResponse(b, x.logProbs, x);
      // One rounding step above 1, so that an answer that is certain has odds.
      const logOdds = b.sub(means, b.log(b.affine(b.exp(means), -1, 1 + 1e-7)));
      const ratios = b.sub(b.gatherRows(logOdds, x.real), b.gatherRows(logOdds, x.generated));
      return {
        losses: b.affine(logisticOf(b, ratios), beta),
        realReward: b.affine(b.gatherRows(means, x.real), beta),
        generatedReward: b.affine(b.gatherRows(means, x.generated), beta),
      };
    },
  },

  /**
   * ℓ(r(y) − r(y')) + w·ℓ(r(y') − r(y₀)), ℓ logistic, r(y) = β·log p_θ(y): the human answer before the opponent's, and
   * that before y₀, the initial model's, which still says something when the first difference has vanished (T-SPIN, Wang et
   * al. 2025, equation 7). Their α, the weight of the entropy that the opponent is given, is β here; their β is w. That
   * entropy in place of a divergence from a reference is why r has none: p ∝ exp(r/β). With w = 0 there is no y₀.
   */
  't-spin': {
    start: () => null,
    ofPairs: (b, x, beta, { historyWeight }) => {
      const sums = sumPerResponse(b, x.logProbs, x.responseOf, x.responses);
      const reward = (answers: Value) => b.affine(b.gatherRows(sums, answers), beta);
      const [realReward, generatedReward] = [reward(x.real), reward(x.generated)];
      const current = logisticOf(b, b.sub(realReward, generatedReward));
      if (!x.initial) return { losses: current, realReward, generatedReward };
      const historical = logisticOf(b, b.sub(generatedReward, reward(x.initial)));
      return { losses: b.add(current, b.affine(historical, historyWeight)), realReward, generatedReward };
    },
  },
};

/** All losses, SPIN's own first. */
export const lossNames = Object.keys(losses) as [LossName, ...LossName[]];

/** Whether pairs are triplets: y, y', and y₀ of the initial model. */
export const usesInitial = (loss: LossSettings): boolean => loss.name === 't-spin' && loss.historyWeight > 0;

/** Whether the loss reads log-probs of both answers under a reference. */
export const usesReference = (loss: LossSettings): boolean => startOf(loss, 1) !== null;

/** ℓ(0), see `Loss`. */
export const startOf = ({ name }: LossSettings, beta: number): number | null => losses[name].start(beta);

/**
 * Mean over the pairs of the whole batch, each times its weight: Σ w_p·ℓ_p / P.
 * @returns loss [1,1]; rewards of the real and the generated answers, [P,1] each
 */
export function pairLoss(b: GraphBuilder, x: PairInputs, beta: number, settings: LossSettings) {
  const { losses: perPair, ...rewards } = (losses[settings.name] as Loss<LossName>).ofPairs(b, x, beta, settings);
  return { loss: b.sumTo(b.mul(perPair, x.pairWeight), [1, 1]), ...rewards };
}

/**
 * The reference of α-SPIN (Alami et al. 2024): p_ref ∝ p_θt^(1−α)·p_base^α, which is where SPIN arrives when the opponent
 * is held near both by λ·[(1−α)·KL(p ‖ p_θt) + α·KL(p ‖ p_base)].
 *
 * The normaliser belongs to the distribution over whole answers and depends on the prompt alone: it is the same for both
 * answers of a pair and cancels in the margin, so it is left out here. A single reward is off by it.
 *
 * @param opponent log p_θt per token
 * @param base log p_base per token
 */
export function mixedReference(opponent: Float32Array, base: Float32Array, alpha: number): Float32Array {
  return opponent.map((logProb, i) => (1 - alpha) * logProb + alpha * base[i]!);
}

/**
 * Masked cross-entropy: −Σ w·log p_θ(token). With w = 1 / response tokens of the batch it is SFT's mean per token; a
 * token with w = 0 does not count.
 * @returns [1,1]
 */
export function crossEntropy(b: GraphBuilder, logProbs: Value, weights: Value): Value {
  return b.reshape(b.affine(b.sumTo(b.mul(logProbs, weights), [1]), -1), [1, 1]);
}
