/**
 * Too little memory in the middle of training: the micro-batch is halved, which changes nothing about the step but its
 * rounding. Every reduction is an event of the log with the step from which it holds, and a resume computes each step
 * with the size that it had.
 */
import { type Group, packedLength, splitByTokens } from '../../pairs/index.ts';
import type { RunEvent } from '../../report/index.ts';

/** A step of training: `iteration` is null in plain SFT, `step` counts from 1. */
export interface StepAddress {
  readonly iteration: number | null;
  readonly step: number;
}

/** From this step on at most `tokens` are computed at once. */
export interface Reduction extends StepAddress {
  readonly tokens: number;
}

/** How training fits into memory, in the names of the settings. */
export interface MemoryPlan {
  /** Tokens computed at once, at most. */
  readonly micro_batch_tokens: number;
  readonly gradient_checkpointing: boolean;
}

/** The reductions among the events of a run. */
export function reductionsOf(events: readonly RunEvent[]): Reduction[] {
  return events.flatMap((event) => (event.type === 'micro-batch.reduced' ? [event] : []));
}

/** Tokens computed at once in a step: as many as were planned, or as the last reductions up to it left. */
export function microBatchTokens(planned: number, reductions: readonly Reduction[], at: StepAddress): number {
  const reached = reductions.filter(({ iteration, step }) => {
    const [then, now] = [iteration ?? 0, at.iteration ?? 0];
    return then < now || (then === now && step <= at.step);
  });
  return Math.min(planned, ...reached.map(({ tokens }) => tokens));
}

/**
 * The next smaller size after one that did not fit: half of the largest micro-batch of the batch, but not less than its
 * longest item.
 * @returns undefined when the longest item is what does not fit
 */
export function reducedTokens(batch: readonly Group[], tokens: number): number | undefined {
  const sizes = splitByTokens(batch, packedLength, tokens).map((micro) =>
    micro.reduce((n, group) => n + packedLength(group), 0),
  );
  const largest = Math.max(...sizes);
  const next = Math.max(Math.floor(largest / 2), ...batch.map(packedLength));
  return next < largest ? next : undefined;
}
