/** Training before there is anything to train on: does the longest pair fit into memory, and how fast does it go? */
import { type Group, packedLength, splitByTokens } from '../pairs/index.ts';
import { type Objective, openTrainer } from '../training/index.ts';
import { isOutOfMemory } from '../util/index.ts';
import type { DrawTools } from './draw.ts';
import type { Pace } from './estimate.ts';
import { reducedTokens } from './memory.ts';
import type { Player } from './opponent.ts';
import { optimizerOf } from './settings.ts';

export interface Rehearsal {
  /** What is wrong with the longest pair; null when it fits. */
  readonly problem: string | null;
  /** Tokens that fit at once. */
  readonly fit: number;
  /** Compiling, a token, a step; null when nothing fits. */
  readonly pace: Pick<Pace, 'open' | 'learn' | 'step'> | null;
}

/**
 * Steps with rate 0, which leave the weights as they are, and micro-batches as they would be.
 * @param longest the longest pair that there can be
 * @param usual pairs as they come, with their references
 */
export async function rehearse(
  { settings, engine, checkSignal }: DrawTools,
  { loaded }: Player,
  objective: Objective,
  { longest, usual }: { readonly longest: Group; readonly usual: readonly Group[] },
): Promise<Rehearsal> {
  let start = performance.now();
  const lap = () => {
    checkSignal();
    const seconds = (performance.now() - start) / 1000;
    start = performance.now();
    return seconds;
  };
  let fit = settings.micro_batch_tokens;
  const micro = () => largest(usual, fit);
  try {
    const trainer = await openTrainer(engine, loaded.model, {
      objective,
      optimizer: optimizerOf(settings),
      maxGradNorm: settings.max_grad_norm,
      microBatchTokens: settings.micro_batch_tokens,
      gradientCheckpointing: settings.gradient_checkpointing === 'true',
      masks: { seed: settings.seed, iteration: null },
    });
    /** As many tokens at once as fit; a first time also warms up. */
    const thatFits = async (): Promise<readonly Group[]> => {
      const items = micro();
      try {
        await trainer.step(items, 1, 0, fit);
        return items;
      } catch (error) {
        const less = isOutOfMemory(error) ? reducedTokens(items, fit) : undefined;
        if (less === undefined) throw error;
        fit = less;
        return thatFits();
      }
    };
    try {
      const open = lap();
      const items = await thatFits();
      // Now that there are moments: gradients, moments and all that the longest pair leaves on its way.
      await trainer.rehearse([longest]);
      lap();
      await trainer.rehearse(items, fit);
      const learn = lap() / tokensOf(items);
      await trainer.step(items, 1, 0, fit);
      const step = Math.max(0, lap() - learn * tokensOf(items));
      return { problem: null, fit, pace: { open, learn, step } };
    } finally {
      await trainer.dispose();
    }
  } catch (error) {
    if (!isOutOfMemory(error)) throw error;
    return { problem: error.what, fit, pace: null };
  }
}

const tokensOf = (groups: readonly Group[]) => groups.reduce((n, group) => n + packedLength(group), 0);

/** The largest of the micro-batches into which items are split. */
function largest(items: readonly Group[], tokens: number): readonly Group[] {
  return splitByTokens(items, packedLength, tokens).reduce((a, b) => (tokensOf(b) > tokensOf(a) ? b : a));
}
