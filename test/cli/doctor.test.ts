import { tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { type Diagnosis, diagnosisText, hintsOn } from '../../src/cli/doctor.ts';
import { cli } from './fakes.ts';

const healthy: Omit<Diagnosis, 'hints'> = {
  node: '22.1.0',
  system: 'linux 6, x64',
  processor: 'some, 2 cores',
  memory: { total: 2 ** 34, available: 2 ** 33 },
  disk: { directory: '/work', free: 2 ** 40 },
  engine: { name: 'onnx', version: '1.0.0', device: 'cpu', dtype: 'f32', threads: 2, gemmGflops: 123.4 },
  problem: null,
  copyGigabytesPerSecond: 9.87,
};

describe('doctor', () => {
  it('measures this machine through the engine', async () => {
    const { status, stdout, stderr } = await cli(['doctor', '--json'], { directory: tmpdir() });
    const found = JSON.parse(stdout) as Diagnosis;
    expect(found.problem).toBeNull();
    expect(status).toBe(0);
    expect(stderr).toBe('');
    expect(found.engine).toMatchObject({ name: 'onnx', dtype: 'f32' });
    expect(found.engine?.gemmGflops).toBeGreaterThan(0);
    expect(found.copyGigabytesPerSecond).toBeGreaterThan(0);
    expect(found.memory.available).toBeGreaterThan(0);
    expect(found.memory.available).toBeLessThanOrEqual(found.memory.total);
    expect(found.node).toBe(process.versions.node);
  });

  it('says what it found', () => {
    const text = diagnosisText({ ...healthy, hints: ['Mind this.'] });
    expect(text).toContain('Memory          8.0 GiB free of 16.0 GiB\n');
    expect(text).toContain(
      'Engine          onnxruntime 1.0.0 on the cpu, f32, 2 threads\nMatrix product  123 GFLOP/s\n',
    );
    expect(text.endsWith('\n\nMind this.')).toBe(true);
  });

  it('hints at what is missing', () => {
    // 2^33 bytes · 0.6 / 16 bytes = 322 million.
    const size = 'The free memory suffices for training models of up to roughly 300 million parameters.';
    expect(hintsOn(healthy)).toEqual([size]);
    const hints = hintsOn({
      ...healthy,
      node: '20.18.1',
      engine: null,
      problem: 'gone',
      disk: { directory: '/work', free: 2 ** 30 },
    });
    expect(hints.map((hint) => hint.slice(0, 24))).toEqual([
      'Node.js 20.19 or newer i',
      'The engine does not work',
      size.slice(0, 24),
      'The disk has little room',
    ]);
    expect(diagnosisText({ ...healthy, engine: null, problem: 'gone', hints })).toContain(
      'Engine          does not work: gone',
    );
  });
});
