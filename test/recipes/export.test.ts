// `selfplay export`: what a run means, what each format holds, what a cast costs, and what is refused with nothing left behind.
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import {
  loadModel,
  openWholeModel,
  parameterTensor,
  saveModel,
  saveModelDirectory,
} from '../../src/checkpoint/index.ts';
import { onnxEngine } from '../../src/engine/index.ts';
import { readGguf, readSafetensorsHeader } from '../../src/formats/index.ts';
import { trainable } from '../../src/models/index.ts';
import {
  type ExportInput,
  exportModel,
  exportSchema,
  fineTune,
  playSpin,
  spinSchema,
} from '../../src/recipes/index.ts';
import { readResults, writeResults } from '../../src/report/index.ts';
import { cli } from '../cli/fakes.ts';
import { tempDir } from '../util/temp.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings, tinySft } from './tiny-game.ts';

let game: TinyGame;
/** Of an SFT model that a run made, on data with a name that is no plain YAML. */
let spin: string;
let lora: string;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'selfplay-test-'));
  const made = await makeTinyGame(join(folder, 'game'), 2, 1);
  const base = join(folder, 'base: "x" #1');
  await rename(made.model, base);
  game = { ...made, model: base };
  const { context } = listener();
  const sft = join(folder, 'sft');
  await fineTune(tinySft(game, sft, { num_train_epochs: 1, evaluations: 1, dev_size: 4, test_size: 3 }), context);
  spin = join(folder, "it's: a 'run'");
  const tuned = { ...game, model: join(sft, 'model') };
  const small = {
    iterations: 1,
    sample: 12,
    batch_size: 6,
    shard_size: 12,
    dev_size: 4,
    test_size: 3,
    max_new_tokens: 3,
  };
  await playSpin(tinySettings(tuned, spin, { ...small, learning_rate: 1e-4 }), context);
  await addControl(join(spin, 'results.json'), 'open');
  lora = join(folder, 'lora');
  await withAdapter(spin, lora, tuned.model);
}, 60_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A copy of a run whose iteration 0 is an adapter on its first model. */
async function withAdapter(run: string, copy: string, base: string): Promise<void> {
  await cp(run, copy, { recursive: true, verbatimSymlinks: true });
  const { comparisons: _, ...results } = await readResults(join(copy, 'results.json'));
  await writeResults(join(copy, 'results.json'), results);
  const lora = { rank: 2, alpha: 4, rankStabilized: false, dropout: 0, rankPattern: {}, alphaPattern: {} };
  const engine = await onnxEngine({ threads: 1 });
  const loaded = await loadModel(engine, base, { lora: { ...lora, targets: ['q_proj', 'up_proj'] }, seed: 1 });
  const { model } = loaded;
  for (const { name } of trainable(model)) {
    await engine.writeState(
      name,
      (await engine.readState(name)).map((_, i) => 0.1 * Math.sin(i)),
    );
  }
  await saveModel(engine, loaded, join(copy, 'iteration-0/model'));
  await engine.dispose();
}

/** Puts a control into a table that has none, and how the game did against it. */
async function addControl(table: string, verdict: 'open' | 'worse' | 'better'): Promise<void> {
  const { rows, ...results } = await readResults(table);
  const [start, played] = rows;
  const control = { ...start!, label: 'SFT continued, equal steps', against: start!.label };
  const figures = { difference: 0.01, standardError: 0.1, low: -0.2, high: 0.3, n: 3 };
  const comparison = { metric: 'nats/token', of: played!.label, against: control.label, verdict, ...figures };
  await writeResults(table, { ...results, rows: [start!, played!, control], comparisons: [comparison] });
}

async function exported(input: Omit<ExportInput, 'out'>, out?: string) {
  const place = out ?? join(await tempDir(), 'out');
  const { context, said } = listener();
  const settings = exportSchema.parse({ engine: 'onnx', threads: 1, ...input, out: place });
  return { out: place, said, outcome: await exportModel(settings, context) };
}

async function weightsOf(dir: string) {
  const { model, weights } = await openWholeModel(dir);
  return new Map(
    await Promise.all(model.parameters.map(async ({ name }) => [name, await weights.read(name)] as const)),
  );
}

const cardOf = (dir: string) => readFile(join(dir, 'README.md'), 'utf8');
const frontOf = (card: string) => parse(/^---\n([\s\S]+?)\n---\n/.exec(card)![1]!) as Record<string, unknown>;

describe('hf', () => {
  it('is the model of the run, to the bit, with a card', async () => {
    const { out, said, outcome } = await exported({ model: `${spin}@0`, to: 'hf' });
    expect(said).toEqual([]);
    expect(outcome).toMatchObject({ model: 'iteration 0', cast: null });
    expect(await weightsOf(out)).toEqual(await weightsOf(join(spin, 'iteration-0/model')));
    // Tied: the head is the embedding, and there once.
    const { tensors } = await readSafetensorsHeader(join(out, 'model.safetensors'));
    expect([...tensors.keys()].filter((name) => /embed|head/.test(name))).toEqual(['model.embed_tokens.weight']);
    for (const file of ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'lock.json', 'files.json']) {
      expect(await readdir(out)).toContain(file);
    }
    const card = await cardOf(out);
    expect(frontOf(card)).toEqual({
      base_model: 'base: "x" #1',
      library_name: 'transformers',
      pipeline_tag: 'text-generation',
      tags: ['selfplay', 'spin', 'self-play'],
    });
    expect(card).toContain(
      '**There is no evidence that it is better than its best control.** nats/token, iteration 0 minus',
    );
    expect(card).toContain('(-0.200 to +0.300; 3 rows)');
    const lineage = card.split('## Lineage')[1]!.split('##')[0]!;
    expect(lineage).toMatch(
      /1\. base model: `base: "x" #1`, sha256.+\n2\. SFT model: `sft`, sha256.+\n3\. iteration 0: /,
    );
    expect(card).toContain('| SFT continued, equal steps | ');
    // The settings are a config file.
    const settings = parse(/```yaml\n([\s\S]+?)```/.exec(card)![1]!) as object;
    expect(spinSchema.parse({ ...settings, model: 'x', data: 'y' })).toMatchObject({ learning_rate: 1e-4, sample: 12 });
    expect(card).toContain('--model sft --data data.jsonl');
    expect(card).not.toContain(folder);
  });

  it('in bf16 says what that costs before it writes, and in the card', async () => {
    const { out, said, outcome } = await exported({ model: `${spin}@0`, to: 'hf', dtype: 'bf16' });
    const [first, second] = said.slice(-2);
    expect(first).toMatch(
      /^In bf16 the log-probs of held-out answers change by \S+ nats per token on average, and by \S+ at most \(4 dev rows, \d+ tokens\)\.$/,
    );
    expect(second).toMatch(
      /^Of the [\d,]+ weights that differ from the SFT model, \d+\.\d % are equal to it again in bf16/,
    );
    const { logProbs, updates } = outcome.cast!;
    expect(logProbs!.mean).toBeGreaterThan(0);
    expect(logProbs!.largest).toBeGreaterThan(logProbs!.mean);
    expect(updates!.swallowed).toBeGreaterThan(0);
    expect(updates!.swallowed).toBeLessThan(updates!.changed);
    expect(await cardOf(out)).toContain(`${first} ${second}`);
    expect(JSON.parse(await readFile(join(out, 'config.json'), 'utf8'))).toMatchObject({ dtype: 'bfloat16' });
    const { tensors } = await readSafetensorsHeader(join(out, 'model.safetensors'));
    expect([...tensors.values()].every(({ dtype }) => dtype === 'BF16')).toBe(true);
    // What was measured is what is read.
    const { said: again } = await exported({ model: out, to: 'hf', dtype: 'bf16', data: game.data, limit: 5 });
    expect(again.at(-1)).toMatch(/change by 0 nats per token on average, and by 0 at most \(5 rows of data\.jsonl/);
  });

  it('of a model alone is measured on --data, or not at all', async () => {
    const model = join(spin, 'iteration-0/model');
    const { said } = await exported({ model, to: 'hf', dtype: 'f16' });
    expect(said).toEqual([
      expect.stringContaining('was not measured: a model alone has no held-out rows; --data FILE'),
    ]);
    const moved = `${game.data}.away`;
    await rename(game.data, moved);
    const without = await exported({ model: `${spin}@sft`, to: 'hf', dtype: 'f16' });
    await rename(moved, game.data);
    expect(without.said).toEqual([expect.stringContaining('the rows of the run cannot be read')]);
  });

  it('mixed is (1 − m)·SFT + m·iteration', async () => {
    const { out } = await exported({ model: `${spin}@0`, to: 'hf', mix: 0.25 });
    const [mixed, sft, iteration] = await Promise.all(
      [out, join(folder, 'sft/model'), join(spin, 'iteration-0/model')].map(weightsOf),
    );
    let moved = 0;
    for (const [name, values] of mixed!) {
      const [from, to] = [sft!.get(name)!, iteration!.get(name)!];
      expect(values).toEqual(from.map((x, i) => Math.fround(0.75 * x + 0.25 * to[i]!)));
      moved += from.filter((x, i) => x !== to[i]).length;
    }
    expect(moved).toBeGreaterThan(0);
    expect(await cardOf(out)).toContain('θ = 0.75·(SFT model) + 0.25·(iteration 0)');
    expect(await weightsOf((await exported({ model: `${spin}@0`, to: 'hf', mix: 0 })).out)).toEqual(sft);
  });

  it('has a card that is honest where there are no controls, or worse ones', async () => {
    expect(await cardOf((await exported({ model: `${lora}@0`, to: 'peft' })).out)).toContain(
      '**It was not compared with controls**',
    );
    await addControl(join(spin, 'results.json'), 'worse');
    const worse = await exported({ model: `${spin}@0`, to: 'hf' });
    expect(await cardOf(worse.out)).toContain('**It did worse than its best control.**');
  });

  it('states the licence of the base where the base does', async () => {
    const model = join(spin, 'iteration-0/model');
    await writeFile(join(game.model, 'README.md'), '---\nlicense: "apache-2.0"\ntags: [x]\n---\n');
    const { license } = frontOf(await cardOf((await exported({ model: spin, to: 'hf' })).out));
    expect(license).toBe('apache-2.0');
    await writeFile(join(game.model, 'README.md'), '---\nlicense: [\n---\n');
    expect(frontOf(await cardOf((await exported({ model, to: 'hf' })).out))).not.toHaveProperty('license');
  });
});

describe('adapters', () => {
  it('are written as PEFT has them, or merged', async () => {
    const dir = join(lora, 'iteration-0/model');
    const { out, said } = await exported({ model: `${lora}@0`, to: 'peft' });
    expect(said).toEqual([expect.stringContaining(`names its base by its place here, ${join(folder, 'sft/model')}`)]);
    const bytes = (of: string) => readFile(join(of, 'adapter_model.safetensors'));
    expect(await bytes(out)).toEqual(await bytes(dir));
    expect(JSON.parse(await readFile(join(out, 'adapter_config.json'), 'utf8'))).toMatchObject({
      base_model_name_or_path: join(folder, 'sft/model'),
      peft_type: 'LORA',
    });
    const card = await cardOf(out);
    expect(frontOf(card)).toMatchObject({ library_name: 'peft', tags: ['selfplay', 'spin', 'self-play', 'lora'] });

    const merged = await exported({ model: `${lora}@0`, to: 'hf' });
    expect(merged.said.at(-1)).toMatch(/^Merged \d+ layers\. At \d+ positions no logit differs/);
    expect(await weightsOf(merged.out)).not.toEqual(await weightsOf(join(folder, 'sft/model')));
    expect((await readdir(join(merged.out, '..'))).filter((name) => name.includes('selfplay-tmp'))).toEqual([]);
  });

  it('of PEFT are none where a whole model was trained', async () => {
    const none = exported({ model: spin, to: 'peft' });
    await expect(none).rejects.toThrow(/is a whole model, no adapter[\s\S]+fix: export it with --to hf/);
  });
});

describe('gguf and ollama', () => {
  it('hold the best model, and Ollama’s files beside it', async () => {
    const parent = await tempDir();
    const file = join(parent, 'best.gguf');
    const { stderr, status } = await cli([
      'export',
      spin,
      '--to',
      'gguf',
      '--dtype',
      'q8_0',
      '--out',
      file,
      '--engine',
      'onnx',
    ]);
    expect([status, stderr]).toEqual([0, expect.stringContaining(`is in ${file} as q8_0, 0.`)]);
    expect(stderr).toMatch(/In q8_0 the log-probs of held-out answers change by/);
    expect(stderr).toMatch(/tensors stay f32: their rows are not whole q8_0 blocks/);
    const { out } = await exported({ model: spin, to: 'ollama', dtype: 'bf16' });
    expect((await readdir(out)).sort()).toEqual(['Modelfile', 'README.md', 'files.json', 'lock.json', 'model.gguf']);
    expect(await readFile(join(out, 'Modelfile'), 'utf8')).toContain('<|user|>{{ $m.Content }}<|end|>');
    const { metadata, tensors } = await readGguf(join(out, 'model.gguf'));
    expect(metadata.get('tokenizer.ggml.add_bos_token')).toBe(false);
    expect(tensors.get('blk.0.ffn_up.weight')?.type).toBe('BF16');
  });
});

describe('what is refused', () => {
  const usage = (what: string) => [2, expect.stringContaining(what)];
  const bad = async (args: string[]) => {
    const parent = await tempDir();
    const { status, stderr } = await cli(['export', ...args, '--out', join(parent, 'out')]);
    expect(await readdir(parent)).toEqual([]);
    return [status, stderr];
  };

  it('says what, where and the fix, and leaves nothing', async () => {
    const hf = ['--to', 'hf'];
    expect(await bad([`${spin}@7`, ...hf])).toEqual(
      usage('there is no model "7" in this run, which has: SFT model, iteration 0'),
    );
    expect(await bad([join(folder, 'nowhere'), ...hf])).toEqual(usage('there is no such model'));
    expect(await bad([`${join(folder, 'sft/model')}@1`, ...hf])).toEqual(usage('this is a model alone'));
    expect(await bad([spin, ...hf, '--dtype', 'q4_0'])).toEqual(usage('dtype q4_0 is none of hf'));
    expect(await bad([spin, '--to', 'peft', '--dtype', 'bf16'])).toEqual(usage('dtype bf16 is none of peft'));
    expect(await bad([spin, '--to', 'onnx'])).toEqual(usage('one of hf, gguf, peft, ollama'));
    expect(await bad([spin, ...hf, '--mix', '1.5'])).toEqual(usage('--mix'));
    expect(await bad([`${spin}@0`, '--to', 'peft', '--mix', '0.5'])).toEqual(usage('an adapter cannot hold them'));
    expect(await bad([game.model, ...hf, '--mix', '0.5'])).toEqual(usage('this is a model alone'));
    expect(await bad([`${spin}@sft`, ...hf, '--mix', '0.5'])).toEqual(usage('this is the SFT model'));
    expect(await bad([spin, ...hf, '--dtype', 'bf16', '--data', join(folder, 'none.jsonl')])).toEqual(
      usage('none.jsonl'),
    );
    expect((await cli(['export', spin, '--to', 'hf'])).status).toBe(2);
  });

  it('is a place that is taken, or not there', async () => {
    const parent = await tempDir();
    await mkdir(join(parent, 'taken'));
    await expect(exported({ model: spin, to: 'hf' }, join(parent, 'taken'))).rejects.toThrow(
      'something in this place already',
    );
    await expect(exported({ model: spin, to: 'hf' }, join(parent, 'no/parent'))).rejects.toThrow('cannot write here');
    expect(await readdir(join(parent, 'taken'))).toEqual([]);
  });

  it('is a weight that the type cannot hold: nothing is left of the directory or the merged model', async () => {
    const parent = await tempDir();
    const model = join(parent, 'model');
    const whole = await openWholeModel(join(folder, 'sft/model'));
    await saveModelDirectory(model, {
      sourceDir: whole.dir,
      config: whole.config,
      tensors: whole.model.parameters.map((parameter) =>
        parameterTensor(parameter, async () => (await whole.weights.read(parameter.name)).fill(1e6)),
      ),
    });
    await expect(exported({ model, to: 'hf', dtype: 'f16' }, join(parent, 'out'))).rejects.toThrow('F16 cannot hold');
    await expect(exported({ model, to: 'ollama', dtype: 'f16' }, join(parent, 'out'))).rejects.toThrow(
      'F16 cannot hold',
    );
    expect(await readdir(parent)).toEqual(['model']);
  });
});
