// kill -9 in the controls of a game and in training on labelled pairs: the same bytes as undisturbed.

import { afterAll, beforeAll, describe, it } from 'vitest';
import { killed, playUndisturbed, removeAll } from './killing.ts';

describe('kill -9 in a control', () => {
  beforeAll(() => playUndisturbed({ iterations: 1, baselines: ['all'] }, ['run']));
  afterAll(removeAll);

  it('in its training, while its model is saved, and while a temperature is tried', () =>
    killed('run', [
      'event train.step/train/null/2',
      'path sft-flops/.model.',
      'path samples/.dev-0.5',
      'path sft-reweighted/iteration-0/.evaluation.json',
    ]));
});

describe('kill -9 on labelled pairs', () => {
  beforeAll(() => playUndisturbed({}, ['dpo']));
  afterAll(removeAll);

  it('in the scoring, in the training and in the judging', () =>
    killed('dpo', [
      'event shard.finished/reference/0/1',
      'event train.step/train/0/4',
      'path iteration-0/.evaluation.json',
    ]));
});
