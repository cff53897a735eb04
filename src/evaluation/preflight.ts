/**
 * What is looked at before a game begins, and what speaks against beginning it. Pure: facts in, one judged check each out.
 * A failure means that the game would be wrong or cannot end; a warning that it would probably be wasted.
 */
import type { Foreignness } from './discrimination.ts';
import { detectableDifference } from './statistics.ts';

/** What was measured, by check. */
export interface PreflightFacts {
  /** At step 0, over the drawn pairs: mean loss, and ℓ(0) of the loss in use; null for a loss without a reference. */
  readonly start: { readonly loss: number; readonly expected: number | null };
  /**
   * At step 0: of each pair |margin|, and what rounding may leave of it (in units of β·nats); the pair for which it is
   * worst. null for a loss without a reference.
   */
  readonly margins: { readonly largest: number; readonly allowed: number } | null;
  /** Rows whose answer has not exactly one end token as its last; `first` says where, and how many it has. */
  readonly ends: Misfits;
  /** Rows whose prompt's ids do not begin the ids of the whole conversation. */
  readonly prefix: Misfits;
  /** The main player as it begins, and its opponent. */
  readonly players: { readonly policy: Named; readonly opponent: Named };
  readonly foreign: Foreignness;
  /** Of the drawn answers. `kept`: pairs that take part. */
  readonly identical: { readonly answers: number; readonly identical: number; readonly kept: number };
  readonly truncated: { readonly answers: number; readonly truncated: number; readonly limit: number };
  /** null when there are too few pairs for two halves. */
  readonly signal: SignalFacts | null;
  /** Test rows. */
  readonly detectable: { readonly rows: number };
  /** The longest pair, in packed tokens, and why it cannot be trained on; null when it can. */
  readonly memory: {
    readonly tokens: number;
    readonly problem: string | null;
    /** Tokens to be computed at once, and as many of them as fit. */
    readonly atOnce: { readonly asked: number; readonly fit: number };
  };
  /** Bytes that the run directory will take at most, and that are free there. */
  readonly disk: { readonly needed: number; readonly free: number };
}

export interface Misfits {
  readonly rows: number;
  readonly wrong: number;
  readonly first: string | null;
}

export interface Named {
  readonly name: string;
  /** SHA-256 in hex. */
  readonly hash: string;
}

/** A cosine of two halves' gradients with its standard error; null where it does not exist. */
export interface Cosine {
  readonly cosine: number | null;
  readonly standardError: number | null;
}

/** The cosines of the game, of SFT on the same human answers, and of the game with every other pair turned round. */
export interface SignalFacts {
  readonly pairs: number;
  readonly game: Cosine;
  readonly sft: Cosine;
  readonly swapped: Cosine;
  /** Pairs from which on a batch's gradient is half signal; null without a positive cosine. */
  readonly noiseScale: number | null;
  readonly batchSize: number;
}

export type CheckName = keyof PreflightFacts;

/** What a check found. `figures` are the numbers in `found`. */
export interface Check {
  readonly name: CheckName;
  readonly result: 'ok' | 'warning' | 'failure';
  readonly found: string;
  readonly figures: Readonly<Record<string, number>>;
  /** What to change; null where nothing need be. */
  readonly fix: string | null;
}
type Finding = Pick<Check, 'found' | 'figures' | 'fix'>;

/** The loss at step 0 may be off by this share of ℓ(0). */
const LOSS_SHARE = 0.01;
/** Share of answers that are the human answer, above which little is left to learn from. */
const MOST_IDENTICAL = 0.5;
/** Share of answers cut at the limit, above which the game says little about how answers end. */
const MOST_TRUNCATED = 0.3;
/** A direction must be this many standard errors from none. */
const CLEAR = 2;
/** Share of prompts on which two models disagree, as far as one can know before: spin-method.md's 15 %. */
const DISCORDANCE = 0.15;
/** A test split that does not see a gain of five points shows none of the paper's; three is what to aim at. */
const [COARSE, AIM] = [0.05, 0.03];
/** Share of the free disk above which it is tight. */
const TIGHT = 0.8;

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const inWords = (bytes: number) => (bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`);
const plusMinus = ({ cosine, standardError }: Cosine) =>
  cosine === null
    ? 'no gradient'
    : `${cosine.toFixed(3)}${standardError === null ? '' : ` ± ${standardError.toFixed(3)}`}`;
const known = (values: Readonly<Record<string, number | null>>): Record<string, number> =>
  Object.fromEntries(Object.entries(values).flatMap(([key, value]) => (value === null ? [] : [[key, value]])));

/** Whether a cosine stands clear of 0. */
const isClear = ({ cosine, standardError }: Cosine) =>
  cosine !== null && standardError !== null && cosine > CLEAR * standardError;

const SAME_NUMBERS =
  'policy and opponent do not compute the same numbers here: check the machine with `selfplay doctor`, or use --engine ' +
  'onnx or --dtype f32';

interface Rule<K extends CheckName> {
  /** What a finding that asks for a change means. */
  readonly otherwise: 'warning' | 'failure';
  readonly look: (facts: PreflightFacts[K]) => Finding & { readonly otherwise?: Rule<K>['otherwise'] };
}

const rules: { readonly [K in CheckName]: Rule<K> } = {
  start: {
    otherwise: 'failure',
    look: ({ loss, expected }) => {
      if (expected === null) {
        return {
          found: `loss at step 0 is ${loss.toPrecision(6)}; this loss has no reference, so it may start anywhere`,
          figures: { loss },
          fix: Number.isFinite(loss) ? null : 'the loss is not finite: use a model whose weights are sound',
        };
      }
      const isRight = Math.abs(loss - expected) <= LOSS_SHARE * expected;
      return {
        found: `loss at step 0 is ${loss.toPrecision(6)}, ℓ(0) is ${expected.toPrecision(6)}`,
        figures: { loss, expected },
        fix: isRight ? null : SAME_NUMBERS,
      };
    },
  },
  margins: {
    otherwise: 'failure',
    look: (facts) => {
      if (facts === null) return { found: 'no reference, so margins need not be 0', figures: {}, fix: null };
      const { largest, allowed } = facts;
      return {
        found: `largest margin at step 0 is ${largest.toExponential(1)}; rounding may leave ${allowed.toExponential(1)}`,
        figures: { largest, allowed },
        fix: largest <= allowed ? null : SAME_NUMBERS,
      };
    },
  },
  ends: {
    otherwise: 'failure',
    look: ({ rows, wrong, first }) => ({
      found:
        wrong === 0
          ? `exactly one end token, at the end, in all of ${rows} answers`
          : `${wrong} of ${rows} answers have not exactly one end token as their last: ${first}`,
      figures: { rows, wrong },
      fix:
        wrong === 0
          ? null
          : 'let the chat template put one end token after an answer, and the answers themselves have none',
    }),
  },
  prefix: {
    otherwise: 'failure',
    look: ({ rows, wrong, first }) => ({
      found:
        wrong === 0
          ? `the prompt's ids begin the ids of prompt and answer in all of ${rows} rows`
          : `in ${wrong} of ${rows} rows the prompt's ids do not begin those of prompt and answer: ${first}`,
      figures: { rows, wrong },
      fix:
        wrong === 0
          ? null
          : 'correct the chat template: what add_generation_prompt writes must be what stands before an answer',
    }),
  },
  players: {
    otherwise: 'failure',
    look: ({ policy, opponent }) => ({
      found: `the main player begins as ${policy.name} (${policy.hash.slice(0, 16)}), the opponent is ${opponent.name} (${opponent.hash.slice(0, 16)})`,
      figures: {},
      fix:
        policy.hash === opponent.hash
          ? null
          : 'the main player must begin as its opponent: give the model that wrote the answers as --model',
    }),
  },
  foreign: {
    otherwise: 'warning',
    look: ({ human, own, difference, foreign }) => ({
      found:
        `human answers cost ${human.mean.toFixed(2)} nats per token, own samples ${own.mean.toFixed(2)} ` +
        `(difference ${difference.toFixed(2)})`,
      figures: { human: human.mean, own: own.mean, difference },
      fix: foreign
        ? 'the answers look foreign to the model: fine-tune it on this data first (selfplay sft), and play with the result'
        : null,
    }),
  },
  identical: {
    otherwise: 'warning',
    look: ({ answers, identical, kept }) => {
      const share = identical / answers;
      const none = kept === 0;
      return {
        found:
          `${identical} of ${answers} samples (${percent(share)}) are the human answer; ${kept} pairs ` +
          'are left to learn from',
        figures: { answers, identical, share, kept },
        fix: none
          ? 'no pair is left to learn from: take data that the model does not know by heart, or a looser --drop or --checker'
          : share >= MOST_IDENTICAL
            ? 'such pairs teach nothing: take data that the model does not know by heart, or more rows'
            : null,
        otherwise: none ? 'failure' : 'warning',
      };
    },
  },
  truncated: {
    otherwise: 'warning',
    look: ({ answers, truncated, limit }) => {
      const share = truncated / answers;
      return {
        found: `${truncated} of ${answers} samples (${percent(share)}) are cut at ${limit} tokens`,
        figures: { answers, truncated, share },
        fix:
          share >= MOST_TRUNCATED
            ? 'raise --max-new-tokens, or fine-tune the model until it ends its answers (selfplay sft)'
            : null,
      };
    },
  },
  signal: {
    otherwise: 'warning',
    look: (facts) => {
      if (facts === null) {
        return { found: 'too few pairs for two halves', figures: {}, fix: 'give more rows: a batch needs them anyway' };
      }
      const { pairs, game, sft, swapped, noiseScale, batchSize } = facts;
      const hasDirection = isClear(game) && (game.cosine ?? 0) > (swapped.cosine ?? 0);
      const scale =
        noiseScale === null || !hasDirection
          ? ''
          : `; a gradient is half signal from ${Math.ceil(noiseScale)} pairs a batch on (${batchSize})`;
      return {
        found:
          `cosine of the gradients of two halves of ${pairs} pairs: ${plusMinus(game)}; SFT on the same answers ` +
          `${plusMinus(sft)}; half of the labels swapped ${plusMinus(swapped)}${scale}`,
        figures: known({
          pairs,
          cosine: game.cosine,
          standardError: game.standardError,
          sft: sft.cosine,
          swapped: swapped.cosine,
          noiseScale,
        }),
        fix: hasDirection
          ? null
          : 'no direction to go is seen, so steps would follow noise: larger batches, a lower rate, adamw rather than rmsprop, ' +
            'a --checker that leaves out samples as good as the human answer, or a model with less SFT behind it',
      };
    },
  },
  detectable: {
    otherwise: 'warning',
    look: ({ rows }) => {
      if (rows === 0) {
        return {
          found: 'there are no test rows: the table will be empty',
          figures: { rows },
          fix: 'give --test-size or --eval-data',
        };
      }
      const difference = detectableDifference(rows, DISCORDANCE);
      const enough = Math.ceil(rows * (difference / AIM) ** 2);
      return {
        found:
          `${rows} test rows tell differences from ${(100 * difference).toFixed(1)} points on from chance, if models disagree ` +
          `on ${percent(DISCORDANCE)} of them`,
        figures: { rows, difference },
        fix:
          difference > COARSE
            ? `smaller gains will not be seen: ${100 * AIM} points take ${enough} rows (--test-size, or --eval-data)`
            : null,
      };
    },
  },
  memory: {
    otherwise: 'failure',
    look: ({ tokens, problem, atOnce: { asked, fit } }) => {
      const isLess = fit < asked;
      const figures = { tokens, asked, fit };
      if (problem !== null) {
        return {
          found: `the longest pair (${tokens} tokens) does not fit into memory: ${problem}`,
          figures,
          fix: 'give a lower --max-length or --max-new-tokens, --optimizer rmsprop, --lora-rank 16, or a smaller model',
        };
      }
      return {
        found:
          `the longest pair (${tokens} tokens) fits into memory, with gradients and moments` +
          `${isLess ? `, but only ${fit} tokens at once` : ''}`,
        figures,
        fix: isLess ? `give --micro-batch-tokens ${fit}; otherwise the run finds that out by itself` : null,
        otherwise: 'warning',
      };
    },
  },
  disk: {
    otherwise: 'failure',
    look: ({ needed, free }) => ({
      found: `the run takes up to ${inWords(needed)} of disk, ${inWords(free)} are free`,
      figures: { needed, free },
      fix:
        needed > TIGHT * free
          ? 'free some space, choose another --out, play fewer --iterations, or learn an adapter (--lora-rank)'
          : null,
      otherwise: needed > free ? 'failure' : 'warning',
    }),
  },
};

/** Judges the facts of one check. */
export function checkOf<K extends CheckName>(name: K, facts: PreflightFacts[K]): Check {
  const { otherwise: usual, look } = rules[name] as Rule<K>;
  const { otherwise = usual, ...finding } = look(facts);
  return { name, result: finding.fix === null ? 'ok' : otherwise, ...finding };
}
