// How fast an engine computes on this machine: the peak of matrix products, and of reading memory. Through its contract.
import { graphBuilder } from '../graph/index.ts';
import type { Engine, Tensor } from './contract.ts';

/** Products in one run: so many that the call itself does not count. */
const REPEATS = 8;
/** Row count, inner size, column count of a product. */
export type GemmShape = readonly [number, number, number];
/** Products as they occur in training. */
const GEMM_SHAPES: readonly GemmShape[] = [
  [2048, 576, 1536],
  [2048, 1536, 576],
  [1024, 1024, 1024],
  [2048, 2048, 2048],
];

/** Median seconds of `runs` calls after one to warm up. */
async function medianSeconds(runs: number, body: () => Promise<unknown>): Promise<number> {
  await body();
  const seconds: number[] = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await body();
    seconds.push((performance.now() - start) / 1000);
  }
  return seconds.sort((a, b) => a - b)[Math.floor(runs / 2)]!;
}

/** FLOP/s of x·Wᵀ, the best of several shapes; each is the median of five runs. */
export async function gemmPeak(engine: Engine, shapes = GEMM_SHAPES): Promise<number> {
  let best = 0;
  for (const [rows, inner, columns] of shapes) {
    const b = graphBuilder();
    // Each product has an input of its own, so that none is left out as a repetition; only sums leave the engine.
    for (let i = 0; i < REPEATS; i++) {
      const x = b.affine(b.state('measure.x', [rows, inner]), 1 + i);
      const [product] = b.linear(x, b.state('measure.w', [columns, inner]));
      b.output(`y${i}`, b.sumSquares(b.gatherRows(product!, b.input('row', ['one'], 'i32'))));
    }
    const graph = b.build();
    const states = { 'measure.x': [rows, inner], 'measure.w': [columns, inner] } as const;
    const seconds = await withStates(engine, states, 0.5, async () => {
      const program = await engine.compile(graph);
      const seconds = await medianSeconds(5, () =>
        program.run({ row: { shape: [1], data: Int32Array.of(0) } satisfies Tensor }),
      );
      await program.dispose();
      return seconds;
    });
    best = Math.max(best, (2 * rows * inner * columns * REPEATS) / seconds);
  }
  return best;
}

/**
 * Bytes/s of reading memory with all threads of the engine: one row times a packed matrix of 2^26 elements.
 * @param bytes of an element as the engine keeps a frozen matrix
 */
export async function readBandwidth(engine: Engine, bytes: number): Promise<number> {
  const [rows, columns] = [16_384, 4096];
  const b = graphBuilder();
  const memory = b.state('measure.memory', [rows, columns]);
  const [product] = b.linear(b.input('x', [1, columns]), memory);
  b.output('sum', b.sumSquares(product!));
  const graph = b.build();
  return withStates(engine, { 'measure.memory': [rows, columns] }, 1, async () => {
    const program = await engine.compile(graph, { freeze: true });
    const seconds = await medianSeconds(9, () =>
      program.run({ x: { shape: [1, columns], data: new Float32Array(columns) } }),
    );
    await program.dispose();
    return (rows * columns * bytes) / seconds;
  });
}

/** States of these shapes, filled with one value, around a body. */
async function withStates<T>(
  engine: Engine,
  shapes: Readonly<Record<string, readonly number[]>>,
  value: number,
  body: () => Promise<T>,
): Promise<T> {
  for (const [name, shape] of Object.entries(shapes)) {
    await engine.createState(name, shape);
    await engine.writeState(name, new Float32Array(shape.reduce((n, dim) => n * dim, 1)).fill(value));
  }
  const result = await body();
  for (const name of Object.keys(shapes)) await engine.dropState(name);
  return result;
}
