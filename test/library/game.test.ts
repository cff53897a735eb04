// A game in a program's hand: its events, pauses, conversations, stops and resumes. Whatever is done with it on the way,
// it leaves the same bytes.
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel, loadTrainerState } from '../../src/checkpoint/index.ts';
import { onnxEngine } from '../../src/engine/index.ts';
import { readTensorF32 } from '../../src/formats/index.ts';
import { generate as generateIds, greedySampling } from '../../src/generation/index.ts';
import {
  type Game,
  Interrupted,
  preflight,
  probe,
  type RunEvent,
  resume,
  type SpinInput,
  sft,
  spin,
} from '../../src/index.ts';
import { compareGames } from '../../src/recipes/proof/likeness.ts';
import { loadTokenizer } from '../../src/tokens/index.ts';
import { makeTinyGame, type TinyGame, tinySettings, tinySft } from '../recipes/tiny-game.ts';
import { playTalked, QUESTION } from './talked.ts';

/** Steps that move the weights far enough for another answer. */
const FAST: Partial<SpinInput> = { learning_rate: 0.02, optimizer: 'adamw' };

let home: string;
let game: TinyGame;
/** An undisturbed game, and what it said of itself. */
let whole: Game;
let events: RunEvent[];

const start = (name: string, changes: Partial<SpinInput> = {}, signal?: AbortSignal) =>
  spin(tinySettings(game, join(home, name), { ...FAST, ...changes }), signal ? { signal } : {});

const all = async <T>(source: AsyncIterable<T>): Promise<T[]> => {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
};
const deviations = async (a: string, b: string) => (await compareGames(a, b)).filter(({ deviation }) => deviation);
const logOf = async (directory: string) =>
  (await readFile(join(directory, 'events.jsonl'), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as RunEvent);
const isStep = (step: number) => (event: RunEvent) =>
  event.type === 'train.step' && event.iteration === 0 && event.step === step;
/** Resolves when such an event has come; the game goes on. */
async function heard(played: Game, fits: (event: RunEvent) => boolean): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    void (async () => {
      for await (const event of played) if (fits(event)) resolve();
    })().catch(reject);
  });
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-library-'));
  game = await makeTinyGame(home);
  whole = start('whole');
  events = await all(whole);
});
afterAll(() => rm(home, { recursive: true, force: true }));

describe('the events of a game', () => {
  it('are those of its log, in order, and then the outcome is there', async () => {
    expect(events).toEqual(await logOf(whole.directory));
    expect(events[0]!.type).toBe('run.started');
    expect(events.at(-1)!.type).toBe('run.finished');
    const { results, directory } = await whole.outcome;
    expect(directory).toBe(join(home, 'whole'));
    expect(results.rows.map(({ label }) => label)).toEqual(['SFT model', 'iteration 0', 'iteration 1']);
  });

  it('are all there for a reader that comes late, and for several', async () => {
    expect(await all(whole)).toEqual(events);
  });

  it('wait for a slow reader; the game does not', async () => {
    const played = start('slow', { iterations: 1 });
    let seen = 0;
    for await (const _ of played) if (seen++ === 0) await played.outcome;
    expect(seen).toBe((await logOf(played.directory)).length);
  });
});

describe('pause and chat', () => {
  it('change nothing: the game leaves the same bytes, at whatever stage it rested and was talked to', async () => {
    const { places, answers, out } = await playTalked(tinySettings(game, join(home, 'talked'), FAST));
    const stages = new Set(places.map(({ iteration, stage }) => `${iteration} ${stage}`));
    for (const stage of ['null evaluate', '0 generate', '0 reference', '0 train', '0 evaluate', '1 train'])
      expect(stages).toContain(stage);
    expect(places.some(({ step }) => step === 2)).toBe(true);
    expect(new Set(answers).size, 'the weights moved').toBeGreaterThan(2);
    expect(await deviations(whole.directory, out)).toEqual([]);
    expect((await compareGames(whole.directory, out)).length).toBeGreaterThan(25);
  });

  it('change nothing in a fine-tuning', async () => {
    const undisturbed = sft(tinySft(game, join(home, 'sft')));
    const played = sft(tinySft(game, join(home, 'sft-talked')));
    const asked: Promise<unknown>[] = [];
    for await (const { type } of played) {
      if (type === 'train.step') asked.push(played.chat(QUESTION, { max_new_tokens: 4 }).answer);
    }
    expect((await Promise.allSettled(asked)).some(({ status }) => status === 'fulfilled')).toBe(true);
    await undisturbed.outcome;
    expect(await deviations(undisturbed.directory, played.directory)).toEqual([]);
  });

  it('answers with the weights of that very step', async () => {
    const played = start('half');
    await heard(played, isStep(1)).catch(() => undefined);
    const place = await played.pause();
    expect(place).toMatchObject({ iteration: 0, stage: 'train' });
    const { ids, text } = await played.chat(QUESTION, { max_new_tokens: 12 }).answer;
    played.stop();
    await expect(played.outcome).rejects.toBeInstanceOf(Interrupted);

    // Stopping saved the weights of the step at which it rested.
    const folder = join(played.directory, 'iteration-0/checkpoints');
    const [checkpoint] = await readdir(folder);
    const { state, tensors } = await loadTrainerState(join(folder, checkpoint!));
    expect(state).toMatchObject({ step: place!.step });
    const engine = await onnxEngine({ threads: 1 });
    const { model } = await loadModel(engine, game.model);
    const tokenizer = await loadTokenizer(game.model);
    const answer = async () => {
      const requests = [{ id: 'x', promptIds: tokenizer.encodePrompt(QUESTION) }];
      const how = { batchSize: 1, sampling: greedySampling, maxNewTokens: 12, endIds: tokenizer.endIds };
      const [completion] = await generateIds(engine, model, requests, { ...how, seed: 0, iteration: 0 });
      return completion!.ids;
    };
    const before = await answer();
    for (const { name } of model.parameters) await engine.writeState(name, await readTensorF32(tensors.get(name)!));
    expect(ids).toEqual(await answer());
    expect(ids).not.toEqual(before);
    expect(text).toBe(tokenizer.decode(ids));
    await engine.dispose();

    const resumed = resume(played.directory);
    const [first, ...rest] = await all(resumed);
    expect(first!.type).toBe('run.resumed');
    expect(rest.some(isStep(place!.step! + 1))).toBe(true);
    expect(rest.some(isStep(place!.step!))).toBe(false);
    expect(await deviations(whole.directory, played.directory)).toEqual([]);
  });

  it('gives the same answer to the same conversation, and goes on after a question without being told to', async () => {
    const played = start('asked', { iterations: 1 });
    const questions = [1, 2].map(() => played.chat(QUESTION, { temperature: 1, seed: 3, max_new_tokens: 12 }));
    const other = played.chat(QUESTION, { temperature: 1, seed: 4, max_new_tokens: 12 });
    const [a, b, c] = await Promise.all([...questions, other].map(({ answer }) => answer));
    expect(b).toEqual(a);
    expect(c!.ids).not.toEqual(a!.ids);
    await played.outcome;
  });

  it('ends an answer whose reader leaves, and a question that nobody waits for any more', async () => {
    const played = start('left', { iterations: 1 });
    await played.pause();
    const reply = played.chat(QUESTION, { temperature: 1, seed: 3, max_new_tokens: 40 });
    let pieces = 0;
    for await (const _ of reply) if (++pieces === 1) break;
    expect(pieces).toBe(1);
    await expect(reply.answer).rejects.toThrow('aborted');
    const [first, second] = [played.chat(QUESTION), played.chat(QUESTION)];
    const reader = second[Symbol.asyncIterator]();
    const next = reader.next();
    await reader.return!();
    await expect(next).resolves.toBeDefined();
    expect((await first.answer).finish).toBeDefined();
    played.continue();
    await played.outcome;
  });

  it('refuses what cannot be answered, and the game goes on', async () => {
    const played = start('refused', { iterations: 1 });
    expect(() => played.chat(QUESTION, { temperature: -1 })).toThrow(/temperature: .*>=0\n {2}where: settings/);
    const refused = async (content: string, role: 'user' | 'assistant' = 'user') =>
      played.chat([{ role, content }]).answer.catch((error: unknown) => error);
    expect(await refused('hello', 'assistant')).toMatchObject({ kind: 'usage', where: 'messages' });
    expect(await refused('')).toMatchObject({ what: 'the prompt is empty' });
    expect(await refused('1+1'.repeat(40))).toMatchObject({ what: expect.stringContaining('no room for an answer') });
    expect(await refused('<|end|>')).toMatchObject({ kind: 'failure' });
    await played.outcome;
    expect(await played.pause()).toBeNull();
    await expect(played.chat(QUESTION).answer).rejects.toMatchObject({ what: 'the run is over' });
  });
});

describe('stopping', () => {
  it('a loop that is left stops the game, and resume gives the bytes of one that was not', async () => {
    const played = start('broken-off');
    for await (const event of played) if (isStep(2)(event)) break;
    expect((await logOf(played.directory)).at(-1)).toMatchObject({ type: 'run.interrupted', reason: 'signal' });
    expect(existsSync(join(played.directory, 'iteration-0/model'))).toBe(false);
    await expect(played.outcome).rejects.toBeInstanceOf(Interrupted);
    const resumed = await resume(played.directory).outcome;
    expect(resumed.results.rows).toEqual((await whole.outcome).results.rows);
    expect(await deviations(whole.directory, played.directory)).toEqual([]);
  });

  it('a signal ends the game, its loops, its rest and its questions', async () => {
    const controller = new AbortController();
    const played = start('aborted', {}, controller.signal);
    await played.pause();
    const reading = all(played);
    const left = played.chat(QUESTION, { max_new_tokens: 40 });
    controller.abort();
    await expect(reading).rejects.toBeInstanceOf(Interrupted);
    await expect(played.outcome).rejects.toBeInstanceOf(Interrupted);
    await expect(left.answer).rejects.toThrow('the run was stopped before its model had answered');
  });

  it('what goes wrong is thrown by loop and outcome', async () => {
    const played = spin({ model: join(home, 'nowhere'), data: game.data, out: join(home, 'none'), engine: 'onnx' });
    await expect(all(played)).rejects.toMatchObject({ kind: 'usage', message: expect.stringContaining('nowhere') });
    await expect(played.outcome).rejects.toMatchObject({ kind: 'usage' });
    expect(existsSync(join(home, 'none'))).toBe(false);
  });

  it('wrong settings are refused at once, all of them', () => {
    const wrong = { model: 'm', data: 'd', beta: 0, learnin_rate: 1 } as SpinInput;
    expect(() => spin(wrong)).toThrow(/beta: [\s\S]*"learnin_rate"[\s\S]*where: settings\n {2}fix: docs\/settings.md/);
    expect(() => sft({ model: '', data: 'd' })).toThrow(/^model: /);
    expect(() => resume('r', { engine: 'tpu' as 'onnx' })).toThrow(/^engine: /);
    expect(() => probe({ model: 'm', data: 'd', betas: [0] })).toThrow(/^betas: /);
  });
});

describe('before a game', () => {
  it('a preflight says what it found, and a probe is a run that can be followed and stopped and resumed', async () => {
    const { out, ...settings } = tinySettings(game, join(home, 'probed'), { limit: 24, dev_size: 20, iterations: 1 });
    const { checks } = await preflight(settings);
    expect(checks.find(({ name }) => name === 'start')).toMatchObject({ result: 'ok' });
    expect(existsSync(out!)).toBe(false);

    const probed = probe({ ...settings, out, rates: 1e-3, betas: 1, rows: 24 });
    for await (const event of probed) if (event.type === 'train.step') break;
    const { probe: found } = await resume(probed.directory).outcome;
    expect(found!.report.trials).toMatchObject([{ learningRate: 1e-3, beta: 1, loss: 'logistic' }]);
    await expect(preflight({ ...settings, beta: 0 })).rejects.toThrow(/^beta: /);
  });
});
