// Plays what an experiment consists of, one seed at a time, with the library as a user would. A run directory that is
// there is resumed, which plays nothing of a complete one again; what is kept of each is its figures (figures.ts).

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { resume, type SpinInput, spin } from '../../src/index.ts';
import { type Arm, type Family, MAIN, type TextPair } from './family.ts';

export interface Where {
  readonly directory: string;
  readonly seed: number;
  readonly threads: number;
}

/** Plays an arm of a seed, the main one first; returns its run directory. */
export async function playArm(family: Family, name: string, where: Where): Promise<string> {
  const { directory, seed, threads } = where;
  const out = join(directory, name.replace(/[^a-z0-9]+/gi, '-'));
  const say = (sentence: string) => console.error(`[${seed}, ${name}] ${sentence}`);
  if (existsSync(join(out, 'manifest.json'))) {
    await resume(out, {}, { say }).outcome;
    return out;
  }
  const start = await family.start(directory, seed, threads);
  const common = { ...start.rows, model: start.model, ...family.game, threads, out, preflight: false };
  const arm = family.arms[name];
  const settings = arm
    ? armSettings(arm, common, join(directory, MAIN))
    : { ...common, baselines: family.controls ?? ['all'] };
  await spin(settings as SpinInput, { say }).outcome;
  return out;
}

/** Of a game beside the main one: both share the first opponent's pairs, which it need not write again. */
function armSettings(arm: Arm, common: SpinInput & { out: string }, main: string): SpinInput {
  const first = join(main, 'iteration-0', 'pairs.jsonl');
  const settings = { ...common, ...arm.settings };
  if (arm.own) return settings;
  if (arm.pairs === undefined && !arm.again) return { ...settings, pairs: first };
  mkdirSync(common.out, { recursive: true });
  const file = `${common.out}-pairs.jsonl`;
  const pairs = textPairs(first).map(arm.pairs ?? ((pair) => pair));
  writeFileSync(file, pairs.map((pair) => `${JSON.stringify(pair)}\n`).join(''));
  const model = join(main, 'iteration-0', 'model');
  return { ...settings, pairs: file, iterations: 1, ...(arm.again ? { model, start_iteration: 1 } : {}) };
}

/** The pairs of a run that took part. */
function textPairs(file: string): TextPair[] {
  interface Line {
    prompt: { content: string }[];
    responses: { role: string; text: string }[];
    excluded: string | null;
  }
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  return lines.flatMap((line) => {
    const { prompt, responses, excluded } = JSON.parse(line) as Line;
    const text = (role: string) => responses.find((response) => response.role === role)!.text;
    if (excluded !== null) return [];
    return [{ prompt: prompt.at(-1)!.content, real: text('real'), generated: text('generated') }];
  });
}
