// What `selfplay export` writes, read by Python: shards and casts in transformers, adapters in PEFT, with our own log-probs. SELFPLAY_PYTHON,
// else python3; without the packages they are skipped, loudly.
import { spawnSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadModel, openWholeModel, parameterTensor, saveModelDirectory } from '../../src/checkpoint/index.ts';
import { onnxEngine } from '../../src/engine/index.ts';
import { exportModel, exportSchema } from '../../src/recipes/index.ts';
import { openScorer } from '../../src/training/index.ts';
import { listener } from '../recipes/tiny-game.ts';
import { relativeError } from '../training/tiny-pairs.ts';
import { tempDir } from '../util/temp.ts';
import { logProbsOf, peftFixtures, sequences } from './peft.ts';
import { writeTinyLlama } from './tiny-llama.ts';

const python = process.env['SELFPLAY_PYTHON'] ?? 'python3';
const scripts = fileURLToPath(new URL('../../scripts/', import.meta.url));
const has = (names: string) => spawnSync(python, ['-c', `import ${names}`]).status === 0;
const transformers = has('torch, transformers');
const peft = transformers && has('peft');
if (!transformers) console.warn(`SKIPPED: ${python} has no torch and transformers; set SELFPLAY_PYTHON`);
else if (!peft) console.warn(`SKIPPED: ${python} has no peft; set SELFPLAY_PYTHON`);

/** log p of each of these ids but the first. */
async function scoresOf(dir: string, ids: readonly number[]): Promise<Float32Array> {
  const engine = await onnxEngine({ threads: 1 });
  const { model } = await loadModel(engine, dir);
  const scorer = await openScorer(engine, model);
  const group = { promptIds: Int32Array.from(ids.slice(0, 1)), responses: [{ ids: Int32Array.from(ids.slice(1)) }] };
  const [[scores]] = (await scorer.score([group], 1000)) as [[Float32Array]];
  await engine.dispose();
  return scores;
}

/** What transformers says of a directory whose log-probs must be these. */
function readByTransformers(dir: string, ids: readonly number[], logprobs: Float32Array) {
  const expected = join(dir, '../expected.json');
  writeFileSync(expected, JSON.stringify({ ids, logprobs: [...logprobs] }));
  const { status, stdout, stderr } = spawnSync(python, [join(scripts, 'check-model-directory.py'), dir, expected], {
    encoding: 'utf8',
  });
  expect(status, stderr).toBe(0);
  return JSON.parse(stdout) as object;
}

async function exported(settings: { model: string; to: 'hf' | 'peft'; dtype?: string }): Promise<string> {
  const out = join(await tempDir(), 'out');
  await exportModel(exportSchema.parse({ ...settings, out, engine: 'onnx', threads: 1 }), listener().context);
  return out;
}

describe.skipIf(!transformers)('transformers', () => {
  const ids = [5, 99, 7, 42, 250, 17, 3, 180];
  it.each(['f32', 'bf16', 'f16'])('reads a model in %s as we read it', async (dtype) => {
    const model = await writeTinyLlama(await tempDir(), { tie_word_embeddings: dtype === 'f32' });
    const out = await exported({ model, to: 'hf', dtype });
    const storedDtype = { f32: 'float32', bf16: 'bfloat16', f16: 'float16' }[dtype];
    expect(readByTransformers(out, ids, await scoresOf(out, ids))).toMatchObject({
      storedDtype,
      missing: [],
      unexpected: [],
    });
    const change = relativeError(await scoresOf(out, ids), await scoresOf(model, ids));
    expect(change === 0).toBe(dtype === 'f32');
  });

  it('reads shards', async () => {
    const model = await writeTinyLlama(await tempDir());
    const { config, weights, model: graph } = await openWholeModel(model);
    const out = join(await tempDir(), 'sharded');
    const tensors = graph.parameters.map((one) => parameterTensor(one, () => weights.read(one.name)));
    await saveModelDirectory(out, { sourceDir: model, config, tensors, shardBytes: 60_000 });
    expect(readdirSync(out).filter((name) => name.endsWith('.safetensors')).length).toBeGreaterThan(3);
    readByTransformers(out, ids, await scoresOf(model, ids));
    expect(await scoresOf(out, ids)).toEqual(await scoresOf(model, ids));
  });
});

describe.skipIf(!peft)('PEFT', () => {
  it.each(['plain', 'rslora', 'regex'])('reads the adapter "%s" on its base', async (name) => {
    const out = await exported({ model: join(peftFixtures, name), to: 'peft' });
    const [ids] = sequences.slice(-1) as [number[]];
    const { status, stdout, stderr } = spawnSync(python, [join(scripts, 'fixtures/adapters.py'), 'check', out], {
      input: JSON.stringify(ids),
      encoding: 'utf8',
    });
    expect(status, stderr).toBe(0);
    const { unused, logits } = JSON.parse(stdout) as { unused: string[]; logits: number[][] };
    expect(unused).toEqual([]);
    const theirs = Float32Array.from(logProbsOf(Float32Array.from(logits.flat()), ids.slice(1)));
    expect(relativeError(await scoresOf(out, ids), theirs)).toBeLessThan(1e-5);
    expect(relativeError(await scoresOf(join(peftFixtures, '../llama/untied/model'), ids), theirs)).toBeGreaterThan(
      1e-3,
    );
  });
});
