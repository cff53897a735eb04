// A whole SPIN training step on SmolLM2-135M's shape, optimizer included, of all weights or of an adapter: necessary FLOPs
// against the GEMM peak, and peak memory against the analytic minimum.

import { readFileSync } from 'node:fs';
import type { Engine } from '../src/engine/index.ts';
import { type LanguageModel, trainable } from '../src/models/index.ts';
import { packedLength, splitByTokens } from '../src/pairs/index.ts';
import { gradientName, openTrainer, trainGraph } from '../src/training/index.ts';
import { type Adapter, parameterCounts, productFlops, randomModel, randomPairs, trainingFlops } from './shape.ts';

const objective = { kind: 'spin', beta: 0.1, sftWeight: 0 } as const;

/** The whole batch at once. */
const MICRO_BATCH_TOKENS = 4096;
const STEPS = 5;

/** Highest resident memory of this process so far, in bytes (Linux), or of now elsewhere. */
function peakMemory(): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
  } catch {
    return process.memoryUsage().rss;
  }
}

export interface TrainingFigures {
  /** Of each step, rising. */
  readonly seconds: readonly number[];
  readonly flops: number;
  readonly tokens: number;
  /** Highest resident memory, and the analytic minimum, in bytes. */
  readonly peak: number;
  readonly minimum: number;
  /** Of the graph's products with weights, per parameter of the model and token that meets it. */
  readonly flopsPerParameter: number;
  /** Bytes of the weights that are learned with their gradients and moments, and of the weights that are frozen. */
  readonly learned: number;
  readonly frozen: number;
}

/**
 * Measures steps. To be called before anything else uses memory, which would count.
 * @param bytes of an element in the engine's dtype
 */
export async function measureTraining(
  engine: Engine,
  pairs: number,
  bytes: number,
  adapter: Adapter,
): Promise<TrainingFigures> {
  const { model } = await randomModel(engine, adapter);
  const batch = randomPairs(pairs);
  const trainer = await openTrainer(engine, model, {
    objective,
    masks: { seed: 0, iteration: 0 },
    optimizer: { kind: 'rmsprop', alpha: 0.99, eps: 1e-8 },
    maxGradNorm: 1,
    microBatchTokens: MICRO_BATCH_TOKENS,
  });
  const seconds: number[] = [];
  for (let step = 0; step <= STEPS; step++) {
    const start = performance.now();
    await trainer.step(batch, step + 1, 5e-7);
    if (step > 0) seconds.push((performance.now() - start) / 1000);
  }
  const peak = peakMemory();
  const { body, head } = parameterCounts(model);
  const tokens = batch.reduce((n, group) => n + packedLength(group), 0);
  const rows = batch.reduce((n, { responses }) => n + responses.reduce((m, { ids }) => m + ids.length, 0), 0);
  const learned = [...trainer.states, ...trainable(model).map(({ name }) => gradientName(name))];
  const shapes = await engine.states();
  const bytesOf = (shape: readonly number[], each = 4) => shape.reduce((a, b) => a * b, each);
  await trainer.dispose();
  const largest = Math.max(
    ...splitByTokens(batch, packedLength, MICRO_BATCH_TOKENS).map((m) => m.reduce((n, g) => n + packedLength(g), 0)),
  );
  return {
    seconds: seconds.sort((a, b) => a - b),
    flops: trainingFlops(model, batch),
    tokens,
    peak,
    minimum: minimumMemory(model, largest, bytes),
    flopsPerParameter: productFlops(trainGraph(model, objective), tokens, rows) / (body * tokens + head * rows),
    learned: learned.reduce((n, name) => n + bytesOf(shapes.get(name)!), 0),
    frozen: model.parameters.reduce(
      (n, { shape, frozen }) => n + (frozen ? bytesOf(shape, frozen === 'layer' ? bytes : 4) : 0),
      0,
    ),
  };
}

/**
 * Prints the figures and returns the median seconds of a step.
 * @param gemm FLOP/s of the fp32 GEMM
 * @param own of that in the engine's dtype
 */
export function printTraining(
  { seconds, flops, tokens, peak, minimum, flopsPerParameter, learned, frozen }: TrainingFigures,
  gemm: number,
  own: number,
): number {
  const median = seconds[Math.floor(STEPS / 2)]!;
  const share = (s: number) => `${((100 * flops) / s / gemm).toFixed(1)} %`;
  console.log(
    `training step of ${tokens} tokens in micro-batches of up to ${MICRO_BATCH_TOKENS}, ${(flops / 1e12).toFixed(2)} necessary TFLOP: ` +
      `median ${median.toFixed(2)} s of ${STEPS} (${seconds[0]!.toFixed(2)} to ${seconds.at(-1)!.toFixed(2)}), ` +
      `${(tokens / median).toFixed(0)} tokens/s, ${share(median)} of the fp32 GEMM peak (${share(seconds.at(-1)!)} to ${share(seconds[0]!)})` +
      (own === gemm ? '' : `, ${((100 * flops) / median / own).toFixed(1)} % of that in its own dtype`),
  );
  console.log(
    `products with weights: ${flopsPerParameter.toFixed(2)} FLOPs per parameter and token; learned weights with gradients ` +
      `and moments ${(learned / 1e6).toFixed(1)} MB, frozen weights ${(frozen / 1e6).toFixed(1)} MB`,
  );
  console.log(
    `peak memory ${(peak / 1e9).toFixed(2)} GB beside an analytic minimum of ${(minimum / 1e9).toFixed(2)} GB: ` +
      `${(peak / minimum).toFixed(2)} times`,
  );
  return median;
}

/**
 * Of what is learned weights, gradients and one moment in fp32 (and the weights in the engine's dtype, where that is
 * another), of what is frozen the weights alone; the activations that the gradient needs of one micro-batch, one chunk of
 * logits with its gradient, and 300 MB of runtime. Saved per token and layer (floats): both norms' inputs (2·576), both norms'
 * outputs (2·576), q, k, v (960), attention's output (576), gate, up and their product (3·1536).
 */
function minimumMemory({ parameters }: LanguageModel, tokens: number, bytes: number): number {
  const perLayer = 4 * 576 + 960 + 576 + 3 * 1536;
  const each = { learned: 3 * 4 + (bytes < 4 ? bytes : 0), layer: bytes, other: 4 };
  const states = parameters.reduce(
    (n, { shape, frozen }) => n + each[frozen ?? 'learned'] * shape.reduce((a, b) => a * b, 1),
    0,
  );
  const activations = bytes * 30 * perLayer * tokens;
  const logits = 2 * 96 * 2 ** 20;
  return states + activations + logits + 300e6;
}
