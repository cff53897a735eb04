// kill -9 in every stage, then resume: the weights and the table are those of the undisturbed run, bit for bit, and the log counts
// every step once.

import { afterAll, beforeAll, describe, it } from 'vitest';
import { killed, playUndisturbed, removeAll } from './killing.ts';

beforeAll(() => playUndisturbed());
afterAll(removeAll);

describe('a game that is killed', () => {
  it.each([
    ['while the SFT model is judged', 'event evaluation/evaluate/null/'],
    ['in the middle of writing its judgement', 'path baseline/.evaluation.json'],
    ['after the first shard of answers', 'event shard.finished/generate/0/0'],
    ['in the middle of writing a shard of answers', 'path 00001.jsonl'],
    ['when a shard of answers has just got its name', 'named samples/00001.jsonl'],
    ['when a shard of log-probs has just got its name', 'named 00001.safetensors'],
    ['in the middle of writing the pairs', 'path .pairs.jsonl'],
    ['after the second shard of log-probs, replayed pairs included', 'event shard.finished/reference/1/1'],
    ['in the middle of writing log-probs', 'path 00002.safetensors'],
    ['at its first step of training', 'event train.step/train/0/1'],
    ['at a later step of training', 'event train.step/train/1/4'],
    ['in the middle of writing a checkpoint', 'path .step-'],
    ['at the end of training, before the model is saved', 'event stage.finished/train/0/'],
    ['in the middle of saving the model', 'path iteration-1/.model.'],
    ['when an iteration begins to be judged', 'event stage.started/evaluate/0/'],
    ['in the middle of writing the table', 'path .results.json'],
    ['when the link to the best model has just been replaced', 'named /best'],
    ['when it has just finished', 'event run.finished/null/null/'],
  ])('%s', (_, where) => killed('run', [where]));

  it('again and again, ends at the same weights', () =>
    killed('run', [
      'event shard.finished/generate/0/1',
      'path .pairs.jsonl',
      'event train.step/train/0/2',
      'event train.step/train/0/3',
      'path iteration-0/.model.',
      'event shard.finished/generate/1/0',
      'event train.step/train/1/3',
      'path .step-',
      'event evaluation/evaluate/1/',
    ]));
});

describe('a fine-tuning that is killed', () => {
  it.each([
    ['at its first step', 'event train.step/train/null/1'],
    ['after a later measurement', 'event evaluation/train/null/'],
    ['at its last step', 'event train.step/train/null/6'],
    ['in the middle of saving a checkpoint', 'path .step-'],
    ['in the middle of saving the best model', 'path .model.'],
    ['at the end of training', 'event stage.finished/train/null/'],
    ['in the middle of writing the table', 'path .results.json'],
    ['when it has just finished', 'event run.finished/null/null/'],
  ])('%s', (_, where) => killed('sft', [where]));

  it('again and again, ends at the same weights', () =>
    killed('sft', [
      'event train.step/train/null/3',
      'event train.step/train/null/5',
      'path .model.',
      'event train.step/train/null/6',
      'path .results.json',
    ]));
});
