// kill -9 at two places of a game and of a fine-tuning; all other places are in kill.slow.test.ts.

import { afterAll, beforeAll, describe, it } from 'vitest';
import { killed, playUndisturbed, removeAll } from './killing.ts';

beforeAll(() => playUndisturbed());
afterAll(removeAll);

describe('kill -9', () => {
  it('in the generation and in the training of a game', () =>
    killed('run', ['event shard.finished/generate/0/1', 'named samples/00001.jsonl', 'event train.step/train/1/3']));

  it('in the training of a fine-tuning and while its model is saved', () =>
    killed('sft', ['event train.step/train/null/3', 'path .model.']));
});
