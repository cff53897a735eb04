// Text <-> ids for one tokenizer.json, over @huggingface/tokenizers, with the same ids as the native tokenizers package.
// Notable choices: (1) the library reads \d and \s as JavaScript does; its Digits and ByteLevel cutters are replaced by
// equivalent Split patterns with Unicode properties. (2) For byte-level BPE (most models) the ids of words are remembered, and
// only new words go through the library: several times faster. So are the ids of the last stretches between control tokens,
// because a prompt is encoded alone and with its answer. Every other tokenizer goes through the library as a whole.
// Spaces that an added token takes along are taken off here, because the library takes U+FEFF for one and U+0085 for none.
// (3) A tokenizer.json can hold patterns that take exponential time; the first use runs under a deadline.

import { createContext, runInContext } from 'node:vm';
import { Tokenizer } from '@huggingface/tokenizers';
import { usageError } from '../util/index.ts';
import { GPT2_WORDS, toByteChars, tokenBytes } from './byteLevel.ts';
import { type AddedToken, isObject, type JsonObject, type TokenizerDefinition } from './tokenizerJson.ts';

/** What we use of the library's Tokenizer (its own declarations do not resolve under Node's module rules). */
interface LibraryTokenizer {
  readonly normalizer: ((text: string) => string) | null;
  readonly pre_tokenizer: (((text: string) => string[]) & { readonly tokenizers?: readonly LibraryCutter[] }) | null;
  readonly model: (((words: string[]) => string[]) & { readonly tokens_to_ids: ReadonlyMap<string, number> }) | null;
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[]): string;
}

/** One of the library's cutters in a row. */
interface LibraryCutter {
  readonly pattern?: RegExp | null;
  readonly config: { readonly type?: string; readonly behavior?: string; readonly invert?: boolean };
}

/** Text <-> ids, without chat templates. */
export interface Encoder {
  /** Ids of a text; control tokens written out in it are recognised, none is added. Lone surrogates count as U+FFFD. */
  encode(text: string): number[];
  /** Text of ids. Control tokens appear only if `control`; ids without a token (a padded vocabulary) are left out. */
  decode(ids: ArrayLike<number>, control: boolean): string;
  /** Bytes that an id adds to a text, or undefined where text is not a plain concatenation of bytes (SentencePiece). */
  bytes?(id: number): Uint8Array;
  /** Ids that the tokenizer puts before a text by itself (a BOS), for models without a chat template. */
  readonly prefix: readonly number[];
}

const DEADLINE_MS = 5_000;
/** Of words, and of stretches between control tokens, whose ids are remembered. */
const MAX_REMEMBERED_CHARACTERS = 2_000_000;
const LONE_SURROGATE = /\p{Surrogate}/gu;

/** Builds the encoder; `where` names tokenizer.json in errors. Throws a usage error for unsupported or hanging definitions. */
export function buildEncoder(definition: TokenizerDefinition, where: string): Encoder {
  const { json, added, tokenOf } = definition;
  const preTokenizer = portable(json['pre_tokenizer'] ?? null);
  const words = wordsOfByteLevelBpe(definition, preTokenizer);
  let library: LibraryTokenizer;
  try {
    library = new Tokenizer(
      {
        post_processor: null,
        decoder: null,
        normalizer: null,
        ...json,
        added_tokens: added.map((token) => ({ ...token, lstrip: false, rstrip: false })),
        pre_tokenizer: words ?? preTokenizer,
      },
      { clean_up_tokenization_spaces: false },
    );
  } catch (error) {
    throw usageError({ what: `tokenizer is not supported: ${(error as Error).message}`, where, cause: error });
  }
  const bare = withoutStripped(added);
  const encodeWhole = (text: string): number[] => library.encode(bare(text), { add_special_tokens: false }).ids;
  const encodeText = words === undefined ? encodeWhole : byteLevelEncoder(library, added);
  const encode = (text: string): number[] => (text === '' ? [] : encodeText(text.replace(LONE_SURROGATE, '\ufffd')));
  probe(encode, where);

  const controls = new Set(added.filter((token) => token.special).map((token) => token.id));
  const kept = (ids: ArrayLike<number>, control: boolean): number[] =>
    Array.from(ids).filter((id) => tokenOf.has(id) && (control || !controls.has(id)));
  const prefix = prefixOf(library);
  const decoder = json['decoder'];
  if (!isObject(decoder) || decoder['type'] !== 'ByteLevel') {
    const decode = (ids: ArrayLike<number>, control: boolean): string => {
      const present = kept(ids, control);
      return present.length === 0 ? '' : library.decode(present);
    };
    return { encode, decode, prefix };
  }
  const addedIds = new Set(added.map((token) => token.id));
  const bytes = rememberBytes(tokenOf, addedIds);
  const decode = (ids: ArrayLike<number>, control: boolean): string =>
    new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.concat(kept(ids, control).map(bytes)));
  return { encode, decode, bytes, prefix };
}

/** The same cutters, in patterns that mean in JavaScript what they mean in the native package. */
function portable(preTokenizer: unknown): JsonObject | null {
  if (!isObject(preTokenizer)) return null;
  const split = (pattern: string) => ({
    type: 'Split',
    pattern: { Regex: pattern },
    behavior: 'Isolated',
    invert: false,
  });
  switch (preTokenizer['type']) {
    case 'Sequence': {
      const parts = preTokenizer['pretokenizers'];
      return {
        ...preTokenizer,
        pretokenizers: Array.isArray(parts) ? parts.flatMap((part) => stages(portable(part))) : [],
      };
    }
    case 'Digits':
      return split(preTokenizer['individual_digits'] === true ? '\\p{N}' : '\\p{N}+');
    case 'ByteLevel':
      // With a prefix space the library must see the whole text first: left alone.
      if (preTokenizer['add_prefix_space'] !== false || preTokenizer['use_regex'] === false) return preTokenizer;
      return { type: 'Sequence', pretokenizers: [split(GPT2_WORDS), { ...preTokenizer, use_regex: false }] };
    default:
      return preTokenizer;
  }
}

function stages(preTokenizer: JsonObject | null): JsonObject[] {
  if (preTokenizer === null) return [];
  return preTokenizer['type'] === 'Sequence' ? (preTokenizer['pretokenizers'] as JsonObject[]) : [preTokenizer];
}

/** The cutters before the final byte-level stage if the remembering encoder applies (see the top), else undefined. */
function wordsOfByteLevelBpe(definition: TokenizerDefinition, preTokenizer: JsonObject | null): JsonObject | undefined {
  const { json, added } = definition;
  const chain = stages(preTokenizer);
  const last = chain.at(-1);
  const normalizes = isObject(json['normalizer']);
  const plain = added.every(
    (token) => !token.lstrip && !token.rstrip && !token.single_word && !(normalizes && token.normalized),
  );
  const model = json['model'] as JsonObject;
  const bpe = (model['type'] ?? 'BPE') === 'BPE' && model['fuse_unk'] !== true;
  const bytesLast = last?.['type'] === 'ByteLevel' && last['use_regex'] === false && last['add_prefix_space'] === false;
  if (!plain || !bpe || !bytesLast || chain.slice(0, -1).some((stage) => stage['type'] !== 'Split')) return undefined;
  return { type: 'Sequence', pretokenizers: chain.slice(0, -1) };
}

function byteLevelEncoder(library: LibraryTokenizer, added: readonly AddedToken[]): (text: string) => number[] {
  const { model, normalizer } = library;
  const cut = cutterOf(library);
  if (model === null || cut === null) throw new Error('the library built no model');
  const addedIds = new Map(added.map((token) => [token.content, token.id]));
  const addedPattern = patternOf(added);
  const wordIds = remember((word) =>
    model([toByteChars(word)]).map((token) => model.tokens_to_ids.get(token) as number),
  );
  const stretchIds = remember((stretch) => {
    const ids: number[] = [];
    for (const word of cut(normalizer === null ? stretch : normalizer(stretch))) {
      for (const id of wordIds(word)) ids.push(id);
    }
    return ids;
  });
  return (text) => {
    const result: number[] = [];
    for (const stretch of text.split(addedPattern)) {
      if (stretch === '') continue;
      const id = addedIds.get(stretch);
      if (id !== undefined) result.push(id);
      else for (const each of stretchIds(stretch)) result.push(each);
    }
    return result;
  };
}

/** Remembers values by their texts; when these are as long as may be, all are forgotten. */
function remember<V>(make: (text: string) => V): (text: string) => V {
  const known = new Map<string, V>();
  let characters = 0;
  return (text) => {
    let value = known.get(text);
    if (value === undefined) {
      value = make(text);
      characters += text.length;
      if (characters > MAX_REMEMBERED_CHARACTERS) {
        known.clear();
        characters = text.length;
      }
      known.set(text, value);
    }
    return value;
  };
}

/** The library's cutter; where all that it does is to set apart what patterns match, the same without its detours. */
function cutterOf({ pre_tokenizer: cut }: LibraryTokenizer): ((text: string) => string[]) | null {
  const patterns = (cut?.tokenizers ?? []).flatMap(({ pattern, config: { type, behavior, invert } }) =>
    type === 'Split' && pattern != null && invert !== true && behavior?.toLowerCase() !== 'removed' ? [pattern] : [],
  );
  if (cut === null || patterns.length !== cut.tokenizers?.length) return cut;
  return (text) => patterns.reduce((pieces, pattern) => pieces.flatMap((piece) => setApart(piece, pattern)), [text]);
}

/** Cuts a text before and after each match of a global pattern. */
function setApart(text: string, pattern: RegExp): string[] {
  const matches = text.match(pattern);
  if (matches === null) return [text];
  // Most patterns match everything.
  if (matches.reduce((sum, { length }) => sum + length, 0) === text.length) return matches.filter((one) => one !== '');
  const pieces: string[] = [];
  let end = 0;
  for (const { 0: match, index } of text.matchAll(pattern)) {
    pieces.push(text.slice(end, index), match);
    end = index + match.length;
  }
  return [...pieces, text.slice(end)].filter((one) => one !== '');
}

/** Splits a text at its added tokens and keeps them. Longest first: the native package takes the leftmost longest match. */
function patternOf(added: readonly AddedToken[]): RegExp {
  const contents = added.map(({ content }) => content).sort((a, b) => b.length - a.length);
  return new RegExp(`(${contents.map(escapeRegExp).join('|') || '(?!)'})`, 'u');
}

/** A text without the spaces that its added tokens take along. */
function withoutStripped(added: readonly AddedToken[]): (text: string) => string {
  const strips = new Map(added.filter(({ lstrip, rstrip }) => lstrip || rstrip).map((token) => [token.content, token]));
  if (strips.size === 0) return (text) => text;
  const pattern = patternOf(added);
  return (text) => {
    const sections = text.split(pattern);
    for (const [i, section] of sections.entries()) {
      const token = i % 2 === 1 ? strips.get(section) : undefined;
      if (token?.rstrip) sections[i + 1] = sections[i + 1]!.replace(/^\p{White_Space}+/u, '');
      if (token?.lstrip) sections[i - 1] = withoutSpacesAtEnd(sections[i - 1]!);
    }
    return sections.join('');
  };
}

/** In a loop: a pattern would begin anew at every space of a long row of them. */
function withoutSpacesAtEnd(text: string): string {
  let end = text.length;
  while (end > 0 && /\p{White_Space}/u.test(text[end - 1]!)) end--;
  return text.slice(0, end);
}

function rememberBytes(tokenOf: ReadonlyMap<number, string>, added: ReadonlySet<number>): (id: number) => Uint8Array {
  const remembered = new Map<number, Uint8Array>();
  return (id) => {
    let bytes = remembered.get(id);
    if (bytes === undefined) {
      const token = tokenOf.get(id) ?? '';
      bytes = added.has(id) ? new TextEncoder().encode(token) : tokenBytes(token);
      remembered.set(id, bytes);
    }
    return bytes;
  };
}

/** Encodes texts that make badly written patterns explode, under a deadline that can interrupt a running pattern. */
function probe(encode: (text: string) => number[], where: string): void {
  const runs = ['a', '1', ' ', '\n', '.', 'é', "'", 'aA', '1 ', 'a.'].map((text) => text.repeat(60));
  const texts = ['Hello, world! 1 + 1 = 2\n', ...runs, ...runs.map((run) => `${run}!\u0001`)];
  const context = createContext({ encodeAll: () => texts.forEach(encode) });
  try {
    runInContext('encodeAll()', context, { timeout: DEADLINE_MS });
  } catch (error) {
    const late = (error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT';
    const what = late
      ? `its patterns take more than ${DEADLINE_MS / 1000} s on short texts`
      : `cannot encode: ${(error as Error).message}`;
    throw usageError({ what: `tokenizer is not usable: ${what}`, where, cause: error });
  }
}

/** What the post-processor puts before a text: the ids with control tokens, up to where those of the bare text begin. */
function prefixOf(library: LibraryTokenizer): number[] {
  const bare = library.encode('a', { add_special_tokens: false }).ids;
  const full = library.encode('a', { add_special_tokens: true }).ids;
  const start = full.findIndex((_, at) => bare.every((id, offset) => full[at + offset] === id));
  return full.slice(0, Math.max(0, start));
}

/** A text as a pattern that matches exactly it. */
export function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}
