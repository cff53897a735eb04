/** Learning rate over the steps of one iteration. */

export interface Schedule {
  readonly kind: 'linear' | 'cosine' | 'constant';
  readonly learningRate: number;
  /** Share of the steps over which the rate rises from 0; ceil(share · steps) steps, as in transformers. */
  readonly warmupRatio: number;
}

/**
 * The rate of step `step` (0-based) of `steps`: rises linearly from 0, then falls to 0 along a line or half a cosine.
 * With warm-up the very first step has rate 0, as in the reference run.
 */
export function learningRateAt({ kind, learningRate, warmupRatio }: Schedule, step: number, steps: number): number {
  const warmup = Math.ceil(warmupRatio * steps);
  if (step < warmup) return (learningRate * step) / warmup;
  if (kind === 'constant') return learningRate;
  const done = (step - warmup) / Math.max(1, steps - warmup);
  return learningRate * (kind === 'linear' ? 1 - done : 0.5 * (1 + Math.cos(Math.PI * done)));
}
