// What the files beside tokenizer.json say: control tokens, end ids, chat template.

import { usageError } from '../util/index.ts';
import type { Companions } from './files.ts';
import { type AddedToken, isObject, type JsonObject, parseObject, type TokenizerDefinition } from './tokenizerJson.ts';

/** Settings of a model directory. `named` maps bos_token, eos_token and so on to their text, as templates see them. */
export interface TokenizerSettings {
  readonly definition: TokenizerDefinition;
  readonly named: Readonly<Record<string, string>>;
  readonly eosId: number | undefined;
  readonly endIds: ReadonlySet<number>;
  readonly template: { readonly source: string; readonly where: string } | undefined;
}

const ROLES = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

/**
 * Reads tokenizer_config.json, config.json, generation_config.json and chat_template.jinja (each optional). Tokens that
 * tokenizer_config.json names join the control tokens, as in transformers. Usage errors: a named token that does not exist, an
 * end id outside the vocabulary, no end id at all, config.json's vocab_size too small for the tokenizer.
 */
export async function readSettings(
  companions: Companions,
  definition: TokenizerDefinition,
): Promise<TokenizerSettings> {
  const path = companions.where('tokenizer_config.json');
  const config = (await readObject(companions, 'tokenizer_config.json')) ?? {};
  const named: Record<string, string> = {};
  const roles = new Map<string, number>();
  for (const role of ROLES) {
    const entry = config[role];
    const content = isObject(entry) ? entry['content'] : entry;
    if (content === undefined || content === null) continue;
    const id = typeof content === 'string' ? definition.idOf.get(content) : undefined;
    if (typeof content !== 'string' || id === undefined) {
      throw usageError({
        what: `token ${JSON.stringify(content)} is not in tokenizer.json`,
        where: `${path}:${role}`,
        fix: 'use the tokenizer files of one and the same model',
      });
    }
    named[role] = content;
    roles.set(content, id);
  }
  const endIds = new Set<number>();
  const eosId = named['eos_token'] === undefined ? undefined : roles.get(named['eos_token']);
  if (eosId !== undefined) endIds.add(eosId);
  await addConfiguredEnds(companions, definition, endIds);
  if (endIds.size === 0) {
    throw usageError({
      what: 'the model has no end token, so answers would never stop',
      where: companions.name,
      fix: 'set eos_token in tokenizer_config.json or eos_token_id in generation_config.json',
    });
  }
  return {
    definition: withControls(definition, roles, endIds),
    named,
    eosId: eosId ?? [...endIds][0],
    endIds,
    template: await readTemplate(companions, config),
  };
}

async function readObject(companions: Companions, name: string): Promise<JsonObject | undefined> {
  const text = await companions.read(name);
  return text === undefined ? undefined : parseObject(text, companions.where(name));
}

async function addConfiguredEnds(
  companions: Companions,
  definition: TokenizerDefinition,
  endIds: Set<number>,
): Promise<void> {
  const modelConfig = await readObject(companions, 'config.json');
  checkVocabulary(modelConfig?.['vocab_size'], definition, `${companions.where('config.json')}:vocab_size`);
  for (const [name, config] of [
    ['generation_config.json', await readObject(companions, 'generation_config.json')],
    ['config.json', modelConfig],
  ] as const) {
    const entry = config?.['eos_token_id'] ?? [];
    for (const id of Array.isArray(entry) ? (entry as unknown[]) : [entry]) {
      if (typeof id !== 'number' || !definition.tokenOf.has(id)) {
        throw usageError({
          what: `end id ${JSON.stringify(id)} is not in tokenizer.json`,
          where: `${companions.where(name)}:eos_token_id`,
          fix: 'use the files of one and the same model',
        });
      }
      endIds.add(id);
    }
  }
}

function checkVocabulary(vocabSize: unknown, definition: TokenizerDefinition, where: string): void {
  if (vocabSize === undefined) return;
  const needed = highestId(definition) + 1;
  if (typeof vocabSize !== 'number' || vocabSize < needed) {
    throw usageError({
      what: `the model knows ${JSON.stringify(vocabSize)} tokens, its tokenizer needs ${needed}`,
      where,
      fix: 'use the tokenizer that belongs to this model',
    });
  }
}

/** The largest id of a tokenizer. */
export function highestId(definition: TokenizerDefinition): number {
  let highest = -1;
  for (const id of definition.tokenOf.keys()) highest = Math.max(highest, id);
  return highest;
}

/** Named tokens and end tokens become control tokens, whether or not tokenizer.json lists them among the added tokens. */
function withControls(
  definition: TokenizerDefinition,
  roles: ReadonlyMap<string, number>,
  endIds: ReadonlySet<number>,
): TokenizerDefinition {
  const controls = new Set([...roles.values(), ...endIds]);
  const listed = new Set(definition.added.map((token) => token.id));
  const missing = [...controls].filter((id) => !listed.has(id));
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const added: AddedToken[] = [
    ...definition.added.map((token) => (controls.has(token.id) ? { ...token, special: true } : token)),
    ...missing.map((id) => ({ id, content: definition.tokenOf.get(id) as string, ...plain })),
  ];
  return { ...definition, added };
}

/** chat_template.jinja wins over tokenizer_config.json, where the template is a text or a list of named ones ("default"). */
async function readTemplate(companions: Companions, config: JsonObject): Promise<TokenizerSettings['template']> {
  const source = await companions.read('chat_template.jinja');
  if (source !== undefined) return { source, where: companions.where('chat_template.jinja') };
  const entry = config['chat_template'];
  const where = `${companions.where('tokenizer_config.json')}:chat_template`;
  if (entry === undefined || entry === null) return undefined;
  if (typeof entry === 'string') return { source: entry, where };
  const chosen = Array.isArray(entry)
    ? (entry as unknown[]).find((one) => isObject(one) && one['name'] === 'default')
    : undefined;
  if (isObject(chosen) && typeof chosen['template'] === 'string') return { source: chosen['template'], where };
  throw usageError({
    what: 'chat template is neither a text nor a list with one named "default"',
    where,
    fix: 'put the template to use into chat_template.jinja in the model directory',
  });
}
