// What the lengths of two answers alone say about which of them a human wrote. Where they say much, a player can win the
// game by learning a length, and its loss and accuracy then look like progress.
import { mean } from './statistics.ts';

/** Lengths of a pair's answers in tokens, as trained on. */
export interface PairLengths {
  human: number;
  generated: number;
}

/** Lengths in tokens; shares between 0 and 1; all 0 for no pairs. */
export interface LengthBias {
  n: number;
  human: { mean: number; median: number };
  generated: { mean: number; median: number };
  /** Share of pairs in which the human answer is the longer one. */
  humanLonger: number;
  /** Share of pairs with answers of one length. */
  equal: number;
  /** The better of two rules that see nothing else: the longer answer is the human one, or the shorter one. */
  rule: 'longer' | 'shorter';
  /** Share of pairs in which that rule is right; a tie counts half, as in `discrimination`. */
  accuracy: number;
}

/** Accuracy of the rule from which `lengthWarning` warns: it settles three pairs of four. A convention, not a theorem. */
const TELLING = 0.75;

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Compares the lengths of human and generated answers, pair by pair. */
export function lengthBias(pairs: readonly PairLengths[]): LengthBias {
  const n = pairs.length;
  const side = (values: readonly number[]) =>
    n === 0 ? { mean: 0, median: 0 } : { mean: mean(values), median: median(values) };
  const share = (holds: (pair: PairLengths) => boolean) => (n === 0 ? 0 : pairs.filter(holds).length / n);
  const humanLonger = share(({ human, generated }) => human > generated);
  const equal = share(({ human, generated }) => human === generated);
  const longerIsHuman = n === 0 ? 0 : humanLonger + equal / 2;
  return {
    n,
    human: side(pairs.map(({ human }) => human)),
    generated: side(pairs.map(({ generated }) => generated)),
    humanLonger,
    equal,
    rule: longerIsHuman >= 0.5 ? 'longer' : 'shorter',
    accuracy: n === 0 ? 0 : Math.max(longerIsHuman, 1 - longerIsHuman),
  };
}

/**
 * A warning in plain words when length alone settles at least three pairs of four; null otherwise, and where so few
 * pairs would show that by chance: the accuracy must also exceed one half by twice its standard error under a coin.
 * @param names what the two answers of a pair are called
 */
export function lengthWarning(
  { n, human, generated, rule, accuracy }: LengthBias,
  names = { real: 'human', generated: 'generated' },
): string | null {
  if (accuracy < TELLING || accuracy - 0.5 <= 1 / Math.sqrt(n)) return null;
  return (
    `length alone tells the ${names.real} answer from the ${names.generated} one in ${(accuracy * 100).toFixed(1)} % of ${n} ` +
    `pairs: the ${rule} one is the ${names.real} one (${names.real} answers have ${human.mean.toFixed(1)} tokens, median ` +
    `${human.median}; ${names.generated} ones ${generated.mean.toFixed(1)}, median ${generated.median}). That can be won by ` +
    'learning a length; check the lengths of answers before you believe an accuracy.'
  );
}
