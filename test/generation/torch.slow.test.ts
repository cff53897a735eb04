/** Generation on the torch engine. Its products depend on how many rows share them, so answers are compared, not bits. */
import { describe } from 'vitest';
import { torchForTests } from '../engine/torchForTests.ts';
import { generationSuite } from './suite.ts';

const torch = await torchForTests('generation on the torch engine');

describe.skipIf(!torch)('with torch', () => {
  generationSuite('torch', () => torch!('f32'), 1e-4, { sameBits: false });
});
