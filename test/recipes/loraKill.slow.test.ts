// kill -9 in a game and a fine-tuning with an adapter and dropout: the same bytes as undisturbed.

import { afterAll, beforeAll, describe, it } from 'vitest';
import { killed, playUndisturbed, removeAll } from './killing.ts';

beforeAll(() => playUndisturbed({ lora_rank: 4, lora_dropout: 0.2, lora_targets: ['q_proj', 'mlp.*'] }));
afterAll(removeAll);

describe('kill -9 with an adapter', () => {
  it('in the generation and in the training of a game, and while its adapter is saved', () =>
    killed('run', ['event shard.finished/generate/0/1', 'event train.step/train/1/3', 'path .model.']));

  it('in the training of a fine-tuning', () => killed('sft', ['event train.step/train/null/3']));
});
