// Plain fine-tuning: the weights with the best dev likelihood are kept, and a resume ends at the same ones.

import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fineTune, Interrupted, resumeRun } from '../../src/recipes/index.ts';
import { type RunEvent, readResults, readRunLog } from '../../src/report/index.ts';
import { listener, makeTinyGame, type TinyGame, tinySft } from './tiny-game.ts';

let home: string;
let game: TinyGame;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-sft-'));
  game = await makeTinyGame(home, 3);
});
afterAll(() => rm(home, { recursive: true, force: true }));

const weights = (directory: string) => readFile(join(directory, 'model.safetensors'));
const stepsOf = (events: readonly RunEvent[]) =>
  events.flatMap((e) => (e.type === 'train.step' ? [{ step: e.step, loss: e.loss }] : []));
/** Dev likelihood after each step that measured it. */
const devOf = (events: readonly RunEvent[]) =>
  events.flatMap((e) =>
    e.type === 'evaluation' ? [{ step: Number(e.model.slice(5)), nats: e.metrics['nats/token']!.mean }] : [],
  );

describe('fineTune', () => {
  it('keeps the weights of the best dev likelihood and tabulates them against the given ones', async () => {
    const { context, events } = listener();
    const out = join(home, 'run');
    const { results, best } = await fineTune(tinySft(game, out), context);
    const dev = devOf(events);
    expect(dev.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
    const lowest = Math.min(...dev.map(({ nats }) => nats));
    expect(results.best).toEqual({
      label: 'fine-tuned',
      how: `lowest nats/token on the dev split, ${lowest.toFixed(4)}`,
    });
    expect(best.model).toBe(join(out, 'model'));
    expect(results.rows.map(({ label }) => label)).toEqual(['given model', 'fine-tuned']);
    expect(results.rows[1]!.metrics['nats/token']!.difference).toBeLessThan(0);
    expect(existsSync(join(out, 'checkpoints'))).toBe(false);
    expect(existsSync(join(out, 'model/tokenizer.json'))).toBe(true);
  });

  it('keeps an earlier best when the last steps made it worse', async () => {
    const { context, events } = listener();
    // So high a rate that the model is ruined after a while; a schedule that does not save it.
    const changes = {
      learning_rate: 0.05,
      lr_scheduler_type: 'constant',
      num_train_epochs: 12,
      warmup_ratio: 0,
    } as const;
    const { results } = await fineTune(tinySft(game, join(home, 'high'), changes), context);
    const dev = devOf(events);
    const best = dev.reduce((a, b) => (b.nats < a.nats ? b : a));
    expect(best.step).toBeLessThan(dev.at(-1)!.step);
    expect(results.best!.how).toContain(best.nats.toFixed(4));
    // Some later step is better than the given model, so that a resume that forgot the best would take it.
    const given = results.rows[0]!.metrics['nats/token']!.mean;
    expect(dev.some(({ step, nats }) => step > best.step + 1 && nats < given - 0.1)).toBe(true);
    const controller = new AbortController();
    const stopping = listener(
      (event) => event.type === 'train.step' && event.step === best.step + 1 && controller.abort(),
      controller.signal,
    );
    const out = join(home, 'high-stopped');
    await expect(fineTune(tinySft(game, out, changes), stopping.context)).rejects.toBeInstanceOf(Interrupted);
    const resumed = await resumeRun(out, listener().context);
    expect(resumed.results.best).toEqual(results.best);
    expect((await weights(join(out, 'model'))).equals(await weights(join(home, 'high/model')))).toBe(true);
  });

  it('never gives a model worse than it was given', async () => {
    const { context, said } = listener();
    const changes = { learning_rate: 5, warmup_ratio: 0, max_grad_norm: 100 };
    await fineTune(tinySft(game, join(home, 'wild'), changes), context);
    expect(said.join('\n')).toContain('no step made the dev answers likelier');
    expect((await weights(join(home, 'wild/model'))).equals(await weights(game.model))).toBe(true);
  });

  it('stopped by a signal and resumed, ends at the same weights, table and log', async () => {
    const out = join(home, 'stopped');
    const controller = new AbortController();
    const { context } = listener(
      (e) => e.type === 'train.step' && e.step === 3 && controller.abort(),
      controller.signal,
    );
    await expect(fineTune(tinySft(game, out), context)).rejects.toBeInstanceOf(Interrupted);
    const { results } = await resumeRun(out, listener().context);
    const whole = await readResults(join(home, 'run/results.json'));
    expect(results.rows).toEqual(whole.rows);
    expect(results.best).toEqual(whole.best);
    expect((await weights(join(out, 'model'))).equals(await weights(join(home, 'run/model')))).toBe(true);
    const [log, known] = [await readRunLog(out), await readRunLog(join(home, 'run'))];
    expect(stepsOf(log)).toEqual(stepsOf(known));
    expect(devOf(log)).toEqual(devOf(known));
  });

  it('resumed when it is finished gives the same table', async () => {
    const before = await readFile(join(home, 'run/results.json'), 'utf8');
    const { results } = await resumeRun(join(home, 'run'), listener().context);
    expect(`${JSON.stringify(results, null, 1)}\n`).toBe(before);
    expect(await readFile(join(home, 'run/results.json'), 'utf8')).toBe(before);
  });

  it('needs dev rows', async () => {
    const work = fineTune(tinySft(game, join(home, 'nodev'), { dev_size: 0 }), listener().context);
    await expect(work).rejects.toMatchObject({ kind: 'usage', fix: expect.stringContaining('--dev-size') });
    expect(existsSync(join(home, 'nodev'))).toBe(false);
  });
});
