/** One optimizer step: micro-batches accumulated, gradient clipped, weights updated; and its figures in TRL's names. */
import type { Engine } from '../engine/index.ts';
import { type LanguageModel, trainable } from '../models/index.ts';
import { type Group, type PackedTokens, packedLength, packGroups, splitByTokens } from '../pairs/index.ts';
import { failure, isOutOfMemory } from '../util/index.ts';
import { dropoutKeys, type MaskAddress } from './dropout.ts';
import { type OptimizerSettings, openOptimizer } from './optimizer.ts';
import { type BatchTotals, gradientName, type Objective, totalsOf, trainGraph, trainInputs } from './programs.ts';

/** Means over the pairs of the batch; rewards are those of the loss (losses.ts), log-probs are sums per answer. */
export interface PairFigures {
  readonly 'rewards/real': number;
  readonly 'rewards/generated': number;
  readonly 'rewards/margins': number;
  /** Share of pairs with a positive margin; ties count half. */
  readonly 'rewards/accuracies': number;
  readonly 'logps/real': number;
  readonly 'logps/generated': number;
}

export interface StepFigures {
  readonly loss: number;
  /** Norm of the gradient before clipping. */
  readonly gradNorm: number;
  /** Tokens computed, prompts counted once. */
  readonly tokens: number;
  /** Only for pairs. */
  readonly pairs?: PairFigures;
}

export interface Trainer {
  /** States that a checkpoint carries: weights that are learned, and moments. */
  readonly states: readonly string[];
  /**
   * One step on one whole batch.
   * @param batch for pairs: [real, generated] with their references, and the initial model's answer if the loss uses it;
   * for SFT: one response each
   * @param step 1-based within the iteration
   * @param microBatchTokens tokens computed at once, if not as many as the settings say
   * Throws a failure when the loss or a gradient is not finite, or when a micro-batch does not fit into memory (see
   * `isOutOfMemory`: the step may be called again with fewer tokens at once); weights are as before then.
   */
  step(batch: readonly Group[], step: number, learningRate: number, microBatchTokens?: number): Promise<StepFigures>;
  /**
   * Computes the batch's largest micro-batch and forgets what came out: a device then has had all the memory that a step
   * of this size takes. Throws as `step` does when that does not fit.
   */
  rehearse(batch: readonly Group[], microBatchTokens?: number): Promise<void>;
  dispose(): Promise<void>;
}

export interface TrainerSettings {
  readonly objective: Objective;
  readonly optimizer: OptimizerSettings;
  /** Largest norm of the gradient. */
  readonly maxGradNorm: number;
  /** Tokens computed at once; a batch is split accordingly. */
  readonly microBatchTokens: number;
  /** Whether the backward pass computes each block again instead of keeping what it needs of it: same gradients, less memory. */
  readonly gradientCheckpointing?: boolean;
  /** Which random numbers make the masks of dropout; needed where the model has any. */
  readonly masks?: MaskAddress;
}

export async function openTrainer(engine: Engine, model: LanguageModel, settings: TrainerSettings): Promise<Trainer> {
  const { objective, optimizer: optimizerSettings, maxGradNorm, microBatchTokens: usualTokens, masks } = settings;
  const optimizer = await openOptimizer(engine, model, optimizerSettings);
  const program = await engine.compile(trainGraph(model, objective, settings.gradientCheckpointing));

  /** Forgets the micro-batches of a step that cannot be finished. */
  async function clearGradients(): Promise<void> {
    for (const { name, shape } of trainable(model)) await engine.createState(gradientName(name), shape);
  }

  if (model.dropout && !masks) throw failure({ what: 'a model with dropout is trained without random numbers' });
  /** @param first number of the micro-batch's first item in its batch */
  const runMicroBatch = (
    packed: PackedTokens,
    items: readonly Group[],
    totals: BatchTotals,
    step: number,
    first: number,
  ) => {
    const keys = model.dropout ? dropoutKeys(items, masks!, step, first) : undefined;
    return program.run(trainInputs(packed, objective, totals, keys)).catch(async (error: unknown) => {
      if (isOutOfMemory(error)) await clearGradients();
      throw error;
    });
  };

  return {
    states: [...trainable(model).map(({ name }) => name), ...optimizer.moments],
    step: async (batch, step, learningRate, microBatchTokens = usualTokens) => {
      const totals = totalsOf(batch);
      let loss = 0;
      let tokens = 0;
      let items = 0;
      const pairs = new PairSums();
      for (const micro of splitByTokens(batch, packedLength, microBatchTokens)) {
        const packed = packGroups(micro);
        tokens += packed.ids.length;
        const results = await runMicroBatch(packed, micro, totals, step, items);
        items += micro.length;
        loss += results['loss']!.data[0]!;
        if (!Number.isFinite(loss)) {
          const bad = await firstBadWeight(engine, model);
          throw failure({
            what: `the loss is not finite at step ${step}${bad === undefined ? '' : `: ${bad} is not finite`}`,
            fix: 'resume with a lower learning rate; the weights on disk are from before this step',
          });
        }
        if (objective.kind === 'spin') {
          const [real, generated, logps] = ['realReward', 'generatedReward', 'logps'].map(
            (name) => results[name]!.data,
          );
          pairs.add(real!, generated!, logps!);
        }
      }
      const gradNorm = await optimizer.update(step, learningRate, maxGradNorm).catch((error: unknown) => {
        // Fewer tokens at once would not help, and weights may have moved: nothing to try again.
        throw isOutOfMemory(error)
          ? failure({
              what: error.what,
              fix: 'choose a smaller model, or rmsprop, which keeps less than adamw',
              cause: error,
            })
          : error;
      });
      return { loss, gradNorm, tokens, ...(objective.kind === 'spin' ? { pairs: pairs.means() } : {}) };
    },
    rehearse: async (batch, microBatchTokens = usualTokens) => {
      const sizeOf = (micro: readonly Group[]) => micro.reduce((n, group) => n + packedLength(group), 0);
      const micros = splitByTokens(batch, packedLength, microBatchTokens);
      const largest = micros.reduce((a, b) => (sizeOf(b) > sizeOf(a) ? b : a));
      await runMicroBatch(packGroups(largest), largest, totalsOf(batch), 0, 0);
      await clearGradients();
    },
    dispose: async () => {
      await program.dispose();
      await optimizer.dispose();
    },
  };
}

/** The first weight tensor that holds a number which is not finite. */
async function firstBadWeight(engine: Engine, { parameters }: LanguageModel): Promise<string | undefined> {
  for (const { name } of parameters) {
    if (!(await engine.readState(name)).every(Number.isFinite)) return name;
  }
  return undefined;
}

/** Sums over pairs, micro-batch by micro-batch. */
class PairSums {
  #count = 0;
  #sums = { real: 0, generated: 0, right: 0, logReal: 0, logGenerated: 0 };

  add(real: ArrayLike<number>, generated: ArrayLike<number>, logps: ArrayLike<number>): void {
    const s = this.#sums;
    const perPair = logps.length / real.length;
    for (let p = 0; p < real.length; p++) {
      s.real += real[p]!;
      s.generated += generated[p]!;
      s.right += real[p]! > generated[p]! ? 1 : real[p] === generated[p] ? 0.5 : 0;
      s.logReal += logps[perPair * p]!;
      s.logGenerated += logps[perPair * p + 1]!;
    }
    this.#count += real.length;
  }

  means(): PairFigures {
    const { real, generated, right, logReal, logGenerated } = this.#sums;
    const n = this.#count;
    return {
      'rewards/real': real / n,
      'rewards/generated': generated / n,
      'rewards/margins': (real - generated) / n,
      'rewards/accuracies': right / n,
      'logps/real': logReal / n,
      'logps/generated': logGenerated / n,
    };
  }
}
