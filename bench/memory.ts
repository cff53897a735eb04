// What gradient checkpointing saves: the memory that training steps of a deep, narrow model take beyond what was there
// before, with it and without, each in a process of its own; beside what the engine plans.
//   npm run bench -- --only memory [--engine torch] [--dtype bf16] [--lora 16 --dropout 0.05]

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createModel } from '../src/checkpoint/index.ts';
import { openEngine, peakWhile } from '../src/engine/index.ts';
import { openTrainer, trainingBytes } from '../src/training/index.ts';
import { type Adapter, adapterOf, randomPairs } from './shape.ts';

/** What is measured, as the command line gives it. */
export interface MemoryOptions {
  readonly engine: 'onnx' | 'torch';
  readonly dtype: 'f32' | 'bf16';
  readonly threads: number;
  readonly pairs: number;
  readonly adapter: Adapter;
}

interface MemoryFigures {
  /** Beyond what the process held before its first step, in bytes: with gradients and moments as far as they were only promised then. */
  readonly taken: number;
  /** What the values of a run take at once by the engine's plan. */
  readonly planned: number;
  readonly seconds: number;
}

/** Many blocks and few words: what is measured is the blocks. */
const config = {
  model_type: 'llama',
  hidden_size: 256,
  intermediate_size: 768,
  num_hidden_layers: 24,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 4096,
  max_position_embeddings: 2048,
  tie_word_embeddings: true,
};
const STEPS = 3;

async function measure(options: MemoryOptions, gradientCheckpointing: boolean): Promise<MemoryFigures> {
  const { dtype, threads, adapter } = options;
  const { engine } = await openEngine({ engine: options.engine, device: 'cpu', dtype, threads });
  const { model } = await createModel(engine, config, 0, '.', adapterOf(adapter));
  const objective = { kind: 'spin', beta: 0.1, sftWeight: 0 } as const;
  const groups = randomPairs(options.pairs).map(({ promptIds, responses }) => ({
    promptIds: promptIds.map((id) => id % config.vocab_size),
    responses: responses.map(({ ids, reference }) => ({
      ids: ids.map((id) => id % config.vocab_size),
      reference: reference!,
    })),
  }));
  const trainer = await openTrainer(engine, model, {
    objective,
    masks: { seed: 0, iteration: 0 },
    optimizer: { kind: 'rmsprop', alpha: 0.99, eps: 1e-8 },
    maxGradNorm: 1,
    microBatchTokens: Number.MAX_SAFE_INTEGER,
    gradientCheckpointing,
  });
  const before = process.memoryUsage.rss();
  const start = performance.now();
  const peak = await peakWhile(engine, async () => {
    for (let step = 1; step <= STEPS; step++) await trainer.step(groups, step, 5e-7);
  });
  const seconds = (performance.now() - start) / 1000 / STEPS;
  const planned = trainingBytes(engine, model, objective)(groups, gradientCheckpointing);
  await trainer.dispose();
  await engine.dispose();
  return { taken: peak - before, planned, seconds };
}

const self = fileURLToPath(import.meta.url);

/** Measures both in turn, and prints them with their ratio. */
export function benchMemory(options: MemoryOptions): void {
  const [kept, again] = [false, true].map((checkpointing) => {
    const args = [...process.execArgv, self, JSON.stringify(options), String(checkpointing)];
    return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as MemoryFigures;
  }) as [MemoryFigures, MemoryFigures];
  const mb = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
  for (const [name, { taken, planned, seconds }] of [
    ['as it is', kept],
    ['with gradient checkpointing', again],
  ] as const) {
    console.log(
      `training ${name}: ${mb(taken)} more than before the first step (values by the plan: ${mb(planned)}), ${seconds.toFixed(2)} s a step`,
    );
  }
  console.log(
    `gradient checkpointing: 1/${(kept.taken / again.taken).toFixed(2)} of the memory (values by the plan 1/` +
      `${(kept.planned / again.planned).toFixed(2)}), ${(again.seconds / kept.seconds).toFixed(2)} times the time`,
  );
}

if (process.argv[1] === self) {
  const [options, checkpointing] = process.argv.slice(2) as [string, string];
  console.log(JSON.stringify(await measure(JSON.parse(options) as MemoryOptions, checkpointing === 'true')));
}
