// What the two kinds of tokenizer in GGUF files have in common, read and written.

import type { JsonObject } from './tokenizerJson.ts';

/** What a token is, by the numbers of tokenizer.ggml.token_type. */
export const TOKEN_TYPES = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** Tokens by id, with what they are. */
export interface GgufTokens {
  readonly tokens: readonly string[];
  readonly types: readonly number[];
}

/** The parts of a tokenizer.json that depend on the kind of tokenizer. */
export interface KindOfTokenizer {
  readonly normalizer: JsonObject | null;
  readonly preTokenizer: JsonObject | null;
  readonly decoder: JsonObject;
  readonly model: JsonObject;
  /** Whether a BOS is put before a text where the file does not say. */
  readonly bos: boolean;
}

export const TOKENIZER_KEY = 'tokenizer.ggml.';

/** The model part of a tokenizer.json. */
export function bpeModel(
  tokens: readonly string[],
  merges: readonly (readonly [string, string])[],
  more: JsonObject,
): JsonObject {
  return {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    ...more,
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges,
  };
}
