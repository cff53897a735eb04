// Trains a byte-level BPE and returns it as a tokenizer.json object: the special tokens first, then the 256 bytes, then merges,
// the most frequent pair first. Words are cut as in SmolLM2's tokenizer: digits one by one, then GPT-2's pattern.
// Notable choice: counting, tie-breaking (lower ids first) and the treatment of a token that two merges produce follow the
// native trainer of Hugging Face's tokenizers step by step, so the merges are the same. Its quirk kept on purpose: the count of
// the pair being merged is not reduced, and a pair found again later takes its last rank.

import { usageError } from '../util/index.ts';
import { BYTE_ALPHABET, splitWords, toByteChars } from './byteLevel.ts';
import type { AddedToken } from './tokenizerJson.ts';

/** A tokenizer.json as written here. */
export interface BpeTokenizerJson {
  readonly version: '1.0';
  readonly truncation: null;
  readonly padding: null;
  readonly added_tokens: readonly AddedToken[];
  readonly normalizer: null;
  readonly pre_tokenizer: object;
  readonly post_processor: null;
  readonly decoder: object;
  readonly model: {
    readonly type: 'BPE';
    readonly dropout: null;
    readonly unk_token: null;
    readonly continuing_subword_prefix: null;
    readonly end_of_word_suffix: null;
    readonly fuse_unk: false;
    readonly byte_fallback: false;
    readonly ignore_merges: false;
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (readonly [string, string])[];
  };
}

/** A pair of ids as one number: first * 2^26 + second, so that numeric order is the order of pairs. */
const PAIR_BASE = 2 ** 26;

interface Candidate {
  readonly pair: number;
  count: number;
  /** Indices of the words in which the pair was seen. */
  readonly words: Set<number>;
}

/**
 * Trains on `texts` (each one document; words do not cross documents) until the vocabulary holds `vocabSize` tokens or no pair
 * is left. Ids: special tokens in the order given, bytes, merges. Throws a usage error if `vocabSize` cannot hold the special
 * tokens and the 256 bytes, or a special token is empty or given twice.
 */
export function trainBpe(
  texts: Iterable<string>,
  { vocabSize, special }: { vocabSize: number; special: readonly string[] },
): BpeTokenizerJson {
  checkRequest(vocabSize, special);
  const tokens = [...special, ...BYTE_ALPHABET];
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const { words, frequencies } = countWords(texts, idOf);

  const counts = new Map<number, number>();
  let touched = new Map<number, Set<number>>();
  const note = (pair: number, change: number, word: number): void => {
    counts.set(pair, (counts.get(pair) ?? 0) + change * (frequencies[word] as number));
    if (change < 0) return;
    const seen = touched.get(pair);
    if (seen === undefined) touched.set(pair, new Set([word]));
    else seen.add(word);
  };
  words.forEach((word, index) => {
    for (let at = 0; at + 1 < word.length; at++)
      note((word[at] as number) * PAIR_BASE + (word[at + 1] as number), 1, index);
  });

  const heap: Candidate[] = [];
  const queueTouched = (): void => {
    for (const [pair, seen] of touched) {
      const count = counts.get(pair) as number;
      if (count > 0) pushHeap(heap, { pair, count, words: seen });
    }
    touched = new Map();
  };
  queueTouched();

  const merges = new Map<number, readonly [string, string]>();
  while (idOf.size < vocabSize) {
    const top = popHeap(heap);
    if (top === undefined) break;
    const current = counts.get(top.pair) as number;
    if (top.count !== current) {
      top.count = current;
      pushHeap(heap, top);
      continue;
    }
    if (top.count < 1) break;
    const first = Math.floor(top.pair / PAIR_BASE);
    const second = top.pair % PAIR_BASE;
    const parts = [tokens[first] as string, tokens[second] as string] as const;
    const token = parts[0] + parts[1];
    let id = idOf.get(token);
    if (id === undefined) {
      id = tokens.push(token) - 1;
      idOf.set(token, id);
    }
    merges.delete(top.pair);
    merges.set(top.pair, parts);
    for (const index of top.words)
      mergeInWord(words[index] as number[], first, second, id, (p, c) => note(p, c, index));
    queueTouched();
  }
  return tokenizerJson(special, idOf, [...merges.values()]);
}

function checkRequest(vocabSize: number, special: readonly string[]): void {
  const least = special.length + BYTE_ALPHABET.length;
  if (!Number.isInteger(vocabSize) || vocabSize < least || vocabSize > PAIR_BASE) {
    throw usageError({
      what: `vocabulary of ${vocabSize} tokens: must be an integer of at least ${least} (${special.length} special tokens and 256 bytes)`,
      fix: `ask for a vocabulary of ${least} or more`,
    });
  }
  const repeated = special.find((token, index) => token === '' || special.indexOf(token) !== index);
  if (repeated !== undefined)
    throw usageError({ what: `special token ${JSON.stringify(repeated)} is empty or given twice` });
}

function countWords(texts: Iterable<string>, idOf: ReadonlyMap<string, number>) {
  const counted = new Map<string, number>();
  for (const text of texts) {
    for (const word of splitWords(text)) counted.set(word, (counted.get(word) ?? 0) + 1);
  }
  const words = [...counted.keys()].map((word) => Array.from(toByteChars(word), (char) => idOf.get(char) as number));
  return { words, frequencies: [...counted.values()] };
}

/** Replaces every (first, second) in a word by `id`, left to right, and reports how the pairs around it change. */
function mergeInWord(
  word: number[],
  first: number,
  second: number,
  id: number,
  report: (pair: number, change: 1 | -1) => void,
): void {
  for (let at = 0; at + 1 < word.length; at++) {
    if (word[at] !== first || word[at + 1] !== second) continue;
    const before = word[at - 1];
    const after = word[at + 2];
    if (before !== undefined) {
      report(before * PAIR_BASE + first, -1);
      report(before * PAIR_BASE + id, 1);
    }
    word.splice(at, 2, id);
    if (after !== undefined) {
      report(second * PAIR_BASE + after, -1);
      report(id * PAIR_BASE + after, 1);
    }
  }
}

/** Higher counts first, then lower pairs. */
function precedes(a: Candidate, b: Candidate): boolean {
  return a.count !== b.count ? a.count > b.count : a.pair < b.pair;
}

function pushHeap(heap: Candidate[], item: Candidate): void {
  let at = heap.push(item) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!precedes(item, heap[parent] as Candidate)) break;
    heap[at] = heap[parent] as Candidate;
    at = parent;
  }
  heap[at] = item;
}

function popHeap(heap: Candidate[]): Candidate | undefined {
  const top = heap[0];
  const item = heap.pop();
  if (item === undefined || heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && precedes(heap[child + 1] as Candidate, heap[child] as Candidate)) child++;
    if (!precedes(heap[child] as Candidate, item)) break;
    heap[at] = heap[child] as Candidate;
    at = child;
  }
  heap[at] = item;
  return top;
}

function tokenizerJson(
  special: readonly string[],
  idOf: ReadonlyMap<string, number>,
  merges: readonly (readonly [string, string])[],
): BpeTokenizerJson {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map((content, id) => ({ id, content, ...plain })),
    normalizer: null,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel] },
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(idOf),
      merges,
    },
  };
}
