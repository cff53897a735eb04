// Plays the tiny game in a child process that is killed, then resumed, and compares everything that is left with an undisturbed run,
// as `selfplay verify-resume` does. Here the process kills itself, so that it dies at exactly the place that a test names.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { DpoInput, ResumeChanges, SftInput, SpinInput } from '../../src/recipes/index.ts';
import { compareGames } from '../../src/recipes/proof/likeness.ts';
import { type RunEvent, readRunLog } from '../../src/report/index.ts';
import { makeTinyGame } from './tiny-game.ts';

const child = new URL('./play-child.ts', import.meta.url).pathname;
const root = new URL('../..', import.meta.url).pathname;
let home: string;
let settings: Partial<SpinInput & SftInput & DpoInput> = {};
type Command = 'run' | 'sft' | 'dpo';
let count = 0;

/** Runs the child to its end; returns the signal that ended it, or its exit status. */
async function play(
  command: Command | 'resume',
  out: string,
  where = '-',
  changes: ResumeChanges = {},
): Promise<string | number | null> {
  const job = spawn(process.execPath, ['--import', 'tsx', child, command, home, out, where], {
    cwd: root,
    env: { ...process.env, PLAY_SETTINGS: JSON.stringify(settings), RESUME_CHANGES: JSON.stringify(changes) },
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

/**
 * To be called once by a group of tests.
 * @param changes settings of all its runs
 * @param commands what is going to be killed
 */
export async function playUndisturbed(
  changes: typeof settings = {},
  commands: readonly Command[] = ['run', 'sft'],
): Promise<void> {
  settings = changes;
  home = await mkdtemp(join(tmpdir(), 'selfplay-kill-'));
  await makeTinyGame(home);
  for (const command of commands) await play(command, join(home, `whole-${command}`));
}

/** Directory of the undisturbed run. */
export const wholeRun = () => join(home, 'whole-run');

export const removeAll = () => rm(home, { recursive: true, force: true });

/** Kills a run (and each resume but the last) at the places in turn; see play-child.ts. */
export async function killed(command: Command, places: readonly string[]): Promise<void> {
  const out = join(home, `killed-${count++}`);
  for (const [i, where] of places.entries()) {
    expect(await play(i === 0 ? command : 'resume', out, where), where).toBe('SIGKILL');
  }
  expect(await play('resume', out)).toBe(0);
  const whole = join(home, `whole-${command}`);
  expect((await compareGames(whole, out)).filter(({ deviation }) => deviation !== null)).toEqual([]);
}

/** Kills a game once and lets it go on as `changes` say: its log, and the names of its engines, the first one first. */
export async function resumedWith(
  changes: ResumeChanges,
  where: string,
): Promise<{ events: RunEvent[]; names: string[] }> {
  const out = join(home, `changed-${count++}`);
  expect(await play('run', out, where)).toBe('SIGKILL');
  expect(await play('resume', out, '-', changes)).toBe(0);
  const manifest = JSON.parse(await readFile(join(out, 'manifest.json'), 'utf8'));
  const names = [...manifest.earlier_engines, manifest.engine].map(({ name }: { name: string }) => name);
  return { events: await readRunLog(out), names };
}
