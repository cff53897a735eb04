// Loading F32 weights into an engine, against reading the file from the page cache into memory; and the memory it takes beside
// the weights themselves, in a process of its own.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadModel } from '../src/checkpoint/index.ts';
import { openEngine, peakWhile } from '../src/engine/index.ts';
import { writeSafetensors } from '../src/formats/index.ts';
import { modelFromConfig } from '../src/models/index.ts';
import { median } from './peers.ts';
import { config } from './shape.ts';

const ROUNDS = 5;

interface LoadingFigures {
  readonly reading: number[];
  readonly loading: number[];
  /** Bytes beyond what the process held with an engine open, at the most while the model was loaded for the first time. */
  readonly taken: number;
}

async function measure(dir: string, name: 'onnx' | 'torch', threads: number): Promise<LoadingFigures> {
  const { engine } = await openEngine({ engine: name, device: 'cpu', dtype: 'f32', threads });
  const before = process.memoryUsage().rss;
  const taken = (await peakWhile(engine, () => loadModel(engine, dir))) - before;
  const timed = async (body: () => unknown) => {
    const start = performance.now();
    await body();
    return (performance.now() - start) / 1000;
  };
  const [reading, loading]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    reading.push(await timed(() => readFileSync(join(dir, 'model.safetensors')).length));
    loading.push(await timed(() => loadModel(engine, dir)));
  }
  await engine.dispose();
  return { reading, loading, taken };
}

const self = fileURLToPath(import.meta.url);

/** Prints both ratios, of SmolLM2-135M's shape. */
export async function benchLoading(engine: 'onnx' | 'torch', threads: number): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'selfplay-loading-'));
  try {
    writeFileSync(join(dir, 'config.json'), JSON.stringify(config));
    const file = join(dir, 'model.safetensors');
    const tensors = modelFromConfig(config, 'config.json').parameters.map(({ name, shape }) => ({
      name,
      shape,
      dtype: 'F32' as const,
      data: async () => new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.01),
    }));
    await writeSafetensors(file, tensors);
    const args = [...process.execArgv, self, dir, engine, String(threads)];
    const figures = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as LoadingFigures;
    const [reading, loading] = [median(figures.reading), median(figures.loading)];
    const { size } = statSync(file);
    console.log(
      `loading ${(size / 1e6).toFixed(0)} MB of F32 safetensors: ${loading.toFixed(2)} s, ${(loading / reading).toFixed(2)} times ` +
        `reading the file from the page cache (${(size / 1e9 / reading).toFixed(1)} GB/s); at most ` +
        `${(figures.taken / size).toFixed(2)} times the weights in memory`,
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
}

if (process.argv[1] === self) {
  const [dir, engine, threads] = process.argv.slice(2) as [string, 'onnx' | 'torch', string];
  console.log(JSON.stringify(await measure(dir, engine, Number(threads))));
}
