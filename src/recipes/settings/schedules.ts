/**
 * Settings that may differ between iterations: one value, or a list. The first value of a list is for iteration 0, the
 * next for iteration 1; the last one holds for every iteration after it, and values for iterations that are not played are
 * not used. Places are numbers of iterations, not of iterations of this run, so that a game in several parts has one
 * config file.
 */
import { z } from 'zod';

/** One value for all iterations, or their values from iteration 0 on. */
export type Schedule<T = number> = T | readonly T[];

/** The value for place `index`, from 0. */
export function at<T extends number>(schedule: Schedule<T>, index: number): T {
  return typeof schedule === 'number' ? schedule : schedule[Math.min(index, schedule.length - 1)]!;
}

/** All values that a schedule has. */
export const valuesOf = <T extends number>(schedule: Schedule<T>): readonly T[] =>
  typeof schedule === 'number' ? [schedule] : schedule;

/** "0.1", or "0.1, 0.1, 5 by iteration". */
export const inWords = (schedule: Schedule): string =>
  typeof schedule === 'number' ? String(schedule) : `${schedule.join(', ')} by iteration`;

/** Written as short as it can be, so that equal schedules are equal settings: [0.1, 5, 5] is [0.1, 5], and [5] is 5. */
function shortest<T extends number>(schedule: T | T[]): T | T[] {
  if (typeof schedule === 'number') return schedule;
  let length = schedule.length;
  while (length > 1 && schedule[length - 1] === schedule[length - 2]) length--;
  return length === 1 ? schedule[0]! : schedule.slice(0, length);
}

/** The schema of one value or a list of them. */
export const oneOrMore = <T extends z.ZodType<number>>(value: T) =>
  z.union([value, z.array(value).min(1)]).transform((given) => shortest(given as z.output<T> | z.output<T>[]));

const whole = z.int().min(0);

/** The schema of a replay window; `false` is 0 and `true` is 1. */
export const replayWindow = z
  .union([whole, z.array(whole).min(1), z.boolean()])
  .transform((given) => (typeof given === 'boolean' ? Number(given) : shortest(given)));

interface Replay {
  /** How many iterations back the window of an iteration reaches. */
  readonly replay: Schedule;
  /** Weight of a pair of the iteration before, of the one before that ..., where that of a new pair is 1. */
  readonly replay_weights?: Schedule | undefined;
}

/** The earlier iterations whose pairs iteration t trains on, the last one first, with the weight of each of their pairs. */
export function replayedIn({ replay, replay_weights: weights = 1 }: Replay, t: number) {
  const ages = Array.from({ length: Math.min(at(replay, t), t) }, (_, i) => i + 1);
  return ages.map((age) => ({ iteration: t - age, weight: at(weights, age - 1) })).filter(({ weight }) => weight > 0);
}

/** How many iterations before its first one a game replays: their pairs have to come from files. */
export function replayedBefore(
  settings: Replay & { readonly start_iteration: number; readonly iterations: number },
): number {
  const { start_iteration: first, iterations, replay } = settings;
  // Later ones have the windows of their own game.
  const end = first + Math.min(iterations, Math.max(...valuesOf(replay)));
  let reach = 0;
  for (let t = first; t < end; t++) {
    for (const { iteration } of replayedIn(settings, t)) reach = Math.max(reach, first - iteration);
  }
  return reach;
}

/**
 * Weights as the loss has them: w_i·N / Σ w_j over the N pairs of an iteration. Then the mean over the pairs of a batch is
 * an estimate of Σ w_i ℓ_i / Σ w_i, whatever the batches are, and without unequal weights every weight is 1.
 */
export function normalized(weights: readonly number[]): number[] {
  const total = weights.reduce((sum, w) => sum + w, 0);
  return weights.map((w) => (w * weights.length) / total);
}
