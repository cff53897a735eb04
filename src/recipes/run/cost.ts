/**
 * What a game cost, from its log: optimizer steps, and the tokens that went through the model to write answers, to score
 * them and to learn from them (training/flops.ts makes FLOPs of tokens). Counted are the iterations of the table: what
 * the governor took back is not, and judging is not, which every model of the table has.
 *
 * Per iteration, with P prompt, R human and G generated tokens, the last of an answer never being read:
 *
 *   written   Σ prompts    P + G − 1                 pairs that were left out as well
 *   scored    Σ pairs      P + R − 1                 G has its log-probs from the sampler; else P + R + G − 2
 *   learned   Σ epochs, Σ pairs   P + R + G − 2      the prompt once for both answers
 */
import type { LanguageModel } from '../../models/index.ts';
import { type Group, packedLength } from '../../pairs/index.ts';
import { type RunEvent, readRunLog } from '../../report/index.ts';
import { flopsOf } from '../../training/index.ts';
import { failure } from '../../util/index.ts';
import type { Run } from './run.ts';

/** Tokens, but for `steps`. */
export interface IterationCost {
  readonly steps: number;
  readonly written: number;
  readonly scored: number;
  readonly learned: number;
}

/** The cost of each of these iterations, by number. Throws a failure when the log does not count tokens. */
export async function gameCost(
  { directory }: Pick<Run, 'directory'>,
  iterations: readonly number[],
): Promise<Map<number, IterationCost>> {
  // The last that finished: what was rolled back came before it.
  const finished = new Map<string, Record<string, number>>();
  for (const event of await readRunLog(directory)) {
    if (event.type !== 'stage.finished' || event.baseline !== undefined) continue;
    finished.set(`${event.iteration} ${event.stage}`, event.counts);
  }
  return new Map(
    iterations.map((t) => {
      const count = (stages: readonly NonNullable<RunEvent['stage']>[], name: string): number => {
        const value = stages.map((stage) => finished.get(`${t} ${stage}`)?.[name]).find((n) => n !== undefined);
        if (value !== undefined) return value;
        throw failure({
          what: `the log does not say what iteration ${t} cost: an older version of selfplay played it`,
          where: directory,
          fix: 'play the game again to have baselines of equal cost',
        });
      };
      const written = count(['generate', 'prepare'], 'computed');
      const [scored, learned] = [count(['reference'], 'tokens'), count(['train'], 'tokens')];
      return [t, { steps: count(['train'], 'steps'), written, scored, learned }];
    }),
  );
}

/** FLOPs of an iteration: answers are written and scored by reading. */
export function iterationFlops(model: Pick<LanguageModel, 'parameters'>, cost: IterationCost): number {
  return flopsOf(model, { read: cost.written + cost.scored, learned: cost.learned });
}

/**
 * Optimizer steps on these groups that take so many FLOPs, to the nearest: an epoch takes ⌈groups / batch size⌉ steps, and
 * all its tokens are learned. At least 1.
 */
export function stepsForFlops(
  flops: number,
  model: Pick<LanguageModel, 'parameters'>,
  groups: readonly Group[],
  batchSize: number,
): number {
  const learned = groups.reduce((n, group) => n + packedLength(group), 0);
  const perStep = flopsOf(model, { read: 0, learned }) / Math.ceil(groups.length / batchSize);
  return Math.max(1, Math.round(flops / perStep));
}
