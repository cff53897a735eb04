// Scores of one answer against the human one, each between 0 and 1; checkers, which only say whether it is as good; and
// the hooks for a user's own.
// A scorer sees text only; everything that needs log-probs is in discrimination.ts. Numbers are compared as decimal
// strings, never as floats: 18 equals 18.0, and two integers beyond 2^53 are not made equal by rounding.
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Message } from '../data/index.ts';
import { failure, usageError } from '../util/index.ts';

/** What a scorer is given: `response` is the human answer, `answer` the model's, both without their end token. */
export interface ScoredRow {
  id: string;
  prompt: Message[];
  response: string;
  answer: string;
}

/** Scores one answer: 0 is wrong, 1 is right, anything between counts as a share. */
export type Scorer = (row: ScoredRow) => number | Promise<number>;

/** Says whether an answer is as good as the human one, in other words perhaps. */
export type Checker = (row: ScoredRow) => boolean | Promise<boolean>;

/** An unsigned decimal; commas only between groups of three digits, so "1,2" is two numbers. */
const UNSIGNED = /(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+/g;
/** A minus that is a sign: not between two operands ("10-5", "2024-05"), before or after a currency symbol. */
const SIGN_BEFORE = /(?:^|[^\p{L}\p{N})\]%.])(?:[-−][$€£]?|[$€£][-−])$/u;
const MARKER = '####';
const SHARE_FOR_NUMBER = 0.8;
/** The shortest modules, for error messages. */
const EXAMPLES = {
  scorer: 'export default (row) => (row.answer === row.response ? 1 : 0)',
  checker: 'export default (row) => row.answer === row.response',
};

/** The digits of a match without separators, leading and trailing zeros; "-0.0" is "0". */
function canonical(digits: string, negative: boolean): string {
  const [whole = '', fraction = ''] = digits.replaceAll(',', '').split('.');
  const left = whole.replace(/^0+(?=\d)/, '') || '0';
  const right = fraction.replace(/(?<!0)0+$/, '');
  const value = right === '' ? left : `${left}.${right}`;
  return negative && value !== '0' ? `-${value}` : value;
}

/** All numbers of a text in canonical decimal form, in order. */
function numbersOf(text: string): string[] {
  return [...text.matchAll(UNSIGNED)].map((match) =>
    // The three characters before are enough for a sign, a currency symbol and what precedes them.
    canonical(match[0], SIGN_BEFORE.test(text.slice(Math.max(0, match.index - 3), match.index))),
  );
}

/**
 * The number that a worked answer arrives at, as a canonical decimal string ("1,080.50" gives "1080.5"), or null.
 * It is the last number of the text; where the text has GSM8K's marker `####` followed by a number on the same line,
 * it is that one, whatever the model goes on to say. Exponents ("1e5") and fractions ("1/2") are not read as one number.
 */
export function lastNumber(text: string): string | null {
  const marker = text.lastIndexOf(MARKER);
  if (marker >= 0) {
    const marked = numbersOf(text.slice(marker + MARKER.length).split('\n', 1)[0] ?? '')[0];
    if (marked !== undefined) return marked;
  }
  return numbersOf(text).at(-1) ?? null;
}

/** The text without outer blanks, every inner run of white space as one space. */
function normalised(text: string): string {
  return text.trim().replace(/\s+/g, ' ');
}

/**
 * The built-in scorers.
 * - `exact-match`: 1 if the answer is the human answer, up to white space.
 * - `number`: 1 if both arrive at the same number (see `lastNumber`); 0 if either has none.
 */
export const scorers = {
  'exact-match': (row) => (normalised(row.answer) === normalised(row.response) ? 1 : 0),
  number: (row) => {
    const wanted = lastNumber(row.response);
    return wanted !== null && lastNumber(row.answer) === wanted ? 1 : 0;
  },
} satisfies Record<string, Scorer>;

/** Name of a built-in scorer. */
export type ScorerName = keyof typeof scorers;

/**
 * The built-in scorers that make sense for these human answers: `exact-match` always, `number` if at least 80 % of the
 * answers end in a number, up to punctuation and symbols ("#### 72", "… is $5.").
 */
export function pickScorers(examples: readonly { response: string }[]): ScorerName[] {
  const numeric = examples.filter(({ response }) => /\d[\s\p{P}\p{S}]*$/u.test(response)).length;
  const offered = examples.length > 0 && numeric >= SHARE_FOR_NUMBER * examples.length;
  return offered ? ['exact-match', 'number'] : ['exact-match'];
}

/**
 * Loads a user's scorer: an ES module (.js or .mjs) whose default export is a `Scorer`. The module runs with all rights
 * of this process. The scorer that comes back checks each result: anything but a number from 0 to 1 is an error that
 * names the row.
 * @param path relative to the working directory, or absolute
 * @throws SelfplayError if the module cannot be loaded or has no function as its default export
 */
export function loadScorer(path: string): Promise<Scorer> {
  const isScore = (value: unknown): value is number => typeof value === 'number' && value >= 0 && value <= 1;
  return loadJudge('scorer', path, isScore, 'a number from 0 (wrong) to 1 (right)');
}

/**
 * The checker of that name: null for `none`, a built-in scorer's full score, or a user's ES module, loaded like a
 * scorer's; anything but true or false from it is an error that names the row.
 * @param name `none`, a `ScorerName`, or the path of a module
 * @throws SelfplayError if the module cannot be loaded or has no function as its default export
 */
export async function loadChecker(name: string): Promise<Checker | null> {
  if (name === 'none') return null;
  if (Object.hasOwn(scorers, name)) {
    const score = scorers[name as ScorerName];
    return (row) => score(row) === 1;
  }
  return loadJudge('checker', name, (value) => typeof value === 'boolean', 'true (as good) or false');
}

/** The default export of a user's module, loaded and guarded. */
async function loadJudge<T>(
  kind: keyof typeof EXAMPLES,
  path: string,
  isVerdict: (value: unknown) => value is T,
  wanted: string,
): Promise<(row: ScoredRow) => Promise<T>> {
  const example = EXAMPLES[kind];
  let module: { default?: unknown };
  try {
    module = await import(pathToFileURL(resolve(path)).href);
  } catch (cause) {
    throw usageError({
      what: `the ${kind} cannot be loaded: ${reasonOf(cause)}`,
      where: path,
      fix: `give the path of an ES module such as: ${example}`,
      cause,
    });
  }
  const judge = module.default;
  if (typeof judge !== 'function') {
    const found = judge === undefined ? 'missing' : 'not a function';
    throw usageError({ what: `the ${kind}'s default export is ${found}`, where: path, fix: `write: ${example}` });
  }
  return async (row) => {
    let verdict: unknown;
    try {
      verdict = await judge(row);
    } catch (cause) {
      throw failure({ what: `the ${kind} failed on row ${row.id}: ${reasonOf(cause)}`, where: path, cause });
    }
    if (!isVerdict(verdict)) {
      throw failure({
        what: `the ${kind} gave ${String(verdict)} for row ${row.id}`,
        where: path,
        fix: `return ${wanted}`,
      });
    }
    return verdict;
  };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
