// Adapters on the torch engine, and PEFT itself reading what we write. PEFT needs a Python with peft, torch and transformers:
// SELFPLAY_PYTHON, else python3; without them it skips, loudly.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadModel, saveModel } from '../../src/checkpoint/index.ts';
import { type Engine, onnxEngine } from '../../src/engine/index.ts';
import { openScorer } from '../../src/training/index.ts';
import { torchForTests } from '../engine/torchForTests.ts';
import { relativeError } from '../training/tiny-pairs.ts';
import { tempDir } from '../util/temp.ts';
import { logProbsOf, peftFixtures, peftSuite, sequences } from './peft.ts';

const python = process.env['SELFPLAY_PYTHON'] ?? 'python3';
const script = fileURLToPath(new URL('../../scripts/fixtures/adapters.py', import.meta.url));
const torch = await torchForTests('adapters on the torch engine');
const base = join(peftFixtures, '../llama/untied/model');

async function scoresOf(engine: Engine, dir: string, ids: readonly number[], lowest = true): Promise<Float32Array> {
  // With the weights in f32 beside their copies, as a model is held that is learned as a whole.
  const full: Engine = { ...engine, createState: (name, shape) => engine.createState(name, shape) };
  const { model } = await loadModel(lowest ? engine : full, dir);
  const scorer = await openScorer(engine, model);
  const group = { promptIds: Int32Array.from(ids.slice(0, 1)), responses: [{ ids: Int32Array.from(ids.slice(1)) }] };
  const [[scores]] = (await scorer.score([group], 1000)) as [[Float32Array]];
  await scorer.dispose();
  return scores;
}

describe.skipIf(!torch)('with torch', () => {
  peftSuite('torch', () => torch!('f32'));

  it('in bf16 holds frozen layers in bf16 alone, with the same log-probs to the bit', async () => {
    const engine = await torch!('bf16');
    const exact = await onnxEngine({ threads: 1 });
    const dir = join(peftFixtures, 'rslora');
    const [ids] = sequences.slice(-1);
    const [alone, beside] = [await scoresOf(engine, dir, ids!), await scoresOf(engine, dir, ids!, false)];
    expect(alone).toEqual(beside);
    await loadModel(engine, dir);
    await loadModel(exact, dir);
    const rounded = (x: number) => {
      const bits = new Uint32Array(Float32Array.of(x).buffer);
      return (bits[0]! & 0xffff) === 0;
    };
    const layer = 'model.layers.0.mlp.up_proj.weight';
    const others = ['model.embed_tokens.weight', 'model.norm.weight', 'model.layers.0.mlp.up_proj.lora_A.weight'];
    expect((await engine.readState(layer)).every(rounded)).toBe(true);
    for (const name of others) expect(await engine.readState(name), name).toEqual(await exact.readState(name));
    await engine.dispose();
    await exact.dispose();
  });
});

it('PEFT reads what we write, with the same log-probs', async () => {
  const to = join(await tempDir(), 'adapter');
  const engine = await onnxEngine({ threads: 1 });
  try {
    const lora = { rank: 3, alpha: 5, rankStabilized: true, dropout: 0.1, rankPattern: {}, alphaPattern: {} };
    const loaded = await loadModel(engine, base, { lora: { ...lora, targets: ['q_proj', 'layers.1.mlp.*'] }, seed: 3 });
    const up = 'model.layers.1.mlp.up_proj.lora_B.weight';
    await engine.writeState(
      up,
      (await engine.readState(up)).map((_, i) => Math.sin(i)),
    );
    await saveModel(engine, loaded, to);
    for (const ids of sequences) {
      const run = spawnSync(python, [script, 'check', to], { input: JSON.stringify(ids), encoding: 'utf8' });
      if (/No module named '(peft|torch|transformers)'/.test(run.stderr) || run.status === null) {
        console.warn(`SKIPPED: ${python} has no peft; set SELFPLAY_PYTHON`);
        return;
      }
      expect(run.status, run.stderr).toBe(0);
      const { unused, logits } = JSON.parse(run.stdout) as { unused: string[]; logits: number[][] };
      expect(unused).toEqual([]);
      const theirs = Float32Array.from(logProbsOf(Float32Array.from(logits.flat()), ids.slice(1)));
      expect(relativeError(await scoresOf(engine, to, ids), theirs)).toBeLessThan(1e-5);
      expect(relativeError(await scoresOf(engine, base, ids), theirs)).toBeGreaterThan(1e-3);
    }
  } finally {
    await engine.dispose();
  }
});
