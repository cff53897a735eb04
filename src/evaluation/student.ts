// Student's t distribution, for means over few seeds: their spread is itself known badly, and a normal interval is too
// narrow. Densities are integrated by Simpson's rule; good to some ten digits, which is more than a p-value has use for.
import { mean, standardError } from './statistics.ts';

/** Intervals of an even number. */
const STEPS = 2000;

/** ∫₀^end of f, by Simpson's rule. */
function integral(f: (x: number) => number, end: number): number {
  const h = end / STEPS;
  let sum = 0;
  for (let i = 0; i <= STEPS; i++) sum += (i === 0 || i === STEPS ? 1 : i % 2 === 1 ? 4 : 2) * f(i * h);
  return (sum * h) / 3;
}

/**
 * Two-sided p-value of t with `df` degrees of freedom: the chance of |T| ≥ |t|. With t = √df·tan θ the density becomes
 * cos^(df−1) θ, up to its integral from 0 to π/2.
 * @throws RangeError unless df is a positive whole number
 */
export function studentP(t: number, df: number): number {
  if (!Number.isInteger(df) || df < 1) throw new RangeError(`degrees of freedom: ${df}`);
  const density = (theta: number) => Math.cos(theta) ** (df - 1);
  const inside = integral(density, Math.atan(Math.abs(t) / Math.sqrt(df)));
  return Math.max(0, 1 - inside / integral(density, Math.PI / 2));
}

/** Two-sided p-value of a normal z: 1 − √(2/π)·∫₀^|z| e^(−x²/2). */
export function normalP(z: number): number {
  // Beyond 40 nothing is left that a double could hold.
  const inside = integral((x) => Math.exp((-x * x) / 2), Math.min(Math.abs(z), 40));
  return Math.max(0, 1 - Math.sqrt(2 / Math.PI) * inside);
}

/** The t whose two-sided p-value is 5 %: half the width of a 95 % interval in standard errors. */
export function studentQuantile(df: number): number {
  let [low, high] = [1, 13];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (studentP(middle, df) > 0.05) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

export interface MeanInterval {
  readonly difference: number;
  /** 95 %. */
  readonly low: number;
  readonly high: number;
  /** Two-sided, of a mean of 0. */
  readonly p: number;
}

/** Mean of differences, one a seed, with its t interval. @throws RangeError for fewer than two */
export function meanOverSeeds(differences: readonly number[]): MeanInterval {
  const error = standardError(differences);
  if (error === null) throw new RangeError('an interval over seeds needs at least two');
  const df = differences.length - 1;
  const difference = mean(differences);
  const half = studentQuantile(df) * error;
  const p = error === 0 ? Number(difference === 0) : studentP(difference / error, df);
  return { difference, low: difference - half, high: difference + half, p };
}
