/** Every model_type against transformers (test/fixtures/architectures): what is laid down there as a folder is tested. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'vitest';
import type { Engine } from '../../src/engine/index.ts';
import { goldenModel } from '../training/goldenModel.ts';

export const fixtures = join(import.meta.dirname, '../fixtures/architectures');
export const architectures = readdirSync(fixtures, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

/** @param open opens an engine in f32 */
export function architecturesSuite(engine: string, open: () => Promise<Engine>): void {
  describe(`architectures on the ${engine} engine`, () => {
    for (const name of architectures) goldenModel(name, join(fixtures, name), open, true);
  });
}
