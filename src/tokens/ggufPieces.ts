// SentencePiece tokenizers in GGUF files (tokenizer.ggml.model "llama"): a text is its characters, spaces written as ▁ and one put
// in front; then the two neighbours whose joint piece has the highest score are joined, the leftmost first, until none is left.
// What is no piece in the end becomes its UTF-8 bytes, <0x41>. A tokenizer.json says the same as BPE: the merges are all ways to
// split a piece into two, in the order of the scores.
// Notable choices: that is exact only if no two pieces that merges make have the same score, so such files are refused. Pieces that
// the user of SentencePiece defined are found first, the longest at each place; those made of ▁ cannot be found before spaces
// have become ▁, so a cutter isolates them.

import type { Metadata } from '../formats/index.ts';
import { failure } from '../util/index.ts';
import { escapeRegExp } from './encoder.ts';
import { bpeModel, type GgufTokens, type KindOfTokenizer, TOKEN_TYPES, TOKENIZER_KEY } from './ggufParts.ts';
import type { JsonObject } from './tokenizerJson.ts';

const SPACE = '▁';
/** Longer pieces are refused: splitting them in all ways takes time that grows with the square. */
const MAX_PIECE = 1024;

/** Reads scores and options. Throws a failure for scores that leave the order open. */
export function pieceTokenizer(metadata: Metadata, listed: GgufTokens): KindOfTokenizer {
  const { tokens, types } = listed;
  const key = `${TOKENIZER_KEY}scores`;
  const scores = metadata.numbers(key) ?? [];
  if (scores.length !== tokens.length)
    throw metadata.bad(key, `has ${scores.length} entries for ${tokens.length} tokens`);
  const squeezes = `${TOKENIZER_KEY}remove_extra_whitespaces`;
  if (metadata.flag(squeezes) === true) throw metadata.bad(squeezes, 'is true, which is not supported');
  const normalises = `${TOKENIZER_KEY}precompiled_charsmap`;
  if (metadata.has(normalises)) throw metadata.bad(normalises, 'is a way to change texts that is not supported');
  const merges = mergesOf(listed, scores, (what) => metadata.bad(key, what));
  const prefix = metadata.flag(`${TOKENIZER_KEY}add_space_prefix`) ?? true;
  const isolated = tokens.filter((token, id) => types[id] === TOKEN_TYPES.userDefined && token.includes(SPACE));
  const unknown = tokens[types.indexOf(TOKEN_TYPES.unknown)] ?? null;
  return {
    ...pieceText(prefix, isolated),
    bos: true,
    model: bpeModel(tokens, merges, { unk_token: unknown, fuse_unk: true, byte_fallback: true }),
  };
}

/** How a text becomes pieces and back. */
export function pieceText(
  prefix: boolean,
  isolated: readonly string[],
): Pick<KindOfTokenizer, 'normalizer' | 'preTokenizer' | 'decoder'> {
  const spaces = { type: 'Replace', pattern: { String: ' ' }, content: SPACE };
  const before = prefix ? [{ type: 'Prepend', prepend: SPACE }] : [];
  const back: JsonObject[] = [
    { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
  ];
  const longestFirst = [...isolated].sort((a, b) => b.length - a.length).map(escapeRegExp);
  const cutter = { type: 'Split', pattern: { Regex: longestFirst.join('|') }, behavior: 'Isolated', invert: false };
  return {
    normalizer: { type: 'Sequence', normalizers: [...before, spaces] },
    preTokenizer: isolated.length === 0 ? null : cutter,
    decoder: { type: 'Sequence', decoders: back },
  };
}

/**
 * All ways to split a piece into two pieces, those of the highest score first; of one piece the shorter first half first.
 * @param bad makes the error for scores that leave the order open, and for pieces that are too long
 */
function mergesOf(
  { tokens, types }: GgufTokens,
  scores: readonly number[],
  bad: (what: string) => Error,
): (readonly [string, string])[] {
  const joins = (token: string, type: number): boolean =>
    type === TOKEN_TYPES.normal ||
    type === TOKEN_TYPES.unused ||
    (type === TOKEN_TYPES.userDefined && token.includes(SPACE));
  const known = new Set(tokens.filter((_, id) => types[id] !== TOKEN_TYPES.byte));
  const made = tokens.flatMap((token, id) => {
    if (!joins(token, types[id]!)) return [];
    if (token.length > MAX_PIECE) throw bad(`belongs to a piece of ${token.length} characters`);
    const splits = splitsOf(token, known);
    return splits.length === 0 ? [] : [{ id, token, score: scores[id]!, splits }];
  });
  // A cutter isolates the user's pieces, so they meet no others.
  const ofUser = (id: number) => types[id] === TOKEN_TYPES.userDefined;
  const ranked = made.sort(
    (a, b) => b.score - a.score || +ofUser(b.id) - +ofUser(a.id) || a.token.length - b.token.length || a.id - b.id,
  );
  for (const [i, { id, token, score }] of ranked.entries()) {
    if (!Number.isFinite(score)) throw bad(`is ${score} for ${JSON.stringify(token)}`);
    const next = ranked[i + 1];
    if (next?.score !== score || ofUser(id) || ofUser(next.id)) continue;
    throw bad(
      `is ${score} for both ${JSON.stringify(token)} and ${JSON.stringify(next.token)}, so the order of merges is open`,
    );
  }
  return ranked.flatMap(({ splits }) => splits);
}

function splitsOf(token: string, known: ReadonlySet<string>): (readonly [string, string])[] {
  const characters = Array.from(token);
  const splits: (readonly [string, string])[] = [];
  let first = '';
  for (const character of characters.slice(0, -1)) {
    first += character;
    const second = token.slice(first.length);
    if (known.has(first) && known.has(second)) splits.push([first, second]);
  }
  return splits;
}

/**
 * Scores for the tokens of a tokenizer.json, which has merges in their place: the earlier a token is made, the higher.
 * @throws failure when no scores say what the merges say
 */
export function scoresOf(listed: GgufTokens, merges: readonly (readonly [string, string])[], where: string): number[] {
  const { tokens, types } = listed;
  const rank = new Map<string, number>();
  for (const parts of merges) {
    const token = parts.join('');
    if (!rank.has(token)) rank.set(token, rank.size);
  }
  const scores = tokens.map((token, id) => {
    if (types[id] !== TOKEN_TYPES.normal && types[id] !== TOKEN_TYPES.userDefined) return 0;
    return -(rank.get(token) ?? rank.size + id);
  });
  const open = (what: string) =>
    failure({ what: `the merges cannot be written as scores of pieces: a score ${what}`, where });
  const made = new Set(mergesOf(listed, scores, open).map((parts) => parts.join('\n')));
  const order = merges.map((parts) => rank.get(parts.join(''))!);
  const disorder = order.findIndex((each, i) => i > 0 && each < order[i - 1]!);
  const lost = merges.find((parts) => !made.delete(parts.join('\n')));
  const extra = made.values().next().value?.split('\n');
  const stray = lost ?? extra ?? merges[disorder];
  if (stray === undefined) return scores;
  throw failure({
    what: `the merges of the tokenizer cannot be written as scores of pieces: ${JSON.stringify(stray)} is not where scores put it`,
    where,
    fix: 'export to Hugging Face format, which keeps the tokenizer as it is',
  });
}
