// lock.json: what it holds, that a run with its own lock gives the same bytes, and that every kind of difference is refused
// by name before anything is written. And two runs side by side. Other engines are the ONNX engine in disguise.

import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EngineInfo } from '../../src/engine/index.ts';
import {
  compareRuns,
  comparisonText,
  fineTune,
  Interrupted,
  playSpin,
  resumeRun,
  type SftInput,
  type SpinInput,
} from '../../src/recipes/index.ts';
import { type Results, readResults } from '../../src/report/index.ts';
import { SelfplayError, VERSION } from '../../src/util/index.ts';
import { type Disguise, disguised } from './disguised.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings, tinySft } from './tiny-game.ts';

let home: string;
let game: TinyGame;
/** A finished run, and its lock. */
let first: string;
let lock: string;
let count = 0;

const fresh = (name = 'run') => join(home, `${name}-${count++}`);
const HASH = /^[0-9a-f]{64}$/;
const SHORT = '[0-9a-f]{12}';
const one = { iterations: 1 } as const;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-lock-'));
  game = await makeTinyGame(home, 20);
  first = fresh();
  await playSpin(tinySettings(game, first, one), listener().context);
  lock = join(first, 'lock.json');
});
afterAll(() => rm(home, { recursive: true, force: true }));

const readJson = async (file: string) => JSON.parse(await readFile(file, 'utf8'));
const bytes = (run: string, name: string) => readFile(join(run, name));
const contextOf = (disguise: Disguise) => ({
  ...listener().context,
  openEngine: async () => ({ engine: await disguised(disguise), choice: { reasons: [] } }),
});

async function rejection(work: Promise<unknown>): Promise<SelfplayError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SelfplayError);
  return error as SelfplayError;
}

/** Plays under the lock of the first run, expects one refusal and no trace of it; the lines that name the differences. */
async function refused(changes: Partial<SpinInput>, disguise: Disguise = {}): Promise<string[]> {
  const out = fresh();
  const error = await rejection(playSpin(tinySettings(game, out, { ...one, lock, ...changes }), contextOf(disguise)));
  expect([error.kind, error.where]).toEqual(['usage', changes.lock ?? lock]);
  expect(error.fix).toContain('selfplay compare');
  expect(existsSync(out)).toBe(false);
  const lines = error.what.split('\n').filter((line) => line.startsWith('  '));
  expect(error.what).toContain(`${lines.length} difference(s)`);
  const rounding = lines.some((line) => /^ {2}(engine|processor|versions)\./.test(line));
  expect(error.what.includes('how sums are rounded')).toBe(rounding);
  return lines.map((line) => line.trim());
}

/** The model elsewhere, after a change. */
async function otherModel(change: (dir: string) => Promise<void> = async () => undefined): Promise<string> {
  const dir = fresh('model');
  await cp(game.model, dir, { recursive: true });
  await rm(join(dir, 'files.json'));
  await change(dir);
  return dir;
}

/** Rewrites a JSON file. */
const edit = async (file: string, change: (value: Awaited<ReturnType<typeof readJson>>) => unknown) =>
  writeFile(file, JSON.stringify(change(await readJson(file))));

describe('lock.json', () => {
  it('holds what decides the outcome: contents, not paths; sorted; no times', async () => {
    const text = await readFile(lock, 'utf8');
    const found = JSON.parse(text);
    expect(Object.keys(found)).toEqual(Object.keys(found).sort());
    expect(text).toBe(`${JSON.stringify(found, null, 2)}\n`);
    expect(text).not.toContain(home);
    expect(text).not.toMatch(/\d{4}-\d\d-\d\dT/);
    expect(Object.keys(found.model.files).sort()).toEqual([
      'config.json',
      'model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(found).toMatchObject({
      v: 1,
      command: 'run',
      model: {
        revision: null,
        tokenizer: expect.stringMatching(HASH),
        chat_template: expect.stringMatching(HASH),
        template_time: null,
      },
      data: { data: expect.stringMatching(HASH), eval_data: null, scorer: null },
      seed: 0,
      sampler: { temperature: 1, top_k: 0, top_p: 1, max_new_tokens: 6, samples_per_prompt: 1 },
      engine: { name: 'onnx', version: '1.30.0', device: 'cpu', dtype: 'f32', threads: 1 },
      processor: { architecture: process.arch, model: expect.any(String), instructions: expect.any(String) },
      versions: { selfplay: VERSION, node: process.versions.node },
    });
    const { settings } = await readJson(join(first, 'manifest.json'));
    const elsewhere = [
      'model',
      'data',
      'out',
      'contamination',
      'seed',
      'engine',
      'device',
      'dtype',
      'threads',
      'checkpoint_seconds',
      'baselines',
      'preflight',
      'gradient_checkpointing',
    ];
    const sampler = ['temperature', 'top_k', 'top_p', 'max_new_tokens', 'samples_per_prompt'];
    expect([...Object.keys(found.settings), ...elsewhere, ...sampler].sort()).toEqual(Object.keys(settings).sort());
  });

  it('lets the same run pass, from other paths and with other checkpoints; weights and pairs are the same bytes', async () => {
    const data = join(home, 'elsewhere.jsonl');
    await cp(game.data, data);
    const out = fresh();
    const moved = { model: await otherModel(), data, lock, checkpoint_seconds: 1000, device: 'cpu' } as const;
    await playSpin(tinySettings(game, out, { ...one, ...moved }), listener().context);
    for (const name of ['lock.json', 'iteration-0/pairs.jsonl', 'iteration-0/model/model.safetensors']) {
      expect((await bytes(out, name)).equals(await bytes(first, name)), name).toBe(true);
    }
  });

  it('is written by sft as well, and holds there', async () => {
    const tune = (out: string, changes: Partial<SftInput> = {}) =>
      fineTune(tinySft(game, out, { num_train_epochs: 1, ...changes }), listener().context);
    const [out, again, other] = [fresh('sft'), fresh('sft'), fresh('sft')];
    await tune(out);
    const own = join(out, 'lock.json');
    expect(await readJson(own)).toMatchObject({ command: 'sft', sampler: null });
    await tune(again, { lock: own });
    const weights = 'model/model.safetensors';
    expect((await bytes(again, weights)).equals(await bytes(out, weights))).toBe(true);
    expect((await rejection(tune(other, { lock: own, weight_decay: 0.5 }))).what).toContain(
      'settings.weight_decay: locked 0, here 0.5',
    );
    expect(await refused({ lock: own })).toContain('command: locked sft, here run');
  });

  it('does not bind a resume: the run goes on though its lock says otherwise by now', async () => {
    const [out, changing] = [fresh(), fresh('lock')];
    await cp(lock, changing);
    const controller = new AbortController();
    const { context } = listener((event) => event.type === 'train.step' && controller.abort(), controller.signal);
    const settings = tinySettings(game, out, { ...one, lock: changing });
    expect(await rejection(playSpin(settings, context))).toBeInstanceOf(Interrupted);
    await rm(changing);
    await resumeRun(out, listener().context);
    const weights = 'iteration-0/model/model.safetensors';
    expect((await bytes(out, weights)).equals(await bytes(first, weights))).toBe(true);
  });
});

describe('a difference from the lock is refused by name:', () => {
  const hashes = (key: string) => expect.stringMatching(new RegExp(`^${key}: locked ${SHORT}, here ${SHORT}$`));

  it('settings, sampler and seed', async () => {
    expect(await refused({ beta: 0.5, temperature: 0.7, seed: 3, limit: 8, micro_batch_tokens: 101 })).toEqual([
      'sampler.temperature: locked 1, here 0.7',
      'seed: locked 0, here 3',
      'settings.beta: locked 0.1, here 0.5',
      'settings.limit: locked none, here 8',
      'settings.micro_batch_tokens: locked 100, here 101',
    ]);
  });

  it('data, held-out data and scorer', async () => {
    const data = join(home, 'other.jsonl');
    await writeFile(data, `${await readFile(game.data, 'utf8')}\n`);
    const scorer = join(home, 'scorer.mjs');
    await writeFile(scorer, 'export default () => 1;\n');
    const none = (key: string) => expect.stringMatching(new RegExp(`^${key}: locked none, here ${SHORT}$`));
    expect(await refused({ data, eval_data: data, scorer })).toEqual([
      hashes('data.data'),
      none('data.eval_data'),
      none('data.scorer'),
    ]);
  });

  it('pairs and replayed pairs, by content; where a game enters, and not where it stops', async () => {
    const [pairs, moved, replay_pairs] = [fresh('pairs'), fresh('pairs'), fresh('pairs')];
    const lines = game.rows.map(({ question, answer }) =>
      JSON.stringify({ prompt: question, real: answer, generated: `no ${answer}` }),
    );
    await writeFile(pairs, lines.map((line) => `${line}\n`).join(''));
    await cp(pairs, moved);
    await writeFile(replay_pairs, `${lines[0]}\n`);
    const out = fresh();
    const entry = { start_iteration: 1, data: undefined, dev_size: 0, test_size: 0, pairs, replay_pairs };
    await playSpin(tinySettings(game, out, { ...one, ...entry }), listener().context);
    const own = join(out, 'lock.json');
    const found = await readJson(own);
    expect(found.data).toMatchObject({
      data: null,
      pairs: expect.stringMatching(HASH),
      replay_pairs: expect.stringMatching(HASH),
    });
    expect(JSON.stringify(found)).not.toContain(home);
    const again = fresh();
    const copied = { ...entry, pairs: moved, lock: own };
    await playSpin(tinySettings(game, again, { ...one, ...copied }), listener().context);
    expect((await bytes(again, 'lock.json')).equals(await bytes(out, 'lock.json'))).toBe(true);
    await writeFile(moved, lines.slice(1).join('\n'));
    expect(await refused(copied)).toEqual([hashes('data.pairs')]);
    const swapped = { ...entry, lock: own, pairs: replay_pairs, replay_pairs: pairs };
    expect(await refused(swapped)).toEqual([hashes('data.pairs'), hashes('data.replay_pairs')]);
    expect(await refused({ ...entry, lock: own, replay_pairs: undefined, replay: false, start_iteration: 2 })).toEqual([
      expect.stringMatching(new RegExp(`^data.replay_pairs: locked ${SHORT}, here none$`)),
      'settings.replay: locked 1, here 0',
      'settings.start_iteration: locked 1, here 2',
    ]);
    const stopped = tinySettings(game, fresh(), { ...one, lock, stop_after: 'generate' });
    expect((await playSpin(stopped, listener().context)).waiting).toBeDefined();
  });

  it('config, weights and tokenizer of the model', async () => {
    const config = await otherModel((dir) => edit(join(dir, 'config.json'), (value) => ({ ...value, note: 1 })));
    expect(await refused({ model: config })).toEqual([hashes('model.files.config.json')]);
    const weights = await otherModel(async (dir) => {
      const file = await bytes(dir, 'model.safetensors');
      file[file.length - 1]! ^= 1;
      await writeFile(join(dir, 'model.safetensors'), file);
    });
    expect(await refused({ model: weights })).toEqual([hashes('model.files.model.safetensors')]);
    const tokenizer = await otherModel(async (dir) =>
      writeFile(join(dir, 'tokenizer.json'), `${await readFile(join(dir, 'tokenizer.json'), 'utf8')} `),
    );
    expect(await refused({ model: tokenizer })).toEqual([
      hashes('model.files.tokenizer.json'),
      hashes('model.tokenizer'),
    ]);
    const end = await otherModel((dir) => writeFile(join(dir, 'generation_config.json'), '{"eos_token_id": [0]}'));
    expect(await refused({ model: end })).toEqual([
      expect.stringMatching(/^model.files.generation_config.json: locked none, here /),
      hashes('model.tokenizer'),
    ]);
  });

  it('chat template, wherever it stands', async () => {
    const { chat_template } = await readJson(join(game.model, 'tokenizer_config.json'));
    const inConfig = await otherModel((dir) =>
      edit(join(dir, 'tokenizer_config.json'), (value) => ({ ...value, chat_template: `${chat_template} ` })),
    );
    expect(await refused({ model: inConfig })).toEqual([
      hashes('model.chat_template'),
      hashes('model.files.tokenizer_config.json'),
    ]);
    const ownFile = await otherModel((dir) => writeFile(join(dir, 'chat_template.jinja'), `${chat_template}\n`));
    expect(await refused({ model: ownFile })).toEqual([
      hashes('model.chat_template'),
      expect.stringMatching(/^model.files.chat_template.jinja: locked none, here /),
    ]);
  });

  it('engine, with the reason why that matters', async () => {
    const info: Partial<EngineInfo> = { name: 'torch', version: '2.15.0', dtype: 'bf16', device: 'cuda:1', threads: 7 };
    expect(await refused({}, { info })).toEqual([
      'engine.device: locked cpu, here cuda:1',
      'engine.dtype: locked f32, here bf16',
      'engine.name: locked onnx, here torch',
      'engine.threads: locked 1, here 7',
      'engine.version: locked 1.30.0, here 2.15.0',
    ]);
  });

  it('model and driver of a GPU', async () => {
    const gpu = { model: 'NVIDIA H200', driver: '570.86.15' };
    expect(await refused({}, { info: { gpu } })).toEqual([
      'engine.gpu: locked none, here NVIDIA H200',
      'engine.gpu_driver: locked none, here 570.86.15',
    ]);
  });

  it('processor and versions', async () => {
    const other = fresh('lock');
    await cp(lock, other);
    await edit(other, (value) => ({
      ...value,
      processor: { ...value.processor, model: 'Z80' },
      versions: { node: '20.0.0', selfplay: '0.0.1' },
    }));
    expect(await refused({ lock: other })).toEqual([
      expect.stringMatching(/^processor.model: locked Z80, here /),
      `versions.node: locked 20.0.0, here ${process.versions.node}`,
      `versions.selfplay: locked 0.0.1, here ${VERSION}`,
    ]);
  });

  it('the revision only together with files, to say where they are from', async () => {
    const other = fresh('lock');
    await cp(lock, other);
    const revision = 'a'.repeat(40);
    await edit(other, (value) => ({ ...value, model: { ...value.model, revision } }));
    const config = await otherModel((dir) => edit(join(dir, 'config.json'), (value) => ({ ...value, note: 1 })));
    expect(await refused({ lock: other, model: config })).toContain(`model.revision: locked ${revision}, here none`);
    expect(await refused({ lock: other, beta: 1 })).toEqual(['settings.beta: locked 0.1, here 1']);
  });

  it('what is no lock', async () => {
    for (const text of ['{', '{}', '[]', '{"v":2}']) {
      const file = fresh('lock');
      await writeFile(file, text);
      const out = fresh();
      const error = await rejection(playSpin(tinySettings(game, out, { lock: file }), listener().context));
      expect([error.kind, error.fix, existsSync(out)], text).toEqual(['usage', 'give the lock.json of a run', false]);
      expect(error.where, text).toContain(file);
    }
    const error = await rejection(playSpin(tinySettings(game, fresh(), { lock: fresh('none') }), listener().context));
    expect([error.kind, error.what]).toEqual(['usage', expect.stringContaining('ENOENT')]);
  });

  it('weights that are not those of their files.json are damaged, lock or not', async () => {
    const dir = fresh('model');
    await cp(game.model, dir, { recursive: true });
    const file = await bytes(dir, 'model.safetensors');
    file[file.length - 1]! ^= 1;
    await writeFile(join(dir, 'model.safetensors'), file);
    const error = await rejection(playSpin(tinySettings(game, fresh(), { model: dir }), listener().context));
    expect([error.kind, error.where]).toEqual(['failure', join(dir, 'model.safetensors')]);
    expect(error.what).toContain('files.json');
  });
});

describe('compareRuns', () => {
  it('finds nothing between a run and itself', async () => {
    const { settings, lock: stoodOn, figures, notes } = await compareRuns(first, first);
    expect([settings, stoodOn, notes]).toEqual([[], [], []]);
    for (const { a, b, paired } of figures) {
      expect(a).toEqual(b);
      expect(paired).toMatchObject({ difference: 0, standardError: 0, low: 0, high: 0, n: a!.n });
    }
  });

  it('shows settings, contents and figures, paired on the rows that both tested', async () => {
    const other = fresh();
    const data = join(home, 'fewer.jsonl');
    // Fewer rows: other splits, of which some test rows are the same.
    await writeFile(
      data,
      game.rows
        .slice(4)
        .map((row) => `${JSON.stringify(row)}\n`)
        .join(''),
    );
    const changes = { ...one, data, beta: 0.5, test_size: 20, limit: 20 };
    await playSpin(tinySettings(game, other, changes), contextOf({ info: { version: '1.31.0' } }));
    const found = await compareRuns(first, other);
    expect(found.settings).toEqual([
      { key: 'beta', a: 0.1, b: 0.5 },
      { key: 'data', a: game.data, b: data },
      { key: 'limit', a: undefined, b: 20 },
      { key: 'test_size', a: 6, b: 20 },
    ]);
    expect(found.lock.map(({ key }) => key)).toEqual(['data.data', 'engine.version']);

    const before = await readResults(join(first, 'results.json'));
    const after = await readResults(join(other, 'results.json'));
    const itemsOf = ({ rows }: Results, label: string) => rows.find((row) => row.label === label)!.items;
    let shared = 0;
    for (const { label, metric, a, b, paired } of found.figures) {
      expect([a!.n, b!.n], label).toEqual([6, 20]);
      const theirs = new Map(itemsOf(after, label).map((item) => [item.id, item.scores[metric]]));
      const gaps = itemsOf(before, label).flatMap(({ id, scores }) =>
        theirs.has(id) ? [theirs.get(id)! - scores[metric]!] : [],
      );
      shared = gaps.length;
      expect(paired!.n).toBe(gaps.length);
      expect(paired!.difference).toBeCloseTo(gaps.reduce((x, y) => x + y, 0) / gaps.length, 12);
    }
    expect(shared).toBeGreaterThan(0);
    expect(shared).toBeLessThan(6);
    expect(new Set(found.figures.map(({ label }) => label))).toEqual(new Set(['SFT model', 'iteration 0']));

    const text = comparisonText(found);
    expect(text).toMatch(/^A: .*\nB: .*\n\nSettings +A +B\nbeta +0\.1 +0\.5\n/);
    expect(text).toMatch(
      /\nStood on +A +B\ndata\.data +[0-9a-f]{12} +[0-9a-f]{12}\nengine\.version +1\.30\.0 +1\.31\.0\n/,
    );
    expect(text).toMatch(new RegExp(`\\niteration 0 +nats/token +[\\d.]+ ± [\\d.]+ .*; ${shared} rows\\)\\n`));
    expect(text).toContain('\nnats/token: nats per token of the human answers, lower is better.\n');
  });

  it('says that a run went on with another engine, which its lock does not know', async () => {
    const out = fresh();
    await cp(first, out, { recursive: true });
    await edit(join(out, 'manifest.json'), (value) => ({
      ...value,
      earlier_engines: [{ ...value.engine, name: 'torch', version: '2.15.0', until: '2026-01-01T00:00:00Z' }],
    }));
    const { lock: stoodOn } = await compareRuns(first, out);
    const onnx = 'onnx 1.30.0 on cpu in f32';
    expect(stoodOn).toEqual([{ key: 'engines', a: onnx, b: `torch 2.15.0 on cpu in f32, then ${onnx}` }]);
  });

  it('warns where tokens are not the same, and takes runs without a lock', async () => {
    const [out, old] = [fresh(), fresh()];
    for (const copy of [out, old]) await cp(first, copy, { recursive: true });
    await edit(join(out, 'lock.json'), (value) => ({ ...value, model: { ...value.model, tokenizer: 'b'.repeat(64) } }));
    expect((await compareRuns(first, out)).notes).toEqual([expect.stringContaining('nats/token cannot be compared')]);
    await rm(join(old, 'lock.json'));
    const found = await compareRuns(first, old);
    expect(found.lock).toEqual([]);
    expect(found.notes).toEqual([`${old} has no lock.json: it was begun by an older selfplay.`]);
    expect(comparisonText(found)).toContain(found.notes[0]);
  });

  it('is refused where there is no run, or one without results', async () => {
    const none = await rejection(compareRuns(first, home));
    expect([none.kind, none.where]).toEqual(['usage', join(home, 'manifest.json')]);
    const out = fresh();
    await cp(first, out, { recursive: true });
    await rm(join(out, 'results.json'));
    const early = await rejection(compareRuns(out, first));
    expect([early.kind, early.what, early.where]).toEqual(['usage', 'this run has no results yet', out]);
    expect(early.fix).toContain(`selfplay resume ${out}`);
  });
});

describe('a resume', () => {
  it.each(['scorer', 'checker'] as const)('refuses a %s that has changed since the run began', async (name) => {
    const module = fresh(`${name}.mjs`).replace(/\.mjs-(\d+)$/, '-$1.mjs');
    const answer = name === 'scorer' ? '0' : 'false';
    await writeFile(module, `export default () => ${answer};\n`);
    const out = fresh();
    const controller = new AbortController();
    const { context } = listener(({ type }) => type === 'train.step' && controller.abort(), controller.signal);
    const settings = tinySettings(game, out, { ...one, [name]: module });
    expect(await rejection(playSpin(settings, context))).toBeInstanceOf(Interrupted);
    await writeFile(module, `export default () => ${answer}; // other\n`);
    const error = await rejection(resumeRun(out, listener().context));
    expect(error.kind).toBe('usage');
    expect(error.message).toMatch(
      new RegExp(
        `^the ${name} has changed since the run began \\(${SHORT}, now ${SHORT}\\)\n {2}where: .*:data.${name}\n`,
      ),
    );
    await writeFile(module, `export default () => ${answer};\n`);
    await resumeRun(out, listener().context);
  });
});
