// The tokenizer that a GGUF file carries, as the files of a Hugging Face directory: tokenizer.json, tokenizer_config.json,
// generation_config.json. From these everything reads it as it reads any other, and saved models are complete.
// Two kinds are known: "gpt2" (byte-level BPE, see ggufCuts.ts) and "llama" (SentencePiece BPE, see ggufPieces.ts).

import { type Metadata, readMetadata } from '../formats/index.ts';
import { usageError } from '../util/index.ts';
import { CUT_NAMES, cutsNamed } from './ggufCuts.ts';
import { bpeModel, type GgufTokens, type KindOfTokenizer, TOKEN_TYPES, TOKENIZER_KEY } from './ggufParts.ts';
import { pieceTokenizer } from './ggufPieces.ts';
import type { AddedToken, JsonObject } from './tokenizerJson.ts';

/** Control tokens by their name in a tokenizer_config.json and the key of their id. */
export const ROLE_KEYS: readonly (readonly [role: string, key: string])[] = [
  ['bos_token', `${TOKENIZER_KEY}bos_token_id`],
  ['eos_token', `${TOKENIZER_KEY}eos_token_id`],
  ['unk_token', `${TOKENIZER_KEY}unknown_token_id`],
  ['sep_token', `${TOKENIZER_KEY}seperator_token_id`],
  ['pad_token', `${TOKENIZER_KEY}padding_token_id`],
  ['cls_token', `${TOKENIZER_KEY}cls_token_id`],
  ['mask_token', `${TOKENIZER_KEY}mask_token_id`],
];

/** Tokens that end an answer: eos, then the ends of a turn and of a message. */
export const END_KEYS: readonly string[] = ['eos', 'eot', 'eom'].map((name) => `${TOKENIZER_KEY}${name}_token_id`);

/**
 * Files by name with their text. Throws a usage error for a tokenizer of another kind, or cut by patterns that are not known, and
 * a failure for metadata that contradict themselves.
 */
export function tokenizerFiles(values: ReadonlyMap<string, unknown>, file: string): ReadonlyMap<string, string> {
  const metadata = readMetadata(values, file);
  const listed = readTokens(metadata);
  const kind = kindOf(metadata, listed);
  const idOf = (key: string): number | undefined => {
    const id = metadata.number(key);
    if (id === undefined || listed.tokens[id] !== undefined) return id;
    throw metadata.bad(key, `is ${id}, and there are ${listed.tokens.length} tokens`);
  };
  const roles = ROLE_KEYS.flatMap(([role, key]) => {
    const id = idOf(key);
    return id === undefined ? [] : [[role, id] as const];
  });
  const role = new Map(roles);
  const bos = role.get('bos_token');
  const addsBos = metadata.flag(`${TOKENIZER_KEY}add_bos_token`) ?? (kind.bos && bos !== undefined);
  if (addsBos && bos === undefined) throw metadata.bad(`${TOKENIZER_KEY}add_bos_token`, 'is true, and there is no BOS');
  const ends = END_KEYS.map(idOf).filter((id) => id !== undefined);
  const template = metadata.text('tokenizer.chat_template');
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(listed, metadata),
    normalizer: kind.normalizer,
    pre_tokenizer: kind.preTokenizer,
    post_processor: addsBos ? putsBefore(listed.tokens[bos!]!, bos!) : null,
    decoder: kind.decoder,
    model: kind.model,
  };
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...Object.fromEntries(roles.map(([name, id]) => [name, listed.tokens[id]])),
    add_bos_token: addsBos,
    clean_up_tokenization_spaces: false,
    ...(template === undefined ? {} : { chat_template: template }),
  };
  const generation = {
    ...(bos === undefined ? {} : { bos_token_id: bos }),
    ...(ends.length === 0 ? {} : { eos_token_id: [...new Set(ends)] }),
    ...(role.has('pad_token') ? { pad_token_id: role.get('pad_token') } : {}),
  };
  return new Map([
    ['tokenizer.json', `${JSON.stringify(json)}\n`],
    ['tokenizer_config.json', `${JSON.stringify(config, null, 2)}\n`],
    ['generation_config.json', `${JSON.stringify(generation, null, 2)}\n`],
  ]);
}

function readTokens(metadata: Metadata): GgufTokens {
  const key = `${TOKENIZER_KEY}tokens`;
  const tokens = metadata.texts(key);
  if (tokens === undefined || tokens.length === 0) {
    throw usageError({
      what: 'the GGUF file has no tokenizer',
      where: metadata.file,
      fix: 'put the tokenizer.json of the model beside it, in a directory of their own, and give that',
    });
  }
  const seen = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    if (token === '') throw metadata.bad(key, `has an empty token, ${id}`);
    const other = seen.get(token);
    if (other !== undefined) throw metadata.bad(key, `has ${JSON.stringify(token)} twice, as ${other} and ${id}`);
    seen.set(token, id);
  }
  const types = metadata.numbers(`${TOKENIZER_KEY}token_type`) ?? tokens.map(() => TOKEN_TYPES.normal);
  if (types.length !== tokens.length) {
    throw metadata.bad(`${TOKENIZER_KEY}token_type`, `has ${types.length} entries for ${tokens.length} tokens`);
  }
  return { tokens, types };
}

function kindOf(metadata: Metadata, listed: GgufTokens): KindOfTokenizer {
  const kind = metadata.text(`${TOKENIZER_KEY}model`);
  if (kind === 'gpt2') return byteLevelTokenizer(metadata, listed);
  if (kind === 'llama') return pieceTokenizer(metadata, listed);
  throw usageError({
    what: `a tokenizer of the kind ${JSON.stringify(kind)} is not supported (known: gpt2, llama)`,
    where: `${metadata.file}:${TOKENIZER_KEY}model`,
    fix: 'put the tokenizer.json of the model beside the file, in a directory of their own, and give that',
  });
}

/** Byte-level BPE: tokens are written in the alphabet of GPT-2, merges in order are "first second". */
function byteLevelTokenizer(metadata: Metadata, { tokens }: GgufTokens): KindOfTokenizer {
  const name = metadata.text(`${TOKENIZER_KEY}pre`);
  const cuts = cutsNamed(name);
  if (cuts === undefined) {
    const says = name === undefined ? 'nothing says how the tokenizer cuts text' : `cuts text by "${name}"`;
    throw usageError({
      what: `${says}: not supported (known: ${CUT_NAMES.join(', ')})`,
      where: `${metadata.file}:${TOKENIZER_KEY}pre`,
      fix: 'put the tokenizer.json of the model beside the file, in a directory of their own, and give that',
    });
  }
  const key = `${TOKENIZER_KEY}merges`;
  const known = new Set(tokens);
  const merges = (metadata.texts(key) ?? []).map((merge, rank) => {
    const space = merge.indexOf(' ', 1);
    const parts = [merge.slice(0, space), merge.slice(space + 1)] as const;
    const whole = space < 0 || ![...parts, parts.join('')].every((token) => known.has(token));
    if (whole) throw metadata.bad(key, `has ${JSON.stringify(merge)} at ${rank}, which joins no two tokens to a third`);
    return parts;
  });
  return {
    normalizer: cuts.normalizer,
    preTokenizer: cuts.preTokenizer,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    bos: cuts.bos,
    model: bpeModel(tokens, merges, { ignore_merges: cuts.ignoreMerges }),
  };
}

/** Tokens that are found in a text before anything else is cut. Those of Phi-3's pieces take the spaces after them along. */
function addedTokens({ tokens, types }: GgufTokens, metadata: Metadata): AddedToken[] {
  const phi = metadata.text('general.architecture') === 'phi3' && metadata.text(`${TOKENIZER_KEY}model`) === 'llama';
  const keepsSpaces = new Set(['<unk>', '<s>', '<|endoftext|>']);
  const found = new Set<number>([TOKEN_TYPES.unknown, TOKEN_TYPES.control, TOKEN_TYPES.userDefined]);
  return tokens.flatMap((content, id) => {
    const type = types[id]!;
    if (!found.has(type)) return [];
    return {
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: phi && !keepsSpaces.has(content),
      normalized: false,
      special: type !== TOKEN_TYPES.userDefined,
    };
  });
}

/** A post-processor that puts one token before a text. */
function putsBefore(token: string, id: number): JsonObject {
  const special = { SpecialToken: { id: token, type_id: 0 } };
  const sequence = (name: string, type: number) => ({ Sequence: { id: name, type_id: type } });
  return {
    type: 'TemplateProcessing',
    single: [special, sequence('A', 0)],
    pair: [special, sequence('A', 0), { SpecialToken: { id: token, type_id: 1 } }, sequence('B', 1)],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}
