/**
 * The training stage of an iteration: epochs of shuffled batches, with checkpoints from which a resume gives the same
 * weights bit for bit.
 */
import { mkdir, rm } from 'node:fs/promises';
import {
  checkpointName,
  dropOlder,
  loadTrainerState,
  newestVerified,
  saveTrainerState,
  type TrainerState,
} from '../../checkpoint/index.ts';
import type { Engine } from '../../engine/index.ts';
import { readTensorF32 } from '../../formats/index.ts';
import { type Group, packedLength } from '../../pairs/index.ts';
import { learningRateAt, type Objective, openTrainer, type Trainer } from '../../training/index.ts';
import { failure, isOutOfMemory, shuffled } from '../../util/index.ts';
import { Interrupted } from '../run/context.ts';
import { CHECKPOINTS } from '../run/layout.ts';
import { microBatchTokens, reducedTokens, type StepAddress } from '../run/memory.ts';
import { planOf } from '../run/plan.ts';
import type { Seat } from '../run/rest.ts';
import type { Run } from '../run/run.ts';
import { optimizerOf } from '../settings/settings.ts';

export interface Lesson {
  /** Names the checkpoints, the random stream and the log entries; null for plain SFT. */
  readonly iteration: number | null;
  /** Directory of the stage within the run. */
  readonly folder: string;
  readonly groups: readonly Group[];
  readonly objective: Objective;
  /** Peak. */
  readonly learningRate: number;
  /** Optimizer steps; the last epoch may be cut. */
  readonly steps: number;
  /** What progress is shown as, if not as the game's. */
  readonly label?: string;
  /** Called after every step; whatever it keeps in `memory` is part of the checkpoint. */
  readonly afterStep?: (step: number, steps: number) => Promise<void>;
  readonly memory?: Record<string, number>;
}

interface Counters {
  readonly step: number;
  /** Tokens computed so far. */
  readonly tokens: number;
  /** First event that a resume from here supersedes. */
  readonly seq: number;
  readonly memory: Record<string, number>;
}

/** Checkpoints take at most one twentieth of the time, unless every step is to have one. */
const CHECKPOINT_SHARE = 20;

/** How many optimizer steps a lesson takes. */
export function stepsOf(groups: number, epochs: number, { batch_size }: Pick<Run['settings'], 'batch_size'>): number {
  return Math.ceil(groups / batch_size) * epochs;
}

/** The batches of an epoch. Neighbours of like length share a micro-batch; the step as a whole is the same. */
export function batchesOf<T>(
  items: readonly T[],
  length: (item: T) => number,
  { seed, batch_size }: Pick<Run['settings'], 'seed' | 'batch_size'>,
  { iteration, epoch }: { readonly iteration: number | null; readonly epoch: number },
): T[][] {
  const order = shuffled(items, seed, `batches ${iteration ?? 'sft'} epoch ${epoch}`);
  return Array.from({ length: Math.ceil(items.length / batch_size) }, (_, i) =>
    order.slice(i * batch_size, (i + 1) * batch_size).toSorted((a, b) => length(a) - length(b)),
  );
}

/** Trains the weights in the engine; on return they are θ_{t+1}. Throws Interrupted after a checkpoint. */
export async function learn(
  run: Run,
  player: Pick<Seat, 'loaded' | 'tokenizer'>,
  lesson: Lesson,
): Promise<{ steps: number; tokens: number }> {
  const { settings, engine, context } = run;
  const { model } = player.loaded;
  const { iteration, groups, objective, learningRate, steps, memory = {} } = lesson;
  const plan = planOf(run);
  const perEpoch = Math.ceil(groups.length / settings.batch_size);
  const folder = run.path(lesson.folder, CHECKPOINTS);
  await mkdir(folder, { recursive: true });
  const trainer = await openTrainer(engine, model, {
    objective,
    optimizer: optimizerOf(settings),
    maxGradNorm: settings.max_grad_norm,
    microBatchTokens: plan.micro_batch_tokens,
    gradientCheckpointing: plan.gradient_checkpointing,
    masks: { seed: settings.seed, iteration },
  });
  const schedule = {
    kind: settings.lr_scheduler_type,
    learningRate,
    warmupRatio: settings.warmup_ratio,
  };
  const { step: done, tokens: tokensBefore } = await restore(run, trainer, folder, memory);
  if (steps === 1 && settings.warmup_ratio > 0) {
    await run.warn(
      'there is only one step, and the warm-up gives it the rate 0: nothing is learned; see warmup_ratio.',
    );
  }
  const usual = iteration === null ? 'fine-tuning' : `iteration ${iteration}: the main player learns`;
  const progress = context.progress(lesson.label ?? usual, steps - done, 'steps');
  let batches: Group[][] = [];
  let tokens = tokensBefore;
  let lastSave = performance.now();
  let saveSeconds = 0;
  const save = async (step: number) => {
    const start = performance.now();
    await saveTrainerState(run.path(lesson.folder, CHECKPOINTS, checkpointName('step', step)), {
      state: { step, tokens, seq: run.log.nextSeq(), memory } satisfies Counters,
      tensors: await trainerTensors(engine, trainer),
    });
    await dropOlder(folder, 'step');
    lastSave = performance.now();
    saveSeconds = (lastSave - start) / 1000;
  };
  const batchesFor = (step: number) =>
    batchesOf(groups, packedLength, settings, { iteration, epoch: Math.floor(step / perEpoch) });
  try {
    // Other devices than the CPU refuse what does not fit: better before the first step than in the middle of a night.
    if (engine.info.device !== 'cpu' && done < steps) {
      const at = { iteration, step: done + 1 };
      await thatFits(run, heaviest(batchesFor(done)), at, (batch, tokens) => trainer.rehearse(batch, tokens));
    }
    for (let step = done; step < steps; step++) {
      if (step === done || step % perEpoch === 0) batches = batchesFor(step);
      const start = performance.now();
      const rate = learningRateAt(schedule, step, steps);
      const figures = await thatFits(run, batches[step % perEpoch]!, { iteration, step: step + 1 }, (batch, tokens) =>
        trainer.step(batch, step + 1, rate, tokens),
      );
      tokens += figures.tokens;
      await run.emit({
        iteration,
        stage: 'train',
        type: 'train.step',
        step: step + 1,
        steps,
        loss: figures.loss,
        ...figures.pairs,
        grad_norm: figures.gradNorm,
        learning_rate: rate,
        tokens: figures.tokens,
        seconds: (performance.now() - start) / 1000,
      });
      await lesson.afterStep?.(step + 1, steps);
      progress.advance(1, `loss ${figures.loss.toFixed(4)}`);
      await run.rest(player, { iteration, stage: 'train', step: step + 1 });
      const pause = (performance.now() - lastSave) / 1000;
      const least = settings.checkpoint_seconds;
      const due = least === 0 || pause >= Math.max(least, CHECKPOINT_SHARE * saveSeconds);
      if (context.signal?.aborted) {
        await save(step + 1);
        throw new Interrupted(run.directory);
      }
      if (due && step + 1 < steps) await save(step + 1);
    }
  } finally {
    progress.done();
    await trainer.dispose();
  }
  return { steps, tokens };
}

/** What a checkpoint holds beside the counters: weights and moments. */
export async function trainerTensors(engine: Engine, { states }: Trainer): Promise<TrainerState['tensors']> {
  const shapes = await engine.states();
  return states.map((name) => ({
    name,
    dtype: 'F32',
    shape: [...shapes.get(name)!],
    data: () => engine.readState(name),
  }));
}

/** The batch with the longest item: it takes the most memory when micro-batches are reduced to single items. */
function heaviest(batches: readonly (readonly Group[])[]): readonly Group[] {
  const longest = (batch: readonly Group[]) => Math.max(...batch.map(packedLength));
  return batches.reduce((a, b) => (longest(b) > longest(a) ? b : a));
}

/** Computes on a batch, with as many tokens at once as the memory allows. */
async function thatFits<T>(
  run: Run,
  batch: readonly Group[],
  at: StepAddress,
  compute: (batch: readonly Group[], tokens: number) => Promise<T>,
): Promise<T> {
  const { iteration, step } = at;
  for (;;) {
    const before = microBatchTokens(planOf(run).micro_batch_tokens, run.reductions, at);
    try {
      return await compute(batch, before);
    } catch (error) {
      if (!isOutOfMemory(error)) throw error;
      const tokens = reducedTokens(batch, before);
      if (tokens === undefined) {
        throw failure({
          what: `not even the longest item of step ${step} fits into memory alone: ${error.what}`,
          fix: 'give a lower --max-length or a smaller model, or free memory; then `selfplay resume` goes on',
          cause: error,
        });
      }
      run.reductions.push({ iteration, step, tokens });
      await run.emit({ iteration, stage: 'train', type: 'micro-batch.reduced', step, before, tokens });
      run.context.say(`Memory is short: from step ${step} on at most ${tokens} tokens are computed at once.`);
    }
  }
}

/** Puts the newest sound checkpoint into the engine; returns what it has behind it. */
async function restore(
  run: Run,
  trainer: Trainer,
  folder: string,
  memory: Record<string, number>,
): Promise<Pick<Counters, 'step' | 'tokens'>> {
  const newest = await newestVerified(folder, 'step');
  if (!newest) return { step: 0, tokens: 0 };
  for (const { path, reason } of newest.skipped)
    await run.warn(`passing over a damaged checkpoint, ${path}: ${reason}`);
  const { state, tensors } = await loadTrainerState(newest.path);
  for (const name of trainer.states) await run.engine.writeState(name, await readTensorF32(tensors.get(name)!));
  const counters = state as Counters;
  Object.assign(memory, counters.memory);
  return counters;
}

/** When the trained model is safely on disk, its checkpoints are not needed any more. */
export async function dropCheckpoints(run: Run, folder: string): Promise<void> {
  await rm(run.path(folder, CHECKPOINTS), { recursive: true, force: true });
}
