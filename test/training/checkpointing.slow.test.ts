// Gradient checkpointing on the torch engine, in f32 and bf16.
import { describe } from 'vitest';
import { torchForTests } from '../engine/torchForTests.ts';
import { checkpointingSuite } from './checkpointing.ts';

const torch = await torchForTests('gradient checkpointing on torch');

describe.skipIf(!torch).each(['f32', 'bf16'] as const)('%s', (dtype) => {
  checkpointingSuite(() => torch!(dtype));
});
