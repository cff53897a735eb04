/** How fast a game goes on this machine: everything that takes time, measured once on a few rows. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { saveTrainerState } from '../checkpoint/index.ts';
import type { Engine } from '../engine/index.ts';
import { gameSampling, openGenerator } from '../generation/index.ts';
import { packedLength } from '../pairs/index.ts';
import { openTrainer } from '../training/index.ts';
import { type RecipeContext, stopIfAsked } from './context.ts';
import type { Pace } from './estimate.ts';
import { trainerTensors } from './learn.ts';
import type { Player } from './opponent.ts';
import type { Row } from './rows.ts';
import { at } from './schedules.ts';
import { optimizerOf, type SpinSettings } from './settings.ts';

/** Rows that are measured. */
const ROWS = 8;

/** Measures with a model that is in the engine; it is not the same afterwards. A step is to be followed by a checkpoint. */
export async function measurePace(
  engine: Engine,
  { loaded: { model }, tokenizer }: Player,
  rows: readonly Row[],
  { settings, context: { signal } }: { readonly settings: SpinSettings; readonly context: RecipeContext },
): Promise<Pace> {
  const few = rows.slice(0, ROWS);
  let start = performance.now();
  const lap = () => {
    stopIfAsked(signal);
    const seconds = (performance.now() - start) / 1000;
    start = performance.now();
    return seconds;
  };
  const generator = await openGenerator(engine, model, { batchSize: ROWS, sampling: gameSampling });
  const generation = lap();
  const { seed, max_new_tokens: maxNewTokens } = settings;
  await generator.generate(few, { seed, iteration: 0, maxNewTokens, endIds: tokenizer.endIds, signal });
  const { promptTokens, prefillSeconds, generatedTokens, decodeSeconds } = generator.stats;
  await generator.dispose();
  lap();
  const trainer = await openTrainer(engine, model, {
    objective: { kind: 'sft' },
    optimizer: optimizerOf(settings),
    maxGradNorm: settings.max_grad_norm,
    microBatchTokens: settings.micro_batch_tokens,
    masks: { seed, iteration: null },
  });
  const training = lap();
  const groups = few.map(({ promptIds, responseIds }) => ({
    promptIds,
    responses: [{ ids: responseIds.slice(0, 2 * maxNewTokens) }],
  }));
  await trainer.step(groups, 1, at(settings.learning_rate, 0));
  const learn = lap() / groups.reduce((n, group) => n + packedLength(group), 0);
  const directory = await mkdtemp(join(tmpdir(), 'selfplay-pace-'));
  try {
    lap();
    await saveTrainerState(join(directory, 'state'), { state: {}, tensors: await trainerTensors(engine, trainer) });
    return {
      open: generation + training,
      read: prefillSeconds / promptTokens,
      write: decodeSeconds / generatedTokens,
      learn,
      step: lap(),
    };
  } finally {
    await trainer.dispose();
    await rm(directory, { recursive: true, force: true });
  }
}
