/**
 * Why a pair may be better left out of the game: a closed table of reasons, each with what it rests on, what happens
 * by default, and the test. A pair is judged as it would be trained on, and every reason that holds is recorded,
 * whether the pair is dropped for it or kept.
 */
import type { Pair, Sample } from './pairs.ts';

/** A pair with what is known of it beyond its ids. */
export interface Candidate {
  readonly pair: Pair;
  readonly sample: Pick<Sample, 'text' | 'finish'>;
  /** Whether a checker takes the whole sample for as good as the human answer. */
  readonly equivalent: boolean;
  /** Share of an answer's 8-grams of token ids that stand in it a second time. */
  readonly repeated: { readonly real: number; readonly generated: number };
}

/**
 * What a candidate is held against, lengths in tokens. `asked`: a pair of another row that takes part has the same prompt.
 * `answered`: an earlier pair of the same row that takes part has the same generated answer.
 */
interface Bounds {
  readonly maxLength: number;
  readonly maxPromptLength: number;
  readonly asked: boolean;
  readonly answered: boolean;
}

interface Rule {
  /** What happens unless the user says otherwise. */
  readonly drop: boolean;
  /** The pair, in words that follow its number: "3 identical to the other answer". */
  readonly words: string;
  /** Why it happens. */
  readonly because: string;
  readonly holds: (candidate: Candidate, bounds: Bounds) => boolean;
}

/** Share of repeated 8-grams above which an answer is a loop: more of it has been said before than has not. */
const LOOP = 0.5;

/** Prompt and the longer answer. */
function tokensOf({ promptIds, real, generated }: Pair): number {
  return promptIds.length + Math.max(real.length, generated.length);
}

function sameIds(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i]);
}

/** The first of a pair's reasons for which pairs are dropped is the one it is counted under: the order matters. */
export const reasons = {
  identical: {
    drop: true,
    words: 'identical to the other answer',
    because: 'its margin is 0 whatever is learned, so it costs time and gives no gradient',
    holds: ({ pair }) => sameIds(pair.real, pair.generated),
  },
  equivalent: {
    drop: true,
    words: 'equivalent by the checker',
    because: 'an answer as good as the human one is noise as a negative; without a checker nothing is equivalent',
    holds: ({ equivalent }) => equivalent,
  },
  empty: {
    drop: false,
    words: 'empty',
    because: 'the opponent says it, and the game pushes against whatever the opponent says; it is won by length alone',
    holds: ({ sample }) => sample.text.trim() === '',
  },
  degenerate: {
    drop: false,
    words: 'degenerate',
    because:
      'the opponent says it, and the game is to drive it out; where loops are many they outweigh the pairs with something to learn',
    holds: ({ repeated }) => repeated.generated > LOOP && repeated.real <= LOOP,
  },
  'over-long': {
    drop: true,
    words: 'over-long',
    because: 'prompt and answer are more than max_length tokens, or the prompt more than max_prompt_length',
    holds: ({ pair }, { maxLength, maxPromptLength }) =>
      tokensOf(pair) > maxLength || pair.promptIds.length > maxPromptLength,
  },
  truncated: {
    drop: false,
    words: 'truncated',
    because: 'the human answer is cut at the same length, so the pair teaches nothing about where an answer ends',
    holds: ({ sample }) => sample.finish === 'length',
  },
  'duplicate-sample': {
    drop: true,
    words: 'the same answer to the same row as an earlier sample',
    because:
      'with several samples per prompt: the pair again costs its time and says nothing new; kept, an answer counts as often as it was drawn',
    holds: (_, { answered }) => answered,
  },
  'duplicate-prompt': {
    drop: false,
    words: 'with the prompt of an earlier pair',
    because: 'several human answers to a prompt are several things to learn; dropping keeps the first that takes part',
    holds: (_, { asked }) => asked,
  },
} satisfies Record<string, Rule>;

/** Why a pair does not take part, or might not. */
export type Reason = keyof typeof reasons;

export const REASONS = Object.keys(reasons) as [Reason, ...Reason[]];
export const DROPPED_BY_DEFAULT = REASONS.filter((reason) => reasons[reason].drop);

/** Every reason that holds, in the order of the table; `excluded` is the first of them that drops the pair, or null. */
export interface Verdict {
  readonly reasons: readonly Reason[];
  readonly excluded: Reason | null;
}

/**
 * Judges pairs in their order: of several with the same prompt, or of the same row with the same sample, the first that
 * takes part is no duplicate.
 * @param maxLength of prompt and either answer, in tokens
 * @param maxPromptLength of the prompt, in tokens
 * @param contextLength that of the model: a longer pair cannot be trained on and is left out in any case
 * @param drop reasons for which a pair is left out
 */
export function judgePairs(
  candidates: readonly Candidate[],
  bounds: Pick<Bounds, 'maxLength'> &
    Partial<Pick<Bounds, 'maxPromptLength'>> & { readonly contextLength: number; readonly drop: readonly Reason[] },
): Verdict[] {
  const { contextLength, drop, maxPromptLength = contextLength } = bounds;
  const maxLength = Math.min(bounds.maxLength, contextLength);
  /** Prompt to the row that asks it first. */
  const askedBy = new Map<string, string>();
  const answers = new Set<string>();
  return candidates.map((candidate) => {
    const { id, promptIds, generated } = candidate.pair;
    const prompt = promptIds.join(' ');
    const first = askedBy.get(prompt) ?? id;
    const answer = `${id} ${generated.join(' ')}`;
    const asked = first !== id;
    const answered = answers.has(answer);
    const found = REASONS.filter((reason) =>
      reasons[reason].holds(candidate, { maxLength, maxPromptLength, asked, answered }),
    );
    const fits = tokensOf(candidate.pair) <= contextLength;
    const excluded = found.find((reason) => drop.includes(reason) || (reason === 'over-long' && !fits)) ?? null;
    if (excluded === null) {
      askedBy.set(prompt, first);
      answers.add(answer);
    }
    return { reasons: found, excluded };
  });
}

/**
 * Verdicts as numbers. `dropped` counts each pair once, under its first reason; `kept` counts every reason of every
 * pair that takes part. Reasons without pairs are left out.
 */
export function countVerdicts(verdicts: readonly Verdict[]) {
  const tally = (names: readonly Reason[]) =>
    Object.fromEntries(
      REASONS.map((reason) => [reason, names.filter((name) => name === reason).length] as const).filter(
        ([, n]) => n > 0,
      ),
    ) as Partial<Record<Reason, number>>;
  return {
    dropped: tally(verdicts.flatMap(({ excluded }) => excluded ?? [])),
    kept: tally(verdicts.flatMap((verdict) => (verdict.excluded === null ? verdict.reasons : []))),
  };
}

/** "5 identical to the other answer, 2 empty", or "none". */
export function countsInWords(counts: Partial<Record<Reason, number>>): string {
  const parts = REASONS.flatMap((reason) => (counts[reason] ? [`${counts[reason]} ${reasons[reason].words}`] : []));
  return parts.join(', ') || 'none';
}
