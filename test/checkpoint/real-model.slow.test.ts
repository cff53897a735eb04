// The real model's GGUF file against Python transformers: every tensor, bit for bit (by hash), and a saved copy of it.

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { hashModelDirectory, openWeights, readModelConfig, saveModelDirectory } from '../../src/checkpoint/index.ts';
import { sha256Hex } from '../../src/util/index.ts';
import { tempDir } from '../util/temp.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const model = join(process.env['SELFPLAY_DATA'] ?? join(root, '../shared/data'), 'smollm2-135m-instruct');
const present = existsSync(model);
if (!present) console.warn('SKIPPED: no SmolLM2-135M-Instruct; set SELFPLAY_DATA to the folder that holds it');

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

describe.skipIf(!present)('SmolLM2-135M-Instruct', () => {
  it('equals what Python transformers loads, before and after saving', async () => {
    const reference = join(root, 'test/fixtures/formats/smollm2-135m-instruct.json');
    const expected = JSON.parse(await readFile(reference, 'utf8')) as Record<string, string>;
    const config = await readModelConfig(model);
    const source = await openWeights(model, config);
    expect(source.names().sort()).toEqual(Object.keys(expected).sort());
    for (const name of source.names()) {
      expect([name, sha256Hex(bytesOf(await source.read(name)))]).toEqual([name, expected[name]]);
    }
    const dir = join(await tempDir(), 'saved');
    const tensors = source.names().map((name) => ({
      name,
      dtype: 'F32' as const,
      shape: source.shape(name),
      data: () => source.read(name),
    }));
    await saveModelDirectory(dir, { sourceDir: model, config, tensors });
    const saved = await openWeights(dir, await readModelConfig(dir));
    for (const name of saved.names()) {
      expect([name, sha256Hex(bytesOf(await saved.read(name)))]).toEqual([name, expected[name]]);
    }
    expect(await hashModelDirectory(dir)).toMatch(/^[0-9a-f]{64}$/);
  });
});
