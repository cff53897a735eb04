import { tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { type EngineFacts, installSize } from '../../src/engine/index.ts';
import { combinationsOn, type Diagnosis, diagnosisText, hintsOn } from '../../src/recipes/doctor.ts';
import { tempDir } from '../util/temp.ts';
import { cli } from './fakes.ts';

const onnx = {
  engine: 'onnx',
  device: 'cpu',
  dtype: 'f32',
  info: { name: 'onnx', version: '1.0.0', device: 'cpu', dtype: 'f32', threads: 2 },
  gemmGflops: 123.4,
  readGigabytesPerSecond: 9.87,
} as const;
const healthy: Omit<Diagnosis, 'hints'> = {
  node: '22.1.0',
  system: 'linux 6, x64',
  processor: 'some, 2 cores',
  bf16: [],
  gpu: false,
  memory: { total: 2 ** 34, available: 2 ** 33 },
  disk: { directory: '/work', free: 2 ** 40 },
  torch: null,
  engines: [onnx],
  choice: { engine: 'onnx', device: 'cpu', dtype: 'f32', reasons: ['no torch is here'] },
  model: null,
  problem: null,
};

describe('doctor', () => {
  it('measures this machine through the engine', async () => {
    const env = { SELFPLAY_CACHE: await tempDir() };
    const { status, stdout, stderr } = await cli(['doctor', '--json'], { directory: tmpdir(), env });
    const found = JSON.parse(stdout) as Diagnosis;
    expect(found.problem).toBeNull();
    expect(status).toBe(0);
    expect(stderr).toBe('');
    expect(found.engines).toHaveLength(1);
    expect(found.engines[0]).toMatchObject({ engine: 'onnx', info: { name: 'onnx', dtype: 'f32' } });
    const { gemmGflops, readGigabytesPerSecond } = found.engines[0] as typeof onnx;
    expect(gemmGflops).toBeGreaterThan(0);
    expect(readGigabytesPerSecond).toBeGreaterThan(0);
    expect(found.choice).toMatchObject({ engine: 'onnx', device: 'cpu', dtype: 'f32' });
    expect(found.memory.available).toBeGreaterThan(0);
    expect(found.memory.available).toBeLessThanOrEqual(found.memory.total);
    expect(found.node).toBe(process.versions.node);
  });

  it('goes on, with status 1, where SELFPLAY_TORCH names no torch', async () => {
    const env = { SELFPLAY_CACHE: await tempDir(), SELFPLAY_TORCH: await tempDir() };
    const { status, stdout } = await cli(['doctor', '--model', '/nowhere'], { directory: tmpdir(), env });
    expect(status).toBe(1);
    expect(stdout).toMatch(/^Model +\/nowhere: This model cannot be played: there is no such model \(\/nowhere\)/m);
    expect(stdout).toMatch(/^onnx cpu f32 +matrix product \d+ GFLOP/m);
    expect(stdout).toMatch(/^Problem +SELFPLAY_TORCH names a folder without torch 2.11 or newer/m);
    expect(stdout).not.toMatch(/^Chosen/m);
  });

  it('says what it found', () => {
    const text = diagnosisText({ ...healthy, hints: ['Mind this.'] });
    expect(text).toContain('Memory          8.0 GiB free of 16.0 GiB\n');
    expect(text).toContain(
      'onnx cpu f32    matrix product 123 GFLOP/s, reading 9.9 GB/s, 2 threads (version 1.0.0)\n' +
        'Chosen          onnx on the cpu in f32 (no torch is here)',
    );
    expect(text.endsWith('\n\nMind this.')).toBe(true);
  });

  it('hints at what is missing', () => {
    // 2^33 bytes · 0.6 / 16 bytes = 322 million.
    const size = 'The free memory suffices for training models of up to roughly 300 million parameters.';
    expect(hintsOn(healthy)).toEqual([size]);
    const broken = { engine: 'onnx', device: 'cpu', dtype: 'f32', problem: 'gone' } as const;
    const ill = {
      ...healthy,
      node: '20.18.1',
      engines: [broken],
      problem: 'gone',
      gpu: true,
      disk: { directory: '/work', free: 2 ** 30 },
    };
    const hints = hintsOn(ill);
    expect(hints.map((hint) => hint.slice(0, 24))).toEqual([
      'Node.js 20.19 or newer i',
      'No engine works here, so',
      'The GPU is not used: ins',
      size.slice(0, 24),
      'The disk has little room',
    ]);
    const text = diagnosisText({ ...ill, hints });
    expect(text).toContain('onnx cpu f32    does not work');
    expect(text).toContain('Problem         gone');
  });

  it('offers torch where the processor has bf16 and there is none', () => {
    const torch = { directory: '/torch', version: '2.15.0', cuda: false, source: 'installed' } as const;
    if (installSize() === undefined) return;
    expect(hintsOn({ ...healthy, bf16: ['AMX'] })[0]).toMatch(
      /^The processor has AMX, .*engine install torch` \(\d+ MB\)/,
    );
    expect(hintsOn({ ...healthy, bf16: ['AMX'], torch })).toHaveLength(1);
  });

  it('measures what the machine has', () => {
    const names = (facts: Partial<EngineFacts>) =>
      combinationsOn({ torch: undefined, gpu: false, bf16: [], apple: false, ...facts }).map(
        ({ engine, device, dtype }) => `${engine} ${device} ${dtype}`,
      );
    const torch = { version: '2.15.0', cuda: true };
    expect(names({ gpu: true, bf16: ['AMX'] })).toEqual(['onnx cpu f32']);
    expect(names({ torch })).toEqual(['onnx cpu f32', 'torch cpu f32']);
    expect(names({ torch, gpu: true, bf16: ['AMX'] }).slice(1)).toEqual([
      'torch cpu f32',
      'torch cpu bf16',
      'torch cuda f32',
      'torch cuda tf32',
      'torch cuda bf16',
    ]);
  });
});
