// kill -9 in every stage, then resume: the weights and the table are those of the undisturbed run, bit for bit, and the log counts
// every step once.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunEvent, readResults, readRunLog } from '../../src/report/index.ts';
import { makeTinyGame } from './tiny-game.ts';

const child = new URL('./play-child.ts', import.meta.url).pathname;
const root = new URL('../..', import.meta.url).pathname;
let home: string;
let count = 0;

/** Runs the child to its end; returns the signal that ended it, or its exit status. */
async function play(command: 'run' | 'sft' | 'resume', out: string, where = '-'): Promise<string | number | null> {
  const job = spawn(process.execPath, ['--import', 'tsx', child, command, home, out, where], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let errors = '';
  job.stderr.on('data', (data) => {
    errors += String(data);
  });
  const [status, signal] = (await once(job, 'exit')) as [number | null, string | null];
  if (signal === null && status !== 0) throw new Error(errors);
  return signal ?? status;
}

/** Every file of a run that must not depend on what happened on the way, by name. */
async function essence(out: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {
    results: JSON.stringify((await readResults(join(out, 'results.json'))).rows),
  };
  for (const name of ['.', 'iteration-0', 'iteration-1']) {
    for (const file of ['model/model.safetensors', 'pairs.jsonl']) {
      const path = join(out, name, file);
      if (existsSync(path)) files[join(name, file)] = (await readFile(path)).toString('base64');
    }
  }
  return files;
}

/** What the log counts: steps with their losses, shards, finished stages and evaluations; each must be there once. */
async function story(out: string): Promise<string[]> {
  const names = (event: RunEvent): string[] => {
    const at = `${event.iteration}/${event.stage}`;
    if (event.type === 'train.step')
      return [`${at} step ${event.step} of ${event.steps}: ${event.loss}, ${event.grad_norm}`];
    if (event.type === 'shard.finished') return [`${at} shard ${event.shard}: ${JSON.stringify(event.counts)}`];
    if (event.type === 'stage.finished') return [`${at} finished: ${JSON.stringify(event.counts)}`];
    if (event.type === 'evaluation')
      return [`${at} ${event.split} of ${event.model}: ${JSON.stringify(event.metrics)}`];
    return event.type === 'run.finished' ? ['run finished'] : [];
  };
  return (await readRunLog(out)).flatMap(names);
}

/** Names in the run directory, claims of dead processes left out. */
async function listing(out: string): Promise<string[]> {
  const names = await readdir(out, { recursive: true });
  return names.filter((name) => !name.startsWith('lock-')).sort();
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-kill-'));
  await makeTinyGame(home);
  await play('run', join(home, 'whole-run'));
  await play('sft', join(home, 'whole-sft'));
});
afterAll(() => rm(home, { recursive: true, force: true }));

async function killed(command: 'run' | 'sft', places: readonly string[]): Promise<void> {
  const out = join(home, `killed-${count++}`);
  for (const [i, where] of places.entries()) {
    expect(await play(i === 0 ? command : 'resume', out, where), where).toBe('SIGKILL');
  }
  expect(await play('resume', out)).toBe(0);
  const whole = join(home, `whole-${command}`);
  expect(await essence(out)).toEqual(await essence(whole));
  expect(await story(out)).toEqual(await story(whole));
  expect(await listing(out)).toEqual(await listing(whole));
}

describe('a game that is killed', () => {
  it.each([
    ['while the SFT model is judged', 'event evaluation/evaluate/null/'],
    ['in the middle of writing its judgement', 'path baseline/.evaluation.json'],
    ['after the first shard of answers', 'event shard.finished/generate/0/0'],
    ['in the middle of writing a shard of answers', 'path 00001.jsonl'],
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
      'path .model.',
      'event train.step/train/null/5',
      'path .results.json',
    ]));
});
