// The tokenizer and chat template of a model as metadata of a GGUF file, for llama.cpp: the reverse of ggufTokenizer.ts.
// Notable choice: llama.cpp knows a set of ways to cut and to change texts. A tokenizer that does otherwise is refused, because the
// model would be given other ids than it was trained on.

import type { GgufValue } from '../formats/index.ts';
import { canonicalJson, usageError } from '../util/index.ts';
import { openCompanions } from './companions.ts';
import { buildEncoder } from './encoder.ts';
import { nameOfCuts } from './ggufCuts.ts';
import { type GgufTokens, TOKEN_TYPES, TOKENIZER_KEY } from './ggufParts.ts';
import { pieceText, scoresOf } from './ggufPieces.ts';
import { END_KEYS, ROLE_KEYS, tokenizerFiles } from './ggufTokenizer.ts';
import { readSettings, type TokenizerSettings } from './settings.ts';
import {
  type AddedToken,
  checkTokenizerJson,
  isObject,
  type JsonObject,
  parseObject,
  readTokenizerJson,
  type TokenizerDefinition,
} from './tokenizerJson.ts';

const FIX = 'export to Hugging Face format, which keeps the tokenizer as it is';

/**
 * Metadata by key. Throws a usage error for a tokenizer that llama.cpp could not imitate, besides those of `loadTokenizer`.
 * @param rows of the embedding; ids without a token get one that is never used
 * @param architecture general.architecture of the file
 * @param addBos whether programs put a BOS before every text; default: whether the tokenizer does
 */
export async function ggufTokenizer(
  model: string,
  rows: number,
  { architecture, addBos }: { architecture: string; addBos?: boolean | undefined },
): Promise<ReadonlyMap<string, GgufValue>> {
  const companions = await openCompanions(model);
  const where = companions.where('tokenizer.json');
  const settings = await readSettings(companions, (await readTokenizerJson(companions)).definition);
  const { definition } = settings;
  const cannot = (what: string) =>
    usageError({ what: `the tokenizer cannot be written to a GGUF file: ${what}`, where, fix: FIX });
  checkAdded(definition, cannot);
  const listed = tokensByType(definition, rows);
  const metadata = new Map<string, GgufValue>();
  const put = (name: string, value: GgufValue) => metadata.set(`${TOKENIZER_KEY}${name}`, value);
  // An added token is found before anything is merged, so the merges that make it are never used.
  const found = new Set(definition.added.map(({ content }) => content).filter((content) => !content.includes('▁')));
  const merges = mergesOf(definition.json['model'] as JsonObject, cannot).filter((parts) => !found.has(parts.join('')));
  const prefix = spacePrefix(definition.json, listed);
  if (prefix === undefined) {
    const name = nameOfCuts(definition.json);
    if (name === undefined) {
      const cutter = JSON.stringify(definition.json['pre_tokenizer'] ?? null);
      throw cannot(`llama.cpp has no name that is known here for its normalizer and cutter ${cutter}`);
    }
    put('model', { type: 'string', value: 'gpt2' });
    put('pre', { type: 'string', value: name });
    put('merges', { type: 'strings', value: merges.map((parts) => parts.join(' ')) });
  } else {
    put('model', { type: 'string', value: 'llama' });
    put('pre', { type: 'string', value: 'default' });
    put('scores', { type: 'f32s', value: scoresOf(listed, merges, where) });
    put('add_space_prefix', { type: 'bool', value: prefix });
  }
  put('tokens', { type: 'strings', value: listed.tokens });
  put('token_type', { type: 'i32s', value: listed.types });
  for (const [key, id] of controlIds(settings)) metadata.set(key, { type: 'u32', value: id });
  put('add_bos_token', { type: 'bool', value: addBos ?? buildEncoder(definition, where).prefix.length > 0 });
  if (settings.template !== undefined) {
    metadata.set('tokenizer.chat_template', { type: 'string', value: settings.template.source });
  }
  checkIds(
    definition,
    new Map([...metadata, ['general.architecture', { type: 'string', value: architecture }]]),
    where,
    cannot,
  );
  return metadata;
}

/**
 * Texts of spaces, which kinds of tokenizers treat otherwise: in rows, before letters and digits, beside added tokens. Rows are of at most 31,
 * the longest piece of Gemma: longer ones its merges split otherwise than SentencePiece, and so than llama.cpp, always.
 */
function probes(added: readonly AddedToken[]): string[] {
  const spaces = [
    '',
    ' ',
    '  ',
    '   ',
    '    ',
    ' '.repeat(7),
    ' '.repeat(15),
    '\n',
    '\n\n',
    '\n \n',
    '\t',
    '\t\t',
    ' \n  ',
  ];
  const strips = added.filter(({ rstrip }) => rstrip).slice(0, 3);
  const tokens = ['', ...[...added.slice(0, 3), ...strips, ...added.slice(-3)].map(({ content }) => content)];
  return spaces.flatMap((space) =>
    tokens.flatMap((token) => [`a${space}${token}${space}the`, `${space}${token}${space}1.`]),
  );
}

/** Reads the metadata back, and throws where the ids are others. */
function checkIds(
  definition: TokenizerDefinition,
  metadata: ReadonlyMap<string, GgufValue>,
  where: string,
  cannot: (what: string) => Error,
): void {
  const values = new Map([...metadata].map(([key, { value }]) => [key, value]));
  const files = tokenizerFiles(values, where);
  const again = buildEncoder(checkTokenizerJson(parseObject(files.get('tokenizer.json')!, where), where), where);
  const own = buildEncoder(definition, where);
  const other = probes(definition.added).find((text) => own.encode(text).join() !== again.encode(text).join());
  if (other !== undefined) throw cannot(`it would cut ${JSON.stringify(other)} otherwise`);
}

/** llama.cpp finds added tokens as they stand. Only Phi-3's take spaces after them along, which it knows by itself: `checkIds`. */
function checkAdded({ added }: TokenizerDefinition, cannot: (what: string) => Error): void {
  const odd = added.find((token) => token.lstrip || token.single_word);
  if (odd !== undefined) throw cannot(`the token ${JSON.stringify(odd.content)} takes spaces beside it along`);
}

/** All tokens by id and what they are; gaps and what the embedding has beyond them are filled. */
function tokensByType({ json, added, tokenOf }: TokenizerDefinition, rows: number): GgufTokens {
  const model = json['model'] as JsonObject;
  const addedTypes = new Map(
    added.map((token) => [token.id, token.special ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined]),
  );
  const tokens = Array.from({ length: rows }, (_, id) => tokenOf.get(id) ?? `[PAD${id}]`);
  const types = tokens.map((token, id): number => {
    if (!tokenOf.has(id)) return TOKEN_TYPES.unused;
    if (model['byte_fallback'] === true && token === model['unk_token']) return TOKEN_TYPES.unknown;
    if (model['byte_fallback'] === true && /^<0x[0-9A-F]{2}>$/.test(token)) return TOKEN_TYPES.byte;
    return addedTypes.get(id) ?? TOKEN_TYPES.normal;
  });
  return { tokens, types };
}

function mergesOf(model: JsonObject, cannot: (what: string) => Error): (readonly [string, string])[] {
  if ((model['type'] ?? 'BPE') !== 'BPE') throw cannot(`its model is ${String(model['type'])}, not BPE`);
  for (const option of ['dropout', 'continuing_subword_prefix', 'end_of_word_suffix']) {
    if (model[option]) throw cannot(`its model has ${option}`);
  }
  const merges = model['merges'] as (string | [string, string])[];
  return merges.map((merge) => (typeof merge === 'string' ? (merge.split(' ') as [string, string]) : merge));
}

/** Of a SentencePiece tokenizer whether it puts a space before a text; undefined for any other. */
function spacePrefix(json: JsonObject, { tokens, types }: GgufTokens): boolean | undefined {
  if ((json['model'] as JsonObject)['byte_fallback'] !== true) return undefined;
  const isolated = tokens.filter((token, id) => types[id] === TOKEN_TYPES.userDefined && token.includes('▁'));
  const is = (value: unknown, expected: unknown) => canonicalJson(value ?? null) === canonicalJson(expected);
  const cutter = json['pre_tokenizer'] ?? null;
  const pattern = isObject(cutter) && cutter['type'] === 'Split' ? cutter['pattern'] : undefined;
  // Gemma's cuts at spaces, of which there are none any more.
  const cutsNothing = cutter === null || is(pattern, { String: ' ' });
  return [true, false].find((prefix) => {
    const { normalizer, preTokenizer } = pieceText(prefix, isolated);
    const steps = normalizer!['normalizers'] as unknown[];
    const sameText = is(json['normalizer'], normalizer) || (steps.length === 1 && is(json['normalizer'], steps[0]));
    return sameText && (cutsNothing || is(cutter, preTokenizer));
  });
}

function controlIds({ definition, named, eosId, endIds }: TokenizerSettings): Map<string, number> {
  const ids = new Map<string, number>();
  for (const [role, key] of ROLE_KEYS) {
    const token = named[role];
    if (token !== undefined) ids.set(key, definition.idOf.get(token)!);
  }
  const ends = [...new Set([...(eosId === undefined ? [] : [eosId]), ...endIds])];
  for (const [i, key] of END_KEYS.entries()) if (ends[i] !== undefined) ids.set(key, ends[i]);
  return ids;
}
