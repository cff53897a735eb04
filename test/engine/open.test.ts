// Opening an engine by settings: what the choice sees of this machine, and what is refused before anything opens.
import { afterEach, describe, expect, it, vi } from 'vitest';
import { engineFacts, openEngine } from '../../src/engine/index.ts';
import { tempDir } from '../util/temp.ts';

afterEach(() => vi.unstubAllEnvs());

/** An environment without any torch. */
async function withoutTorch(): Promise<void> {
  vi.stubEnv('SELFPLAY_CACHE', await tempDir());
  for (const name of ['SELFPLAY_TORCH', 'VIRTUAL_ENV', 'CONDA_PREFIX']) vi.stubEnv(name, '');
}

describe('openEngine', () => {
  it('opens onnx where there is no torch', async () => {
    await withoutTorch();
    const { engine, choice } = await openEngine({ engine: 'auto', device: 'auto', dtype: 'auto', threads: 1 });
    expect(engine.info).toMatchObject({ name: 'onnx', device: 'cpu', dtype: 'f32', threads: 1 });
    expect(choice).toEqual({ engine: 'onnx', device: 'cpu', dtype: 'f32', reasons: ['no torch is here'] });
    await engine.dispose();
    await expect(openEngine({ engine: 'torch', device: 'auto', dtype: 'auto' })).rejects.toMatchObject({
      kind: 'usage',
      fix: expect.stringContaining('selfplay engine install torch') as string,
    });
  });

  it('looks for torch only where it may be chosen', async () => {
    await withoutTorch();
    vi.stubEnv('SELFPLAY_TORCH', await tempDir());
    await expect(openEngine({ engine: 'auto', device: 'auto', dtype: 'auto' })).rejects.toThrow('SELFPLAY_TORCH names');
    const { facts, library } = await engineFacts({ engine: 'onnx', device: 'auto' });
    expect(library).toBeUndefined();
    expect(facts.torch).toBeUndefined();
  });
});
