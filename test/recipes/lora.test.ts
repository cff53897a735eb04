// Games with an adapter: what lies on disk, who the opponent is, where the adapter comes from, and that everything that takes a
// model takes an adapter.

import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hashModelDirectory, type LoadedModel, lineageOf, loadModel } from '../../src/checkpoint/index.ts';
import { type Engine, onnxEngine } from '../../src/engine/index.ts';
import type { Pair } from '../../src/pairs/index.ts';
import {
  evalSchema,
  evaluateModel,
  fineTune,
  mergeModel,
  mergeSchema,
  playSpin,
  resumeRun,
  type SpinInput,
  spinSchema,
} from '../../src/recipes/index.ts';
import { readLogProbs, readPairs } from '../../src/recipes/run/records.ts';
import { readResults, readRunLog } from '../../src/report/index.ts';
import { openScorer } from '../../src/training/index.ts';
import { hashFile } from '../../src/util/index.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings, tinySft } from './tiny-game.ts';

const BETA = 0.5;
let home: string;
let game: TinyGame;
let run: string;
let said: string[];
let engine: Engine;

/** Two passes over all pairs in one batch: the first step of an iteration sees every pair at rate 0. */
const settings = (name: string, changes: Partial<SpinInput> = {}) =>
  tinySettings(game, join(home, name), {
    ...{ beta: BETA, batch_size: 100, num_train_epochs: 8, learning_rate: 0.02, optimizer: 'adamw', lora_rank: 4 },
    ...changes,
  });
const modelOf = (t: number) => join(run, `iteration-${t}/model`);
const adapterOf = (directory: string, t: number) =>
  readFile(join(directory, `iteration-${t}/model/adapter_model.safetensors`));

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-lora-'));
  game = await makeTinyGame(home);
  run = join(home, 'run');
  const heard = listener();
  await playSpin(settings('run'), heard.context);
  said = heard.said;
  engine = await onnxEngine({ threads: 1 });
});
afterAll(async () => {
  await engine.dispose();
  await rm(home, { recursive: true, force: true });
});

/** log p of both answers of the pairs. */
async function scoresOf({ model }: LoadedModel, pairs: readonly Pair[]): Promise<Float32Array[][]> {
  const scorer = await openScorer(engine, model);
  const groups = pairs.map(({ promptIds, real, generated }) => ({
    promptIds,
    responses: [{ ids: real }, { ids: generated }],
  }));
  const scores = await scorer.score(groups, 1000);
  await scorer.dispose();
  return scores;
}
const largest = (a: readonly Float32Array[][], b: readonly Float32Array[][]) =>
  Math.max(...a.flatMap((of, i) => of.flatMap((row, j) => [...row].map((x, k) => Math.abs(x - b[i]![j]![k]!)))));

/** What lies in logprobs/ of an iteration, for pairs and roles in order. */
async function recorded(
  directory: string,
  t: number,
  pairs: readonly Pair[],
  folder?: string,
): Promise<Float32Array[][]> {
  const root = join(directory, `iteration-${t}/logprobs`);
  const sampler = (await readLogProbs(join(root, 'sampler.safetensors')))!;
  const of = folder ?? (await readdir(root)).find((name) => /^[0-9a-f]{16}$/.test(name))!;
  const scored = new Map<string, Float32Array>();
  for (const shard of await readdir(join(root, of))) {
    for (const [name, values] of (await readLogProbs(join(root, of, shard)))!) scored.set(name, values);
  }
  return pairs.map(({ id, iteration }) => [
    scored.get(`real/${iteration}/${id}/0`)!,
    scored.get(`generated/${iteration}/${id}/0`) ?? sampler.get(`${id}/0`)!,
  ]);
}

describe('a game with an adapter', () => {
  it('keeps adapters, not models: directories that PEFT reads, on the base that was given', async () => {
    for (const t of [0, 1]) {
      expect((await readdir(modelOf(t))).sort()).toEqual(
        ['adapter_config.json', 'adapter_model.safetensors', 'files.json', 'lineage.json'].sort(),
      );
      expect(JSON.parse(await readFile(join(modelOf(t), 'adapter_config.json'), 'utf8'))).toMatchObject({
        peft_type: 'LORA',
        base_model_name_or_path: game.model,
        r: 4,
        lora_alpha: 4,
        target_modules: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
      });
    }
    expect((await adapterOf(run, 0)).equals(await adapterOf(run, 1))).toBe(false);
    const { rows } = await readResults(join(run, 'results.json'));
    expect(rows.map(({ model }) => model)).toEqual([game.model, 'iteration-0/model', 'iteration-1/model']);
    expect(said.join('\n')).toMatch(/million are learned: a LoRA adapter of rank 4 on 14 layers/);
  });

  it('begins at ln 2 with margins of 0 in every iteration, and learns', async () => {
    const steps = (await readRunLog(run)).flatMap((event) => (event.type === 'train.step' ? [event] : []));
    for (const t of [0, 1]) {
      const mine = steps.filter(({ iteration }) => iteration === t);
      expect(mine[0]!.learning_rate).toBe(0);
      expect(Math.abs(mine[0]!.loss - Math.LN2)).toBeLessThan(1e-5);
      expect(Math.abs(mine[0]!['rewards/margins']!)).toBeLessThan(1e-4);
      expect(mine.at(-1)!['rewards/margins']).toBeGreaterThan(0.05);
    }
  });

  it('plays against the iteration before, never against the bare base', async () => {
    const pairs = [
      ...(await readPairs(join(run, 'iteration-1/pairs.jsonl'))),
      ...(await readPairs(join(run, 'iteration-0/pairs.jsonl'))),
    ];
    expect(new Set(pairs.map(({ iteration }) => iteration))).toEqual(new Set([0, 1]));
    const reference = await recorded(run, 1, pairs);
    const previous = await scoresOf(await loadModel(engine, modelOf(0)), pairs);
    const bare = await scoresOf(await loadModel(engine, game.model), pairs);
    expect(largest(reference, previous)).toBeLessThan(1e-4);
    // The confusion would show: base and iteration 0 are far apart here.
    expect(largest(reference, bare)).toBeGreaterThan(0.1);
    const folders = await readdir(join(run, 'iteration-1/logprobs'));
    expect(folders).toContain((await hashModelDirectory(modelOf(0))).slice(0, 16));
  });

  it('with reference_alpha mixes in the bare base, which is another thing than the opponent', async () => {
    const out = join(home, 'alpha');
    await playSpin(settings('alpha', { reference_alpha: 0.3 }), listener().context);
    const pairs = await readPairs(join(out, 'iteration-1/pairs.jsonl'));
    const bare = await scoresOf(await loadModel(engine, game.model), pairs);
    const previous = await scoresOf(await loadModel(engine, join(out, 'iteration-0/model')), pairs);
    expect(largest(await recorded(out, 1, pairs, 'base'), bare)).toBeLessThan(1e-4);
    expect(largest(await recorded(out, 1, pairs), previous)).toBeLessThan(1e-4);
    // And θ_1 was put back: iteration 1 went on from it.
    const [first] = (await readRunLog(out)).flatMap((e) => (e.type === 'train.step' && e.iteration === 1 ? [e] : []));
    expect(first!['rewards/margins']).not.toBeCloseTo(0, 3);
  });

  it('records base → iteration 0 → iteration 1 with hashes, and says so', async () => {
    const lineage = await lineageOf(modelOf(1));
    const weights = async (t: number) => (await hashFile(join(modelOf(t), 'adapter_model.safetensors'))).sha256;
    expect(lineage).toEqual([
      { what: 'base', path: game.model, sha256: await hashModelDirectory(game.model) },
      { what: 'adapter', path: modelOf(0), sha256: await weights(0) },
      { what: 'adapter', path: modelOf(1), sha256: await weights(1) },
    ]);
    const sentence = said.findLast((line) => line.startsWith('Lineage: base '))!;
    expect(sentence.split(' → ')).toHaveLength(3);
    for (const { sha256 } of lineage) expect(sentence).toContain(sha256.slice(0, 12));
  });

  it('is the same again, and resuming it finished changes nothing', async () => {
    await playSpin(settings('again'), listener().context);
    for (const t of [0, 1])
      expect((await adapterOf(join(home, 'again'), t)).equals(await adapterOf(run, t))).toBe(true);
    const before = await readFile(join(run, 'results.json'), 'utf8');
    await resumeRun(run, listener().context);
    expect(await readFile(join(run, 'results.json'), 'utf8')).toBe(before);
  });

  it('tries again from the same start when the governor rolls back', async () => {
    const changes = { iterations: 1, governor: true, max_attempts: 2, learning_rate: 3, dev_size: 20, lora_alpha: 64 };
    await playSpin(settings('rejected', changes), listener().context);
    const out = join(home, 'rejected');
    const steps = (await readRunLog(out)).flatMap((e) => (e.type === 'train.step' && e.step === 1 ? [e] : []));
    expect(steps.length).toBeGreaterThan(1);
    for (const step of steps) expect(Math.abs(step['rewards/margins']!)).toBeLessThan(1e-4);
    expect(existsSync(join(out, 'rejected/iteration-0-attempt-0/model/adapter_config.json'))).toBe(true);
  });
});

describe('an adapter directory', () => {
  it('comes from sft, goes on in a game, is measured, and is merged', async () => {
    const sft = await fineTune(
      tinySft(game, join(home, 'sft'), { lora_rank: 2, lora_rslora: true }),
      listener().context,
    );
    expect(existsSync(join(sft.best.model, 'adapter_config.json'))).toBe(true);
    const played = listener();
    await playSpin(settings('onward', { model: sft.best.model, iterations: 1, lora_rank: 0 }), played.context);
    expect(played.said.join('\n')).toMatch(/an rsLoRA adapter of rank 2/);
    const lineage = await lineageOf(join(home, 'onward/iteration-0/model'));
    expect(lineage.map(({ path }) => path)).toEqual([
      game.model,
      sft.best.model,
      join(home, 'onward/iteration-0/model'),
    ]);
    const [adapter, out] = [lineage[2]!.path, join(home, 'merged')];
    await mergeModel(mergeSchema.parse({ model: adapter, out, engine: 'onnx', threads: 1 }), listener().context);
    const figuresOf = async (model: string) => {
      const asked = evalSchema.parse({
        model,
        data: game.data,
        limit: 12,
        max_new_tokens: 6,
        engine: 'onnx',
        threads: 1,
      });
      return (await evaluateModel(asked, listener().context)).row.metrics;
    };
    const [ofAdapter, ofMerged, ofBase] = [await figuresOf(adapter), await figuresOf(out), await figuresOf(game.model)];
    expect(ofMerged['nats/token']!.mean).toBeCloseTo(ofAdapter['nats/token']!.mean, 5);
    expect(ofMerged['nats/token']!.mean).not.toBeCloseTo(ofBase['nats/token']!.mean, 3);
    await expect(
      mergeModel(mergeSchema.parse({ model: adapter, out, engine: 'onnx', threads: 1 }), listener().context),
    ).rejects.toThrow(/something in the place/);
  });

  it('takes no second adapter, and bad targets leave nothing behind', async () => {
    const play = (name: string, changes: Partial<SpinInput>) => playSpin(settings(name, changes), listener().context);
    await expect(play('second', { model: modelOf(0) })).rejects.toThrow(/is an adapter already/);
    await expect(play('tied', { lora_targets: ['lm_head'] })).rejects.toThrow(/embedding and head are one matrix/);
    expect(existsSync(join(home, 'tied'))).toBe(false);
  });
});

describe('settings of an adapter', () => {
  it.each(['lora_alpha', 'lora_dropout'])('%s without a rank is an error', (key) => {
    const result = spinSchema.safeParse({ model: 'm', data: 'd', [key]: 0.5 });
    expect(result.error!.issues[0]!.message).toBe(`${key} says how an adapter is: give lora_rank as well`);
  });
});
