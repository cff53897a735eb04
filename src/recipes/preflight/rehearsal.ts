/** Training before there is anything to train on: does the longest pair fit into memory, and how fast does it go? */
import { type Group, packedLength, splitByTokens } from '../../pairs/index.ts';
import { type Objective, openTrainer } from '../../training/index.ts';
import { isOutOfMemory } from '../../util/index.ts';
import type { Player } from '../game/opponent.ts';
import { reducedTokens } from '../run/memory.ts';
import { optimizerOf } from '../settings/settings.ts';
import type { DrawTools } from './draw.ts';
import type { Pace } from './estimate.ts';

export interface Rehearsal {
  /** What is wrong with the longest pair; null when it fits. */
  readonly problem: string | null;
  /** Tokens that fit at once. */
  readonly fit: number;
  /** Compiling, a token, a step; null when nothing fits. */
  readonly pace: Pick<Pace, 'open' | 'learn' | 'step'> | null;
}

/**
 * Steps with rate 0, which leave the weights as they are, and one micro-batch as there would be.
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
  try {
    const trainer = await openTrainer(engine, loaded.model, {
      objective,
      optimizer: optimizerOf(settings),
      maxGradNorm: settings.max_grad_norm,
      microBatchTokens: settings.micro_batch_tokens,
      gradientCheckpointing: settings.gradient_checkpointing === 'true',
      masks: { seed: settings.seed, iteration: null },
    });
    const [shortest] = usual.toSorted((a, b) => packedLength(a) - packedLength(b));
    /** As many tokens at once as fit, in seconds per token. */
    const thatFits = async (): Promise<number> => {
      const items = largest(usual, fit);
      lap();
      try {
        await trainer.rehearse(items, fit);
        return lap() / tokensOf(items);
      } catch (error) {
        const less = isOutOfMemory(error) ? reducedTokens(items, fit) : undefined;
        if (less === undefined) throw error;
        fit = less;
        return thatFits();
      }
    };
    try {
      const open = lap();
      // Warms up and makes the moments; then gradients, moments and all that the longest pair leaves on its way.
      await trainer.step([shortest!], 1, 0, fit);
      await trainer.rehearse([longest]);
      const learn = await thatFits();
      await trainer.step([shortest!], 1, 0, fit);
      const step = Math.max(0, lap() - learn * packedLength(shortest!));
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
