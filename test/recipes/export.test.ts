// `selfplay export`: what a run means, what is refused, and what the command says.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readGguf } from '../../src/formats/index.ts';
import { exportModel } from '../../src/recipes/index.ts';
import { linkDirectory } from '../../src/util/index.ts';
import { writeTinyLlama } from '../checkpoint/tiny-llama.ts';
import { cli } from '../cli/fakes.ts';
import { tempDir } from '../util/temp.ts';

const context = { say: () => undefined };

/** A folder laid out as a run whose iteration 1 is the best. */
async function run(): Promise<string> {
  const run = join(await tempDir(), 'run');
  for (const t of [0, 1]) await mkdir(join(run, `iteration-${t}`), { recursive: true });
  const best = await writeTinyLlama(join(run, 'iteration-1'));
  await linkDirectory(join(run, 'best'), best);
  return run;
}

describe('selfplay export', () => {
  it('writes the best model of a run, or that of an iteration', async () => {
    const model = await run();
    const out = join(await tempDir(), 'best.gguf');
    const { stderr, status } = await cli(['export', model, '--to', 'gguf', '--dtype', 'q8_0', '--out', out]);
    expect([status, stderr]).toEqual([0, expect.stringContaining(`is in ${out} as q8_0, 0.`)]);
    expect((await readGguf(out)).tensors.get('blk.1.ffn_up.weight')?.type).toBe('Q8_0');
    const again = `${out}.1`;
    await exportModel({ model: `${model}@1`, to: 'gguf', dtype: 'q8_0', out: again }, context);
    expect((await readGguf(again)).tensors).toEqual((await readGguf(out)).tensors);
    const none = exportModel({ model: `${model}@0`, to: 'gguf', dtype: 'f32', out: `${out}.0` }, context);
    await expect(none).rejects.toThrow('the run has no model of iteration 0');
  });

  it('refuses another dtype, an adapter, and a place that is taken', async () => {
    const folder = await tempDir();
    const [out, taken, adapter] = ['x.gguf', 'taken.gguf', 'adapter'].map((name) => join(folder, name));
    await writeFile(taken!, 'x');
    await mkdir(adapter!);
    await writeFile(join(adapter!, 'adapter_config.json'), '{}');
    const model = await writeTinyLlama(folder);
    const settings = { model, to: 'gguf', dtype: 'f16', out: out! } as const;
    await expect(exportModel({ ...settings, dtype: 'q5_0' }, context)).rejects.toThrow(
      '"q5_0" is no dtype of gguf files',
    );
    await expect(exportModel({ ...settings, out: taken! }, context)).rejects.toThrow('in the place of the file');
    await expect(exportModel({ ...settings, model: adapter! }, context)).rejects.toThrow('selfplay merge');
    await expect(readFile(out!)).rejects.toThrow('ENOENT');
    expect((await cli(['export', model, '--out', out!])).status).toBe(2);
  });
});
