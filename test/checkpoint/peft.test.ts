// Adapter directories: PEFT's own, what is refused, whose base it is, and merging.
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  demandBase,
  hashModelDirectory,
  lineageOf,
  loadModel,
  MERGE_TOLERANCE,
  mergeAdapter,
  saveModel,
} from '../../src/checkpoint/index.ts';
import { type Engine, onnxEngine } from '../../src/engine/index.ts';
import { openScorer } from '../../src/training/index.ts';
import { tempDir } from '../util/temp.ts';
import { peftFixtures, peftSuite, sequences } from './peft.ts';

peftSuite('onnx', () => onnxEngine({ threads: 1 }));

const base = join(peftFixtures, '../llama/untied/model');
let engine: Engine;
beforeAll(async () => {
  engine = await onnxEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

/** A copy of base and adapter in a place of their own, with another adapter_config.json. */
async function copied(changes: object = {}, variant = 'plain') {
  const home = await tempDir();
  const dir = join(home, 'adapter');
  cpSync(base, join(home, 'model'), { recursive: true });
  cpSync(join(peftFixtures, variant), dir, { recursive: true });
  const file = join(dir, 'adapter_config.json');
  const config = { ...JSON.parse(readFileSync(file, 'utf8')), base_model_name_or_path: '../model', ...changes };
  writeFileSync(file, JSON.stringify(config));
  return { home, dir };
}

describe('an adapter directory', () => {
  it('may say how the base is stored (fan_in_fan_out), which PEFT sets itself by the kind of the layer', async () => {
    const { dir } = await copied({ fan_in_fan_out: true });
    await expect(loadModel(engine, dir)).resolves.toBeDefined();
  });

  it.each([
    ['use_dora', true],
    ['bias', 'lora_only'],
    ['modules_to_save', ['lm_head']],
    ['peft_type', 'IA3'],
    ['layers_to_transform', [0]],
    ['init_lora_weights', 'pissa'],
    ['trainable_token_indices', [3]],
    ['exclude_modules', ['k_proj']],
    ['use_something_new', { a: 1 }],
    ['r', 0],
    ['lora_dropout', 1],
    ['target_modules', null],
  ])('with %s %j is refused by the name of the key', async (key, value) => {
    const { dir } = await copied({ [key]: value });
    const named = new RegExp(`cannot use the adapter:\\n  ${key}: is .*adapter_config\\.json`, 's');
    await expect(loadModel(engine, dir)).rejects.toThrow(named);
  });

  it('whose base is not here, or an adapter itself, says what to do', async () => {
    const { dir } = await copied({ base_model_name_or_path: 'somebody/some-model' });
    await expect(loadModel(engine, dir)).rejects.toThrow(/base model of the adapter is not here: somebody\/some-model/);
    const { dir: other } = await copied({ base_model_name_or_path: dir });
    await expect(loadModel(engine, other)).rejects.toThrow(/is an adapter itself/);
  });

  it('with other tensors than its config says is refused', async () => {
    const { dir } = await copied({ r: 5 });
    await expect(loadModel(engine, dir)).rejects.toThrow(/do not fit adapter_config\.json.*misshaped: .*lora_A/s);
  });

  it('is no place for a second adapter', async () => {
    const { lora } = (await loadModel(engine, join(peftFixtures, 'plain'))).adapter!;
    const again = loadModel(engine, join(peftFixtures, 'plain'), { lora, seed: 0 });
    await expect(again).rejects.toThrow(/is an adapter already/);
  });

  it('has an identity that covers its base, and not the place of either', async () => {
    const one = await copied();
    const identity = await hashModelDirectory(one.dir);
    expect(await hashModelDirectory((await copied()).dir)).toBe(identity);
    expect(await hashModelDirectory((await copied({ lora_alpha: 7 })).dir)).not.toBe(identity);
    const config = join(one.home, 'model/config.json');
    writeFileSync(config, readFileSync(config, 'utf8').replace('10000.0', '20000.0'));
    expect(await hashModelDirectory(one.dir)).not.toBe(identity);
  });

  it('names its ancestors, and is refused on another base than its own', async () => {
    const { home, dir } = await copied();
    const [first, second] = [join(home, 'first'), join(home, 'second')];
    await saveModel(engine, await loadModel(engine, dir), first);
    await saveModel(engine, await loadModel(engine, first), second);
    const lineage = await lineageOf(second);
    expect(lineage.map(({ what, path }) => [what, path])).toEqual([
      ['base', join(home, 'model')],
      ['adapter', dir],
      ['adapter', first],
      ['adapter', second],
    ]);
    expect(lineage[0]!.sha256).toBe(await hashModelDirectory(join(home, 'model')));
    await demandBase(second);
    const config = join(home, 'model/config.json');
    writeFileSync(config, readFileSync(config, 'utf8').replace('10000.0', '20000.0'));
    await expect(demandBase(second)).rejects.toThrow(/was trained on another base/);
  });
});

describe('merging', () => {
  it.each(['plain', 'rslora', 'regex'])('"%s" gives a whole model with the same log-probs', async (variant) => {
    const { home, dir } = await copied({}, variant);
    const out = join(home, 'merged');
    const { layers, difference, largest } = await mergeAdapter(engine, dir, out);
    expect(layers).toBeGreaterThan(0);
    expect(difference).toBeLessThanOrEqual(MERGE_TOLERANCE * largest);
    expect(existsSync(join(out, 'adapter_config.json'))).toBe(false);
    const logProbs = async (of: string) => {
      const loaded = await loadModel(engine, of);
      const scorer = await openScorer(engine, loaded.model);
      const groups = sequences.map((ids) => ({
        promptIds: Int32Array.from(ids.slice(0, 1)),
        responses: [{ ids: Int32Array.from(ids.slice(1)) }],
      }));
      const scores = (await scorer.score(groups, 1000)).flatMap(([one]) => [...one!]);
      await scorer.dispose();
      return scores;
    };
    const [whole, adapted, plain] = [await logProbs(out), await logProbs(dir), await logProbs(base)];
    const apart = (a: number[], b: number[]) => Math.max(...a.map((x, i) => Math.abs(x - b[i]!)));
    expect(apart(whole, adapted)).toBeLessThan(1e-4);
    expect(apart(whole, plain)).toBeGreaterThan(0.1);
  });

  it('that comes out wrong leaves nothing behind', async () => {
    const { home, dir } = await copied();
    const name = 'model.layers.0.mlp.up_proj.weight';
    let writes = 0;
    // The second time that this weight is written it is that of the merged model.
    const clumsy: Engine = {
      ...engine,
      writeState: (state, data) => {
        if (state === name && ++writes === 2) data[5]! += 1;
        return engine.writeState(state, data);
      },
    };
    await expect(mergeAdapter(clumsy, dir, join(home, 'merged'))).rejects.toThrow(/merged model is not the adapter's/);
    expect(readdirSync(home).sort()).toEqual(['adapter', 'model']);
  });

  it('of a whole model is refused', async () => {
    await expect(mergeAdapter(engine, base, join(await tempDir(), 'out'))).rejects.toThrow(/nothing to merge/);
  });
});
