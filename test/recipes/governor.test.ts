// The governor in a game: it lets a mild one go on, rolls a destructive one back within bounds, and a resume repeats both.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Interrupted, playSpin, resumeRun, type SpinInput } from '../../src/recipes/index.ts';
import { type RunEvent, readRunLog } from '../../src/report/index.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings } from './tiny-game.ts';

let home: string;
let game: TinyGame;
let count = 0;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-governor-'));
  game = await makeTinyGame(home);
});
afterAll(() => rm(home, { recursive: true, force: true }));

const fresh = () => join(home, `run-${count++}`);
const governed: Partial<SpinInput> = { governor: true, dev_size: 20, test_size: 6 };
const decisions = async (out: string) =>
  (await readRunLog(out)).flatMap((event) => (event.type === 'governor.decided' ? [event] : []));
const weights = (folder: string) => readFileSync(join(folder, 'model/model.safetensors'));

describe('the governor in a game', () => {
  it('lets a game go on that nothing speaks against, with its figures', async () => {
    const out = fresh();
    const { context, said } = listener();
    await playSpin(tinySettings(game, out, { ...governed, iterations: 1, learning_rate: 1e-5 }), context);
    const [decided] = await decisions(out);
    expect(decided).toMatchObject({ iteration: 0, attempt: 0, verdict: 'continue', rule: null });
    expect(decided!.metrics['accuracy']!.n).toBe(20);
    // Hardly moved: near the opponent, which at iteration 0 is the base as well.
    expect(Math.abs(decided!.metrics['klToOpponent']!.mean)).toBeLessThan(0.01);
    expect(decided!.metrics['klToBase']).toEqual(decided!.metrics['klToOpponent']);
    expect(said.join('\n')).toContain('Iteration 0: it counts, the last of this game: ');
    expect(existsSync(join(out, 'rejected'))).toBe(false);
  });

  it('rolls back what destroys the model, tries again at a third of the rate, and ends with the model before', async () => {
    const out = fresh();
    const { context, said } = listener();
    const settings = tinySettings(game, out, { ...governed, learning_rate: 0.5, max_attempts: 2 });
    const { best, results } = await playSpin(settings, context);
    const decided = await decisions(out);
    expect(decided.map(({ attempt, verdict }) => [attempt, verdict])).toEqual([
      [0, 'roll-back'],
      [1, 'roll-back'],
    ]);
    expect(readdirSync(join(out, 'rejected')).sort()).toEqual(['iteration-0-attempt-0', 'iteration-0-attempt-1']);
    const record = (n: number) =>
      JSON.parse(readFileSync(join(out, `rejected/iteration-0-attempt-${n}/decision.json`), 'utf8'));
    const [first, second] = [record(0), record(1)];
    const { remedy } = first;
    expect([second.learning_rate, second.beta]).toEqual(remedy === 'lower-rate' ? [0.5 / 3, 0.1] : [0.5, 0.1 * 3]);
    expect(existsSync(join(out, 'iteration-0/model'))).toBe(false);
    expect(results.rows.map(({ label }) => label)).toEqual(['SFT model']);
    expect(best.label).toBe('SFT model');
    expect(said.join('\n')).toContain(
      'Iteration 0: none of 2 attempt(s) counts; the game ends with the model before it.',
    );
  });

  it('is repeated by a resume: stopped in the second attempt, the same attempts come out', async () => {
    const [whole, out] = [fresh(), fresh()];
    const changes = { ...governed, learning_rate: 0.5, max_attempts: 2 };
    await playSpin(tinySettings(game, whole, changes), listener().context);
    const controller = new AbortController();
    const stop = (event: RunEvent) => {
      if (event.type === 'train.step' && event.attempt === 1 && event.step === 1) controller.abort();
    };
    const { context } = listener(stop, controller.signal);
    await expect(playSpin(tinySettings(game, out, changes), context)).rejects.toBeInstanceOf(Interrupted);
    expect(readdirSync(join(out, 'rejected'))).toEqual(['iteration-0-attempt-0']);
    await resumeRun(out, listener().context, {});
    for (const n of [0, 1]) {
      const name = `rejected/iteration-0-attempt-${n}`;
      expect(weights(join(out, name)).equals(weights(join(whole, name)))).toBe(true);
    }
    const steps = (await readRunLog(out)).flatMap((e) => (e.type === 'train.step' ? [`${e.attempt}/${e.step}`] : []));
    expect(new Set(steps).size).toBe(steps.length);
  });

  it('keeps out of it with a dev split that says nothing', async () => {
    const out = fresh();
    await playSpin(tinySettings(game, out, { governor: true, iterations: 1, learning_rate: 0.5 }), listener().context);
    expect(await decisions(out)).toEqual([]);
    expect(existsSync(join(out, 'iteration-0/model'))).toBe(true);
  });
});
