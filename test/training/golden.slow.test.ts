// The torch engine against PyTorch's fixtures.
import { describe } from 'vitest';
import { torchForTests } from '../engine/torchForTests.ts';
import { goldenSuite } from './golden.ts';

const torch = await torchForTests('the golden fixtures on the torch engine');

describe.skipIf(!torch)('with torch', () => {
  goldenSuite('torch', () => torch!('f32'));
});
