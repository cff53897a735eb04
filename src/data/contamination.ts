// Which train prompts say what a held-out prompt says: a model that was trained on them is measured on what it has seen.
// Found by runs of words that both have, in time linear in the texts (hash sets), so that a benchmark file can be named.

import type { Example } from './readExamples.ts';
import type { Message } from './rows.ts';

/** Words in a row that two prompts must share. */
const RUN = 13;
/** A held-out prompt of fewer words than RUN is looked for as a whole; of fewer than this it must be the whole prompt. */
const SHORTEST_RUN = 8;
/** A run in more different train prompts than this is wording that a template put there. */
const TEMPLATE = 10;

/** A train row and the first held-out row (in its file's order) whose prompt it overlaps with. */
export interface Overlap {
  readonly train: Example;
  readonly heldOut: Example;
  /** The words that both prompts have in a row, as they were compared. */
  readonly words: string;
}

/** Words of a prompt, joined by single blanks, with the start of each and the end of the text. */
interface Words {
  readonly text: string;
  readonly starts: readonly number[];
  readonly count: number;
}

/**
 * What is compared: all turns but the system's, in lower case (NFKC), without quotes, brackets and sentence marks at the
 * ends of a word. Signs stay: "1+2" is not "1-2". A Chinese or Japanese character is a word.
 */
function wordsOf(prompt: readonly Message[]): Words {
  const raw = prompt.flatMap(({ role, content }) => (role === 'system' ? [] : [content])).join('\n');
  const cores = raw
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}]/gu, ' $& ')
    .split(/\s+/u)
    .flatMap((word) => {
      const core = word.replace(/^["'“”‘’«»([{¿¡]+|["'“”‘’«»)\]}.,;:!?。、，！？]+$/gu, '');
      return core === '' ? [] : [core];
    });
  const words = cores.length > 0 ? cores : [raw.trim()];
  const starts: number[] = [];
  let at = 0;
  for (const word of words) {
    starts.push(at);
    at += word.length + 1;
  }
  return { text: words.join(' '), starts, count: words.length };
}

/** All runs of n words, in order. */
function runsOf({ text, starts, count }: Words, n: number): string[] {
  return Array.from({ length: Math.max(0, count - n + 1) }, (_, i) =>
    text.slice(starts[i], i + n < count ? starts[i + n]! - 1 : text.length),
  );
}

/**
 * The train rows whose prompt overlaps with a held-out one, each once, in their order.
 *
 * Two prompts overlap when 13 words in a row stand in both. Where the held-out one has 8 to 12 words, all of them must
 * stand in the train prompt in a row; where it has fewer, the two must be the same, word by word. A run of words that
 * stands in more than 10 different train prompts is taken for a template and does not count, unless it is all of the
 * train prompt.
 */
export function promptOverlaps(train: readonly Example[], heldOut: readonly Example[]): Overlap[] {
  const whole = new Map<string, Example>();
  const runs = new Map<string, Example>();
  const sizes = new Set<number>();
  const note = (known: Map<string, Example>, key: string, example: Example) => {
    if (!known.has(key)) known.set(key, example);
  };
  for (const example of heldOut) {
    const words = wordsOf(example.prompt);
    note(whole, words.text, example);
    const size = Math.min(RUN, words.count);
    if (size < SHORTEST_RUN) continue;
    sizes.add(size);
    for (const run of runsOf(words, size)) note(runs, run, example);
  }

  const texts = train.map(({ prompt }) => wordsOf(prompt));
  /** Of each different train prompt, the runs that some held-out prompt has too. */
  const shared = new Map<string, string[]>();
  const spread = new Map<string, number>();
  for (const words of texts) {
    if (shared.has(words.text)) continue;
    const found = new Set([...sizes].flatMap((size) => runsOf(words, size).filter((run) => runs.has(run))));
    shared.set(words.text, [...found]);
    for (const run of found) spread.set(run, (spread.get(run) ?? 0) + 1);
  }

  return train.flatMap((example, i): Overlap[] => {
    const { text } = texts[i]!;
    const same = whole.get(text);
    if (same) return [{ train: example, heldOut: same, words: text }];
    const run = shared.get(text)!.find((one) => spread.get(one)! <= TEMPLATE);
    return run === undefined ? [] : [{ train: example, heldOut: runs.get(run)!, words: run }];
  });
}
