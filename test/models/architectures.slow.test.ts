// Every architecture on the torch engine against transformers.
import { describe } from 'vitest';
import { torchForTests } from '../engine/torchForTests.ts';
import { architecturesSuite } from './goldenArchitectures.ts';

const torch = await torchForTests('the architectures on the torch engine');

describe.skipIf(!torch)('with torch', () => {
  architecturesSuite('torch', () => torch!('f32'));
});
