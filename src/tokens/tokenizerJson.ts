// Reads the tokenizer files of a model directory and checks what the tokenizer library takes on trust: duplicate ids, merges
// of absent tokens, ids out of range. Everything later may rely on these files being consistent.

import { usageError } from '../util/index.ts';
import { BAD_FILE, type Companions } from './files.ts';

/** A token found in text before anything else is cut; `special` ones are control tokens. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

export type JsonObject = Readonly<Record<string, unknown>>;

/** tokenizer.json after the checks. `idOf` and `tokenOf` hold the vocabulary and the added tokens. */
export interface TokenizerDefinition {
  readonly json: JsonObject;
  readonly added: readonly AddedToken[];
  readonly idOf: ReadonlyMap<string, number>;
  readonly tokenOf: ReadonlyMap<number, string>;
}

const MAX_ID = 4_000_000;
const MODELS = ['BPE', 'Unigram', 'WordPiece'];

/** The JSON object in a text; throws a usage error that names `where` if it is not one. */
export function parseObject(text: string, where: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw usageError({ what: `not valid JSON: ${(error as Error).message}`, where, fix: BAD_FILE, cause: error });
  }
  if (isObject(value)) return value;
  throw usageError({ what: 'not a JSON object', where, fix: BAD_FILE });
}

/** Whether a value is a JSON object (not an array, not null). */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Reads and checks tokenizer.json; throws a usage error with file and key. Returns its text too, for hashing. */
export async function readTokenizerJson(
  companions: Companions,
): Promise<{ definition: TokenizerDefinition; text: string }> {
  const text = await companions.read('tokenizer.json');
  const where = companions.where('tokenizer.json');
  if (text === undefined) {
    throw usageError({
      what: 'no tokenizer.json in the model directory',
      where,
      fix: 'name a Hugging Face model directory; convert old vocabularies (vocab.json, tokenizer.model) with transformers: AutoTokenizer.from_pretrained(dir).save_pretrained(dir)',
    });
  }
  return { definition: checkTokenizerJson(parseObject(text, where), where), text };
}

/** Checks a parsed tokenizer.json; `path` names it in errors. */
export function checkTokenizerJson(json: JsonObject, path: string): TokenizerDefinition {
  const bad = (key: string, what: string) => usageError({ what, where: `${path}:${key}`, fix: BAD_FILE });
  const model = json['model'];
  if (!isObject(model)) throw bad('model', 'no tokenizer model');
  const type = model['type'] ?? (Array.isArray(model['merges']) ? 'BPE' : undefined);
  if (!MODELS.includes(type as string)) {
    throw bad('model.type', `tokenizer model ${JSON.stringify(type)} is not supported (known: ${MODELS.join(', ')})`);
  }
  const idOf = new Map<string, number>();
  const tokenOf = new Map<number, string>();
  const enter = (token: unknown, id: unknown, key: string): void => {
    if (typeof token !== 'string') throw bad(key, 'a token is not a string');
    if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) > MAX_ID) {
      throw bad(
        key,
        `token ${JSON.stringify(token)} has id ${JSON.stringify(id)}: must be an integer from 0 to ${MAX_ID}`,
      );
    }
    const other = tokenOf.get(id as number);
    if (other !== undefined && other !== token) {
      throw bad(key, `id ${id} belongs to two tokens, ${JSON.stringify(other)} and ${JSON.stringify(token)}`);
    }
    const otherId = idOf.get(token);
    if (otherId !== undefined && otherId !== id && type !== 'Unigram') {
      throw bad(key, `token ${JSON.stringify(token)} has two ids, ${otherId} and ${id}`);
    }
    idOf.set(token, id as number);
    tokenOf.set(id as number, token);
  };
  if (type === 'Unigram') enterUnigram(model['vocab'], enter, bad);
  else if (!isObject(model['vocab'])) throw bad('model.vocab', 'no vocabulary');
  else for (const [token, id] of Object.entries(model['vocab'])) enter(token, id, 'model.vocab');
  if (type === 'BPE') checkMerges(model['merges'], idOf, bad);

  const list = json['added_tokens'] ?? [];
  if (!Array.isArray(list)) throw bad('added_tokens', 'not a list');
  const added = list.map((entry: unknown, index): AddedToken => {
    const key = `added_tokens[${index}]`;
    if (!isObject(entry)) throw bad(key, 'not an object');
    const { id, content } = entry;
    if (content === '') throw bad(key, 'an added token is empty');
    enter(content, id, key);
    const flag = (name: string): boolean => entry[name] === true;
    const special = flag('special');
    return {
      id: id as number,
      content: content as string,
      single_word: flag('single_word'),
      lstrip: flag('lstrip'),
      rstrip: flag('rstrip'),
      normalized: typeof entry['normalized'] === 'boolean' ? entry['normalized'] : !special,
      special,
    };
  });
  return { json, added, idOf, tokenOf };
}

type Bad = (key: string, what: string) => Error;

function enterUnigram(vocab: unknown, enter: (token: unknown, id: unknown, key: string) => void, bad: Bad): void {
  if (!Array.isArray(vocab)) throw bad('model.vocab', 'no vocabulary');
  vocab.forEach((entry: unknown, id) => {
    if (!Array.isArray(entry)) throw bad(`model.vocab[${id}]`, 'not a pair of token and score');
    enter(entry[0], id, `model.vocab[${id}]`);
  });
}

function checkMerges(merges: unknown, idOf: ReadonlyMap<string, number>, bad: Bad): void {
  if (!Array.isArray(merges)) throw bad('model.merges', 'no list of merges');
  merges.forEach((merge: unknown, index) => {
    const parts: unknown = typeof merge === 'string' ? merge.split(' ') : merge;
    const key = `model.merges[${index}]`;
    if (!Array.isArray(parts) || parts.length !== 2 || parts.some((part) => typeof part !== 'string')) {
      throw bad(key, 'not a pair of tokens');
    }
    const absent = [...(parts as string[]), (parts as string[]).join('')].find((token) => !idOf.has(token));
    if (absent !== undefined)
      throw bad(key, `names the token ${JSON.stringify(absent)}, which is not in the vocabulary`);
  });
}
