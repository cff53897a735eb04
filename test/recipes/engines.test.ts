// Which engine a run computes with: frozen, said, repeated by a resume, changed only by the user; reduced precision; and memory that
// runs out. The other engines are the ONNX engine in disguise, so that what must not differ can be compared bit for bit.

import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EngineInfo } from '../../src/engine/index.ts';
import { Interrupted, type OpenEngine, playSpin, type ResumeChanges, resumeRun } from '../../src/recipes/index.ts';
import { readLogProbs, readPairs } from '../../src/recipes/run/records.ts';
import { type RunEvent, readRunLog } from '../../src/report/index.ts';
import { failure, SelfplayError, usageError } from '../../src/util/index.ts';
import { type Disguise, disguised } from './disguised.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings } from './tiny-game.ts';

let home: string;
let game: TinyGame;
let count = 0;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-engines-'));
  game = await makeTinyGame(home, 20);
});
afterAll(() => rm(home, { recursive: true, force: true }));

const fresh = () => join(home, `run-${count++}`);
const torch = { name: 'torch', version: '2.15.0' };
const manifestOf = async (run: string) => JSON.parse(await readFile(join(run, 'manifest.json'), 'utf8'));
const weights = (run: string, t = 0) => readFile(join(run, `iteration-${t}/model/model.safetensors`));
const of = <T extends RunEvent['type']>(events: readonly RunEvent[], type: T) =>
  events.filter((event): event is Extract<RunEvent, { type: T }> => event.type === type);

interface Heard {
  readonly said: string[];
  readonly asked: Parameters<OpenEngine>[0][];
  readonly error: unknown;
}

interface How {
  /** A new game with these settings; without them a resume. */
  readonly settings?: object;
  readonly changes?: ResumeChanges;
  /** Asked to stop after this step of training. */
  readonly stopAt?: number;
  readonly onStep?: (step: number) => void;
}

/** Plays or resumes with disguised engines. */
async function play(out: string, disguise: Disguise, { settings, changes, stopAt, onStep }: How = {}): Promise<Heard> {
  const controller = new AbortController();
  const { context, said } = listener((event) => {
    if (event.type !== 'train.step') return;
    onStep?.(event.step);
    if (event.step === stopAt) controller.abort();
  }, controller.signal);
  const asked: Heard['asked'] = [];
  const openEngine: OpenEngine = async (request) => {
    asked.push(request);
    return { engine: await disguised(disguise), choice: { reasons: ['the test says so'] } };
  };
  const heard = { ...context, openEngine };
  const work =
    settings === undefined
      ? resumeRun(out, heard, changes)
      : playSpin(tinySettings(game, out, { iterations: 1, ...settings }), heard);
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error !== undefined && !(error instanceof SelfplayError)) throw error;
  return { said, asked, error };
}

/** Expects that it ends without an error. */
async function finish(...args: Parameters<typeof play>): Promise<Heard> {
  const heard = await play(...args);
  expect(heard.error).toBeUndefined();
  return heard;
}

describe('the engine of a run', () => {
  it('is what the settings ask for, frozen with its reasons, and said', async () => {
    const out = fresh();
    const wish = { engine: 'auto', device: 'cuda:1', dtype: 'f16' } as const;
    const { asked, said } = await finish(out, { info: torch }, { settings: wish });
    expect(asked).toEqual([{ ...wish, threads: 1, deterministic: false }]);
    const manifest = await manifestOf(out);
    expect(manifest.settings).toMatchObject(wish);
    expect(manifest.engine).toMatchObject({ ...torch, device: 'cpu', dtype: 'f32', reasons: ['the test says so'] });
    expect(manifest.earlier_engines).toEqual([]);
    expect(said).toContain('Computing with torch 2.15.0 on cpu in f32, 1 thread(s) (the test says so).');
  });

  it('that cannot be opened leaves nothing behind', async () => {
    const out = fresh();
    const broken = usageError({ what: 'there is no torch', fix: 'install it' });
    const context = { ...listener().context, openEngine: () => Promise.reject(broken) };
    await expect(playSpin(tinySettings(game, out), context)).rejects.toBe(broken);
    expect(existsSync(out)).toBe(false);
  });

  it('is opened again by a resume, whatever auto would choose now', async () => {
    const out = fresh();
    const info = { ...torch, device: 'cuda:0', dtype: 'bf16' as EngineInfo['dtype'] };
    expect((await play(out, { info }, { settings: {}, stopAt: 1 })).error).toBeInstanceOf(Interrupted);
    const { asked } = await finish(out, { info });
    expect(asked).toEqual([{ engine: 'torch', device: 'cuda:0', dtype: 'bf16', threads: 1, deterministic: false }]);
    expect(of(await readRunLog(out), 'engine.changed')).toEqual([]);
  });

  it('that is not there any more stops the resume with what to do', async () => {
    const out = fresh();
    await play(out, { info: torch }, { settings: {}, stopAt: 1 });
    const before = await readFile(join(out, 'events.jsonl'), 'utf8');
    const broken = usageError({ what: 'there is no torch', fix: 'install it' });
    const context = { ...listener().context, openEngine: () => Promise.reject(broken) };
    await expect(resumeRun(out, context)).rejects.toMatchObject({
      kind: 'usage',
      what: 'the run computes with torch 2.15.0 on cpu in f32, which cannot be used here: there is no torch',
      fix: `install it; or go on with another: selfplay resume ${out} --engine onnx`,
    });
    for (const other of [{ version: '2.16.0' }, { device: 'mps' }, { dtype: 'bf16' as EngineInfo['dtype'] }]) {
      const { error } = await play(out, { info: { ...torch, ...other } });
      expect(error).toMatchObject({
        kind: 'usage',
        what: expect.stringContaining(`here is torch ${other.version ?? '2.15.0'} on ${other.device ?? 'cpu'}`),
        where: `${join(out, 'manifest.json')}:engine`,
        fix: expect.stringContaining(`selfplay resume ${out} --engine torch`),
      });
    }
    expect(await readFile(join(out, 'events.jsonl'), 'utf8')).toBe(before);
    // A run of an earlier version does not know its GPU, if it had one.
    await finish(out, { info: { ...torch, gpu: { model: 'NVIDIA H200', driver: '570.86.15' } } });
  });

  it('is not the same on a GPU of another model', async () => {
    const out = fresh();
    const on = (model: string) => ({ ...torch, device: 'cuda', gpu: { model, driver: '570.86.15' } });
    await play(out, { info: on('NVIDIA H200') }, { settings: {}, stopAt: 1 });
    expect((await manifestOf(out)).engine.gpu).toEqual({ model: 'NVIDIA H200', driver: '570.86.15' });
    const { error } = await play(out, { info: on('NVIDIA L4') });
    expect(error).toMatchObject({
      kind: 'usage',
      what:
        'the run computes with torch 2.15.0 on cuda (NVIDIA H200) in f32, here is torch 2.15.0 on cuda (NVIDIA L4) in f32: ' +
        'the outcome would not be the same',
    });
  });

  it('changes when the user says so: checkpoints serve every engine, and the history is kept', async () => {
    const [whole, out] = [fresh(), fresh()];
    await finish(whole, {}, { settings: {} });
    await play(out, { info: torch }, { settings: {}, stopAt: 2 });
    const { asked, said } = await finish(out, {}, { changes: { engine: 'onnx' } });
    expect(asked).toEqual([{ engine: 'onnx', device: 'auto', dtype: 'auto', threads: 1, deterministic: false }]);
    expect((await weights(out)).equals(await weights(whole))).toBe(true);
    expect(said.join('\n')).toContain('Computing with onnx ');
    const manifest = await manifestOf(out);
    expect(manifest.engine).toMatchObject({ name: 'onnx' });
    expect(manifest.earlier_engines).toMatchObject([{ ...torch, until: expect.stringMatching(/^\d{4}-.*Z$/) }]);
    const events = await readRunLog(out);
    expect(of(events, 'engine.changed')).toMatchObject([
      { from: torch, to: { name: 'onnx' }, reasons: ['the test says so'] },
    ]);
    expect(of(events, 'train.step').map(({ step }) => step)).toEqual([1, 2, 3]);
    // From now on that is the run's engine.
    expect((await finish(out, {})).asked[0]!.engine).toBe('onnx');
    expect((await play(out, { info: torch })).error).toMatchObject({ kind: 'usage' });
  });

  it('keeps device and dtype where only the other is changed', async () => {
    const out = fresh();
    const info = { ...torch, device: 'cuda:0', dtype: 'bf16' as EngineInfo['dtype'] };
    await play(out, { info }, { settings: {}, stopAt: 1 });
    const { asked } = await finish(out, { info: { ...info, dtype: 'f32' } }, { changes: { dtype: 'f32' } });
    expect(asked).toEqual([{ engine: 'torch', device: 'cuda:0', dtype: 'f32', threads: 1, deterministic: false }]);
  });
});

describe('reduced precision', () => {
  const info = { ...torch, dtype: 'bf16' as EngineInfo['dtype'] };
  /** The weights stand still, so that every step of the first epoch sees θt. */
  const still = { learning_rate: 1e-30, beta: 1 };
  const marginsOf = async (out: string, t: number) =>
    of(await readRunLog(out), 'train.step')
      .filter(({ iteration }) => iteration === t)
      .map((event) => Math.abs(event['rewards/margins']!));

  it('scores both answers in the micro-batches of training: margins are 0, replayed pairs included', async () => {
    const out = fresh();
    await finish(out, { info, rough: true }, { settings: { ...still, iterations: 2, shard_size: 25 } });
    for (const t of [0, 1]) {
      const margins = await marginsOf(out, t);
      expect(margins).toHaveLength(t === 0 ? 3 : 6);
      expect(Math.max(...margins)).toBeLessThan(1e-5);
      const folder = (await readdir(join(out, `iteration-${t}/logprobs`))).find((name) => name.endsWith('-bf16'))!;
      const shards = await readdir(join(out, `iteration-${t}/logprobs`, folder));
      expect(shards.length).toBeGreaterThan(1);
    }
  });

  it('would show in the margins of an engine that claims f32', async () => {
    const out = fresh();
    await finish(out, { rough: true }, { settings: still });
    expect(Math.max(...(await marginsOf(out, 0)))).toBeGreaterThan(1e-3);
  });

  it('given up in the middle of an iteration, the pairs are scored again, and nothing is taken from its sampler', async () => {
    const out = fresh();
    await play(out, { info, rough: true }, { settings: still, stopAt: 1 });
    await finish(out, { info: { ...torch, dtype: 'f32' } }, { changes: { dtype: 'f32' } });
    const folders = (await readdir(join(out, 'iteration-0/logprobs'))).filter((name) => !name.includes('.')).sort();
    expect(folders.map((name) => name.replace(/^[0-9a-f]+/, ''))).toEqual(['-bf16', '-f32']);
    const margins = await marginsOf(out, 0);
    expect(Math.max(...margins.slice(1))).toBeLessThan(1e-5);
    const pairs = await readPairs(join(out, 'iteration-0/pairs.jsonl'));
    let answers = 0;
    for (const shard of await readdir(join(out, 'iteration-0/logprobs', folders[1]!))) {
      answers += (await readLogProbs(join(out, 'iteration-0/logprobs', folders[1]!, shard)))!.size;
    }
    expect(answers).toBe(2 * pairs.length);
  });
});

describe('memory that runs out', () => {
  const short = (limit: number) => failure({ what: `no memory for more than ${limit} tokens`, code: 'out-of-memory' });
  /** Room for so many tokens, and no more. */
  const room = (limit: number): Disguise => ({
    beforeTraining: (tokens) => {
      if (tokens > limit) throw short(limit);
    },
  });

  it('halves the micro-batch, as an event, and comes to the same weights but for rounding', async () => {
    const [whole, out] = [fresh(), fresh()];
    await finish(whole, {}, { settings: {} });
    const { said } = await finish(out, room(60), { settings: {} });
    const reduced = of(await readRunLog(out), 'micro-batch.reduced');
    expect(reduced).toMatchObject([{ iteration: 0, step: 1, before: 100 }]);
    const [{ tokens }] = reduced as [(typeof reduced)[0]];
    expect(tokens).toBeGreaterThan(40);
    expect(tokens).toBeLessThanOrEqual(50);
    expect(said).toContain(`Memory is short: from step 1 on at most ${tokens} tokens are computed at once.`);
    const losses = async (run: string) => of(await readRunLog(run), 'train.step').map(({ loss }) => loss);
    const [expected, got] = [await losses(whole), await losses(out)];
    got.forEach((loss, i) => {
      expect(loss).toBeCloseTo(expected[i]!, 5);
    });
  });

  it('is found out before the first step on a device that refuses, and the rehearsal leaves no trace', async () => {
    const [whole, out] = [fresh(), fresh()];
    const settings = {};
    const info = { device: 'cuda:0' as const };
    const sizes: number[] = [];
    let steps = 0;
    const counting: Disguise = { info, beforeTraining: (tokens) => void (steps === 0 && sizes.push(tokens)) };
    await finish(whole, {}, { settings });
    await finish(out, counting, { settings, onStep: () => void steps++ });
    // The longest item alone, twice, by which memory is planned; the largest micro-batch; then those of the first step.
    expect(Math.max(...sizes.slice(0, 2))).toBeLessThan(40);
    expect(sizes[2]).toBe(Math.max(...sizes));
    expect((await weights(out)).equals(await weights(whole))).toBe(true);

    const small = fresh();
    await finish(small, { ...room(60), info }, { settings });
    expect(of(await readRunLog(small), 'micro-batch.reduced')).toMatchObject([{ iteration: 0, step: 1, before: 100 }]);
  });

  it('later, is repeated by a resume at the same step, even one that goes back behind it', async () => {
    let trouble: Error | undefined;
    const sizes: number[] = [];
    const disguise: Disguise = {
      beforeTraining: (tokens) => {
        sizes.push(tokens);
        const error = trouble;
        trouble = undefined;
        if (error) throw error;
      },
    };
    /** After that step the next micro-batch fails with the error, once. */
    const failing = (after: number, error: Error) => (step: number) => {
      if (step === after) trouble = error;
    };
    const [whole, out] = [fresh(), fresh()];
    const settings = { checkpoint_seconds: 1000 };
    await finish(whole, disguise, { settings, onStep: failing(1, short(99)) });
    const [reduction] = of(await readRunLog(whole), 'micro-batch.reduced');
    expect(reduction).toMatchObject({ iteration: 0, step: 2, before: 100 });

    // A checkpoint after step 1; then step 2 runs out of memory, and step 3 fails for good.
    await play(out, disguise, { settings, stopAt: 1 });
    trouble = short(99);
    const fire = failure({ what: 'the machine is on fire' });
    const { error } = await play(out, disguise, { onStep: failing(2, fire) });
    expect(error).toMatchObject({ what: fire.what });
    sizes.length = 0;
    let atStep2 = 0;
    await finish(out, disguise, { onStep: (step) => step === 2 && (atStep2 = Math.max(...sizes)) });
    expect(atStep2).toBeGreaterThan(0);
    expect(atStep2).toBeLessThanOrEqual(reduction!.tokens);
    expect((await weights(out)).equals(await weights(whole))).toBe(true);
  });

  it('for the longest pair alone is passed on with the fix; the run goes on where there is more', async () => {
    const out = fresh();
    // The planner finds room for its two steps, and then there is less.
    let steps = 0;
    const shrinking: Disguise = {
      beforeTraining: () => {
        steps++;
        if (steps > 2) throw short(5);
      },
    };
    const { error } = await play(out, shrinking, { settings: {} });
    expect(error).toMatchObject({
      kind: 'failure',
      what: expect.stringContaining('not even the longest item of step 1 fits'),
      fix: expect.stringContaining('--max-length'),
    });
    await finish(out, {});
    expect(existsSync(join(out, 'results.json'))).toBe(true);
  });
});

describe('memory that is too small from the start', () => {
  it('refuses the run in the words of the engine, and leaves nothing', async () => {
    const out = fresh();
    const beforeTraining = () => {
      throw failure({ what: 'no memory at all', code: 'out-of-memory' });
    };
    const { error } = await play(out, { beforeTraining }, { settings: {} });
    expect(error).toMatchObject({
      kind: 'usage',
      what: expect.stringMatching(
        /^training would not fit: the longest item \(\d+ tokens\) was tried alone: no memory at all$/,
      ),
      fix: expect.stringContaining('--max-length'),
    });
    expect(existsSync(out)).toBe(false);
  });
});

describe('held-out rows of another file', () => {
  it('that are trained on as well are counted in a warning', async () => {
    const held = join(home, 'held.jsonl');
    const rows = [...game.rows, { question: '90+1', answer: '91' }];
    await writeFile(held, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const out = fresh();
    const { said } = await finish(out, {}, { settings: { eval_data: held, test_size: 49, dev_size: 6 } });
    expect(said.join('\n')).toContain(`with ${held}:`);
    expect(said.join('\n')).toContain(
      `Warning: 42 of the 42 train rows have a prompt that overlaps with one of test (the first: ${game.data}:`,
    );
  });
});
