// Can the model tell human answers from generated ones, and are the human answers foreign to it at all?
// Margins are β·[(log-ratio of the human answer) − (log-ratio of the generated one)], as the SPIN loss sees them; here
// they are only counted. Nats per token are natural-log units: the mean of −log p over the tokens of one answer.
import { type Estimate, estimate } from './statistics.ts';

export interface Discrimination {
  n: number;
  /** Share of pairs with margin > 0; a margin of exactly 0 counts half, so an untrained player shows 50 %. */
  accuracy: Estimate;
  /** Nats times β. */
  margin: Estimate;
}

/** Real-against-generated accuracy (ties half) and mean margin over pairs. */
export function discrimination(margins: ArrayLike<number>): Discrimination {
  const values = Array.from(margins);
  return {
    n: values.length,
    accuracy: estimate(values.map((margin) => (margin > 0 ? 1 : margin < 0 ? 0 : 0.5))),
    margin: estimate(values),
  };
}

/** Nats per token by which human answers may cost more than own samples before `foreignness` warns. */
const FOREIGN_NATS_PER_TOKEN = 0.5;

export interface Foreignness {
  /** Nats per token, each the mean over answers. */
  human: Estimate;
  own: Estimate;
  /** human − own. */
  difference: number;
  /** Of the difference, the two sets taken as independent; null with fewer than two answers in either. */
  standardError: number | null;
  foreign: boolean;
  /** The verdict in plain words, for the terminal. */
  sentence: string;
}

/**
 * Compares what human answers cost the model with what its own samples at temperature 1 cost it (mean −log p per token
 * of each answer, both through the chat template, the same prompts).
 *
 * Own samples cost the model's entropy, H(p), so their cost is the natural zero. Human answers cost the cross-entropy:
 * difference = KL(human ‖ model) + H(human) − H(model). A model fitted to this very data shows a difference near zero
 * (below it when it has seen the rows often); an instruction-tuned model that speaks in another style or more surely
 * than people do shows a large one. SPIN would then spend its iterations on telling styles apart, which SFT learns
 * faster and without sampling.
 *
 * The threshold is a convention, not a theorem: at 0.5 nats a token an answer of 20 tokens is already 10 nats (e^10,
 * 22,000 times) less likely than one of the model's own, so almost every pair is decided by style. The difference must
 * also exceed twice its standard error, so that a handful of rows cannot raise the warning by chance.
 */
export function foreignness(humanNatsPerToken: ArrayLike<number>, ownNatsPerToken: ArrayLike<number>): Foreignness {
  const human = estimate(humanNatsPerToken);
  const own = estimate(ownNatsPerToken);
  const difference = human.mean - own.mean;
  const standardError =
    human.standardError === null || own.standardError === null
      ? null
      : Math.hypot(human.standardError, own.standardError);
  const foreign = standardError !== null && difference > FOREIGN_NATS_PER_TOKEN && difference > 2 * standardError;
  const noise = standardError === null ? '' : ` ± ${standardError.toFixed(2)}`;
  const facts =
    `Human answers cost this model ${human.mean.toFixed(2)} nats per token, its own samples ${own.mean.toFixed(2)} ` +
    `(difference ${difference.toFixed(2)}${noise})`;
  const verdict = foreign
    ? ': they look foreign to it. SPIN assumes a model already fine-tuned on this data; run `selfplay sft` first and ' +
      'start from its result.'
    : standardError === null
      ? ': too few answers to say whether they are foreign to it.'
      : ': they do not look foreign to it.';
  return { human, own, difference, standardError, foreign, sentence: facts + verdict };
}
