/**
 * The governor: whether the game goes on after an iteration, from figures of the dev split alone. Pure: readings in, a
 * decision with its reason out. Fixed numbers of iterations are wrong: users report that the first iteration helps and
 * later ones overfit quickly, and careless settings destroy a model within one (docs/governor.md).
 */
import type { Estimate } from './statistics.ts';

/** What was measured on the dev split after iteration t. Differences are θ_{t+1} minus θ_t, row by row. */
export interface Readings {
  /** Does θ_{t+1} tell human answers from fresh answers of its opponent θ_t? Ties count half. */
  readonly accuracy: Estimate;
  /** The margin by which it does, in nats (times β). */
  readonly margin: Estimate;
  /** The task metric, by name; `better` is 1 where more is better. The difference is paired. */
  readonly task: { readonly name: string; readonly better: 1 | -1; readonly difference: Estimate };
  /** Change of log p of human answers, nats per token. */
  readonly humanDrift: Estimate;
  /** KL(θ_t ‖ θ_{t+1}) and KL(θ_0 ‖ θ_{t+1}) in nats per token, estimated on answers of θ_t and θ_0. */
  readonly klToOpponent: Estimate;
  readonly klToBase: Estimate;
  /** Greedy answers of θ_t and of θ_{t+1}, where it does not say otherwise. */
  readonly before: AnswerReadings;
  readonly after: AnswerReadings;
}

export interface AnswerReadings {
  /** Mean tokens. */
  readonly length: number;
  /** Mean share of repeated 4-grams. */
  readonly repetition: number;
  /** Shares of answers that are the human answer, and that were cut at the limit. */
  readonly identical: number;
  readonly truncated: number;
  /** Share of answers at T=1 that are the human answer: as pairs they have no gradient. */
  readonly identicalSamples: number;
}

/** What happens next. */
export type Verdict =
  /** The iteration counts, and the next one is played. */
  | 'continue'
  /** The iteration counts; no further one is played. */
  | 'stop'
  /** The iteration counts; the players cannot be told apart any more: the game is over. */
  | 'end'
  /** The iteration does not count: θ_t stays. */
  | 'roll-back';

/** What a new attempt changes. */
export type Remedy = 'lower-rate' | 'higher-beta';

export interface Decision {
  readonly verdict: Verdict;
  /** Name of the rule that decided; null when none objected. */
  readonly rule: RuleName | null;
  /** One sentence with the figures. */
  readonly reason: string;
  /** For a roll-back: what a new attempt would change. */
  readonly remedy: Remedy | null;
}

interface Rule {
  readonly verdict: Exclude<Verdict, 'continue'>;
  readonly remedy: Remedy | null;
  /** Why the rule exists. */
  readonly why: string;
  /** What the readings say against going on; null when nothing. */
  readonly objection: (readings: Readings) => string | null;
}

/** One-sided 95 %. */
const Z = 1.645;
/** A reading must move by more than its noise before it counts. */
const surely = ({ mean, standardError }: Estimate, bound: number): boolean =>
  standardError !== null && mean - Z * standardError > bound;

/** Repeated 4-grams may rise by so much. */
const MOST_REPETITION = 0.2;
/** Answers cut at the limit may rise by so much. */
const MOST_TRUNCATED = 0.3;
/** Answers may not become so many times longer, or shorter. */
const MOST_LENGTH_CHANGE = 2;
/** Nats per token that human answers may lose. */
const MOST_DRIFT = 0.3;
/** Nats per token from the opponent. */
const MOST_KL = 0.5;
/** Share of samples that may be the human answer word for word before more of them means memory. */
const MOST_IDENTICAL = 0.5;
/** The test of the players must be able to see an accuracy this far above guessing. */
const SEEN_ACCURACY = 0.1;

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const plusMinus = ({ mean, standardError }: Estimate, digits = 3) =>
  `${mean.toFixed(digits)}${standardError === null ? '' : ` ± ${standardError.toFixed(digits)}`}`;

/** The rules in the order in which they are asked; the first objection decides. */
export const rules = {
  /** Loops, endless or vanishing answers. */
  degenerate: {
    verdict: 'roll-back',
    remedy: 'lower-rate',
    why: 'A model that repeats itself, does not end or hardly answers was pushed too far: steps of normalising optimizers have full size even where the gradient is noise.',
    objection: ({ before, after }) => {
      if (after.repetition > before.repetition + MOST_REPETITION) {
        return `repeated 4-grams rose from ${percent(before.repetition)} to ${percent(after.repetition)}`;
      }
      if (after.truncated > before.truncated + MOST_TRUNCATED) {
        return `answers cut at the limit rose from ${percent(before.truncated)} to ${percent(after.truncated)}`;
      }
      const change = (after.length + 1) / (before.length + 1);
      if (change > MOST_LENGTH_CHANGE || change < 1 / MOST_LENGTH_CHANGE) {
        return `answers went from ${before.length.toFixed(1)} to ${after.length.toFixed(1)} tokens`;
      }
      return null;
    },
  },
  /** The task metric fell by more than its noise. */
  worse: {
    verdict: 'roll-back',
    remedy: 'lower-rate',
    why: 'The game is played for the task: an iteration that surely costs it is not kept.',
    objection: ({ task: { name, better, difference } }) =>
      surely({ ...difference, mean: -better * difference.mean }, 0)
        ? `${name} changed by ${plusMinus(difference)} on dev, for the worse by more than its noise`
        : null,
  },
  /** Human answers became much less likely. */
  drift: {
    verdict: 'roll-back',
    remedy: 'higher-beta',
    why: 'SPIN may lower the log-probs of both answers as long as their difference grows; when the human answers lose much, the mass went to neither.',
    objection: ({ humanDrift }) =>
      surely({ ...humanDrift, mean: -humanDrift.mean }, MOST_DRIFT)
        ? `human answers lost ${plusMinus({ ...humanDrift, mean: -humanDrift.mean })} nats per token (at most ${MOST_DRIFT})`
        : null,
  },
  /** The main player went too far from its opponent. */
  distance: {
    verdict: 'roll-back',
    remedy: 'higher-beta',
    why: 'The step is meant to be a small one: λ·KL to the opponent is what the game is regularised with, and a larger β makes it smaller.',
    objection: ({ klToOpponent }) =>
      surely(klToOpponent, MOST_KL)
        ? `KL to the opponent is ${plusMinus(klToOpponent)} nats per token (at most ${MOST_KL})`
        : null,
  },
  /** The model recites. */
  memorised: {
    verdict: 'stop',
    remedy: null,
    why: 'Pairs of identical answers have no gradient; many of them mean that the model has learned the answers by heart, not that the game is won.',
    objection: ({ before, after }) =>
      after.identicalSamples >= MOST_IDENTICAL && after.identicalSamples > before.identicalSamples
        ? `${percent(after.identicalSamples)} of its samples are the human answers word for word (before: ${percent(before.identicalSamples)})`
        : null,
  },
  /** A trained main player can only guess. */
  indistinguishable: {
    verdict: 'end',
    remedy: null,
    why: 'The game is over when a freshly trained main player cannot tell human answers from those of its opponent (theorem 5.2: there the model is the data distribution, or it cannot get nearer by this loss).',
    objection: ({ accuracy }) => {
      const { standardError } = accuracy;
      const canSee = standardError !== null && Z * standardError <= SEEN_ACCURACY;
      return canSee && !surely(accuracy, 0.5)
        ? `it tells human answers from its opponent's in ${percent(accuracy.mean)} of ${accuracy.n} rows, which is guessing`
        : null;
    },
  },
} satisfies Record<string, Rule>;

export type RuleName = keyof typeof rules;

/** The first rule that objects decides; without an objection the game goes on. */
export function decide(readings: Readings): Decision {
  for (const [name, { verdict, remedy, objection }] of Object.entries(rules) as [RuleName, Rule][]) {
    const found = objection(readings);
    if (found !== null) return { verdict, rule: name, reason: found, remedy };
  }
  const { task, accuracy } = readings;
  const reason =
    `${task.name} changed by ${plusMinus(task.difference)} on dev, and it tells human answers from its opponent's in ` +
    `${percent(accuracy.mean)} of ${accuracy.n} rows`;
  return { verdict: 'continue', rule: null, reason, remedy: null };
}
