// Trainer state: bit-exact return, damage, newest verified, dropping under crashes.

import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  checkpointName,
  dropOlder,
  loadTrainerState,
  newestVerified,
  saveTrainerState,
} from '../../src/checkpoint/index.ts';
import { readTensorF32, readTensorI32 } from '../../src/formats/index.ts';
import { removeStaleTemps } from '../../src/util/index.ts';
import { faultyIo } from '../util/faulty-io.ts';
import { tempDir } from '../util/temp.ts';

const stateOf = (step: number) => ({
  state: { step, rng: [1, 2], note: 'é' },
  tensors: [
    { name: 'm', dtype: 'F32' as const, shape: [2, 2], data: new Float32Array([step, -0, Number.NaN, 1e-45]) },
    { name: 'order', dtype: 'I32' as const, shape: [1], data: new Int32Array([step]) },
  ],
});

async function saveSteps(parent: string, steps: number[]): Promise<void> {
  for (const step of steps) await saveTrainerState(join(parent, checkpointName('step', step)), stateOf(step));
}

async function damage(parent: string, step: number): Promise<void> {
  const file = join(parent, checkpointName('step', step), 'tensors.safetensors');
  const bytes = await readFile(file);
  bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
  await writeFile(file, bytes);
}

describe('trainer state', () => {
  it('comes back bit for bit', async () => {
    const parent = await tempDir();
    await saveSteps(parent, [7]);
    const { state, tensors } = await loadTrainerState(join(parent, 'step-000007'));
    expect(state).toEqual({ step: 7, rng: [1, 2], note: 'é' });
    const bits = (values: Float32Array) => [...new Uint32Array(values.buffer)];
    expect(bits(await readTensorF32(tensors.get('m')!))).toEqual(bits(new Float32Array([7, -0, Number.NaN, 1e-45])));
    expect([...(await readTensorI32(tensors.get('order')!))]).toEqual([7]);
  });

  it('is refused when damaged, incomplete or of another schema', async () => {
    const parent = await tempDir();
    await saveSteps(parent, [1, 2, 3]);
    await damage(parent, 1);
    await expect(loadTrainerState(join(parent, 'step-000001'))).rejects.toThrow('damaged file');
    await rm(join(parent, 'step-000002/state.json'));
    await expect(loadTrainerState(join(parent, 'step-000002'))).rejects.toThrow('missing');
    await expect(loadTrainerState(join(parent, 'step-000009'))).rejects.toThrow('not a complete saved directory');
  });
});

describe('newestVerified', () => {
  it('takes the highest number that verifies and reports the damaged ones', async () => {
    const parent = await tempDir();
    expect(await newestVerified(parent, 'step')).toBeUndefined();
    await saveSteps(parent, [2, 10, 1_000_001]);
    await mkdir(join(parent, 'step-9999999x'));
    await mkdir(join(parent, 'steps-999999999'));
    await writeFile(join(parent, 'step-999999999'), 'a file');
    expect(await newestVerified(parent, 'step')).toEqual({
      path: join(parent, 'step-1000001'),
      number: 1_000_001,
      skipped: [],
    });
    await damage(parent, 1_000_001);
    await mkdir(join(parent, 'step-2000000'));
    const found = await newestVerified(parent, 'step');
    expect(found).toMatchObject({ path: join(parent, 'step-000010'), number: 10 });
    expect(found?.skipped.map(({ path }) => path)).toEqual([
      join(parent, 'step-2000000'),
      join(parent, 'step-1000001'),
    ]);
    expect(found?.skipped[1]?.reason).toContain('SHA-256 differs');
  });
});

describe('dropOlder', () => {
  it('keeps the newest that verifies and removes nothing when none does', async () => {
    const parent = await tempDir();
    await saveSteps(parent, [1, 2, 3]);
    await damage(parent, 3);
    await mkdir(join(parent, 'other-000001'));
    expect((await dropOlder(parent, 'step'))?.number).toBe(2);
    expect((await readdir(parent)).sort()).toEqual(['other-000001', 'step-000002']);
    await damage(parent, 2);
    expect(await dropOlder(parent, 'step')).toBeUndefined();
    expect((await readdir(parent)).sort()).toEqual(['other-000001', 'step-000002']);
  });

  it('never leaves the run without a valid checkpoint, whichever operation of save and drop fails', async () => {
    const parent = await tempDir();
    for (let n = 1; ; n++) {
      for (const name of await readdir(parent)) await rm(join(parent, name), { recursive: true });
      await saveSteps(parent, [1]);
      const { io, failed } = faultyIo(n, { crash: true });
      const outcome = await saveTrainerState(join(parent, checkpointName('step', 2)), stateOf(2), io)
        .then(() => dropOlder(parent, 'step', io))
        .catch(() => undefined);
      await removeStaleTemps(parent);
      const newest = await newestVerified(parent, 'step');
      expect(newest?.number).toBeGreaterThanOrEqual(1);
      expect((await loadTrainerState(newest?.path as string)).state).toMatchObject({ step: newest?.number });
      if (failed()) continue;
      expect(outcome?.number).toBe(2);
      expect(await readdir(parent)).toEqual(['step-000002']);
      break;
    }
  });
});
