/** How fast a game goes on this machine: everything that takes time, measured once on a few rows. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LoadedModel, saveTrainerState } from '../../checkpoint/index.ts';
import type { Engine } from '../../engine/index.ts';
import { gameSampling, openGenerator } from '../../generation/index.ts';
import { type Group, packedLength } from '../../pairs/index.ts';
import { openTrainer } from '../../training/index.ts';
import { trainerTensors } from '../game/learn.ts';
import type { Player } from '../game/opponent.ts';
import type { Pace } from '../preflight/estimate.ts';
import { type RecipeContext, stopIfAsked } from '../run/context.ts';
import type { Row } from '../run/rows.ts';
import type { DpoSettings } from '../settings/dpoSettings.ts';
import { at } from '../settings/schedules.ts';
import { optimizerOf, type SpinSettings } from '../settings/settings.ts';

/** Rows that are measured. */
const ROWS = 8;

interface PaceTools {
  readonly settings: SpinSettings | DpoSettings;
  readonly context: RecipeContext;
}

/** Seconds between its calls; stops when the user asks for it. */
function stopwatch(signal: AbortSignal | undefined): () => number {
  let start = performance.now();
  return () => {
    stopIfAsked(signal);
    const seconds = (performance.now() - start) / 1000;
    start = performance.now();
    return seconds;
  };
}

/** Measures with a model that is in the engine; it is not the same afterwards. */
export async function measurePace(
  engine: Engine,
  { loaded, tokenizer }: Player,
  rows: readonly Row[],
  { settings, context }: PaceTools & { readonly settings: SpinSettings },
): Promise<Pace> {
  const few = rows.slice(0, ROWS);
  const { signal } = context;
  const lap = stopwatch(signal);
  const generator = await openGenerator(engine, loaded.model, { batchSize: ROWS, sampling: gameSampling });
  const open = lap();
  const { seed, max_new_tokens: maxNewTokens } = settings;
  await generator.generate(few, { seed, iteration: 0, maxNewTokens, endIds: tokenizer.endIds, signal });
  const { promptTokens, prefillSeconds, generatedTokens, decodeSeconds } = generator.stats;
  await generator.dispose();
  const groups = few.map(({ promptIds, responseIds }) => ({
    promptIds,
    responses: [{ ids: responseIds.slice(0, 2 * maxNewTokens) }],
  }));
  const learning = await measureLearning(engine, loaded, groups, { settings, context });
  return {
    ...learning,
    open: open + learning.open,
    read: prefillSeconds / promptTokens,
    write: decodeSeconds / generatedTokens,
  };
}

/** The part of it that learns, from single answers. A step is to be followed by a checkpoint. */
export async function measureLearning(
  engine: Engine,
  { model }: LoadedModel,
  groups: readonly Group[],
  { settings, context: { signal } }: PaceTools,
): Promise<Pick<Pace, 'open' | 'learn' | 'step'>> {
  const few = groups.slice(0, ROWS);
  const lap = stopwatch(signal);
  const trainer = await openTrainer(engine, model, {
    objective: { kind: 'sft' },
    optimizer: optimizerOf(settings),
    maxGradNorm: settings.max_grad_norm,
    microBatchTokens: settings.micro_batch_tokens,
    masks: { seed: settings.seed, iteration: null },
  });
  const open = lap();
  await trainer.step(few, 1, at(settings.learning_rate, 0));
  const learn = lap() / few.reduce((n, group) => n + packedLength(group), 0);
  const directory = await mkdtemp(join(tmpdir(), 'selfplay-pace-'));
  try {
    lap();
    await saveTrainerState(join(directory, 'state'), { state: {}, tensors: await trainerTensors(engine, trainer) });
    return { open, learn, step: lap() };
  } finally {
    await trainer.dispose();
    await rm(directory, { recursive: true, force: true });
  }
}
