// What this machine can do, measured in the same process: fp32 GEMM through the engine, and reading memory.

import type { Engine } from '../src/engine/index.ts';
import { graphBuilder } from '../src/graph/index.ts';

/** Median seconds of `runs` calls after one to warm up. */
export async function medianSeconds(runs: number, body: () => Promise<unknown>): Promise<number> {
  await body();
  const seconds: number[] = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await body();
    seconds.push((performance.now() - start) / 1000);
  }
  return seconds.sort((a, b) => a - b)[Math.floor(runs / 2)]!;
}

/** FLOP/s of x·Wᵀ at the sizes of a training step, the best of several shapes. */
export async function gemmPeak(engine: Engine): Promise<number> {
  let best = 0;
  for (const [rows, inner, columns] of [
    [2048, 576, 1536],
    [2048, 1536, 576],
    [1024, 1024, 1024],
    [2048, 2048, 2048],
  ] as const) {
    const b = graphBuilder();
    const repeats = 8;
    await engine.createState('bench.x', [rows, inner]);
    await engine.createState('bench.w', [columns, inner]);
    await engine.writeState('bench.x', new Float32Array(rows * inner).fill(0.5));
    await engine.writeState('bench.w', new Float32Array(columns * inner).fill(0.5));
    // Each product has an input of its own, so that none is left out as a repetition; only sums leave the engine.
    for (let i = 0; i < repeats; i++) {
      const x = b.affine(b.state('bench.x', [rows, inner]), 1 + i);
      const product = b.matmul(x, b.state('bench.w', [columns, inner]), { transposeB: true });
      b.output(`y${i}`, b.sumSquares(b.gatherRows(product, b.input('row', ['one'], 'i32'))));
    }
    const program = await engine.compile(b.build());
    const seconds = await medianSeconds(5, () => program.run({ row: { shape: [1], data: Int32Array.of(0) } }));
    best = Math.max(best, (2 * rows * inner * columns * repeats) / seconds);
    await program.dispose();
  }
  await engine.dropState('bench.x');
  await engine.dropState('bench.w');
  return best;
}

/** Bytes/s of reading memory with all threads of the engine: one row times a packed matrix of 256 MiB. */
export async function readBandwidth(engine: Engine): Promise<number> {
  const [rows, columns] = [16_384, 4096];
  await engine.createState('bench.memory', [rows, columns]);
  await engine.writeState('bench.memory', new Float32Array(rows * columns).fill(1));
  const b = graphBuilder();
  const product = b.matmul(b.input('x', [1, columns]), b.state('bench.memory', [rows, columns]), { transposeB: true });
  b.output('sum', b.sumSquares(product));
  const program = await engine.compile(b.build(), { freeze: true });
  const seconds = await medianSeconds(9, () =>
    program.run({ x: { shape: [1, columns], data: new Float32Array(columns) } }),
  );
  await program.dispose();
  await engine.dropState('bench.memory');
  return (rows * columns * 4) / seconds;
}
