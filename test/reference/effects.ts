/** Reference kernels of the effects: each returns what its leading inputs, states, become. */
import type { OpAttributes } from '../../src/graph/index.ts';
import { type Array64, index, map, row } from './array.ts';
import { cached } from './generation.ts';

const copy = (x: Array64): Array64 => map(x, (value) => value);

export function cacheWrite(cache: Array64, slots: Array64, positions: Array64, values: Array64): Array64[] {
  const [, heads, , d] = cache.shape as [number, number, number, number];
  const next = copy(cache);
  slots.data.forEach((slot, t) => {
    for (let g = 0; g < heads; g++) {
      cached(next, slot, g, positions.data[t]!).set(row(values, t).subarray(g * d, (g + 1) * d));
    }
  });
  return [next];
}

export function cacheMove(cache: Array64, from: Array64, to: Array64): Array64[] {
  const slots = cache.shape[0]!;
  const size = cache.data.length / slots;
  const next = copy(cache);
  from.data.forEach((slot, i) => {
    const start = index('from', slot, slots) * size;
    next.data.copyWithin(index('to', to.data[i]!, slots) * size, start, start + size);
  });
  return [next];
}

export function adamw(
  [parameter, gradient, m, v]: readonly [Array64, Array64, Array64, Array64],
  scalars: Array64,
  { beta1, beta2, eps, weightDecay }: OpAttributes['adamw'],
): Array64[] {
  const [rate, factor, correction1, correction2] = scalars.data as unknown as [number, number, number, number];
  const g = map(gradient, (value) => value * factor);
  const nextM = map(m, (value, i) => beta1 * value + (1 - beta1) * g.data[i]!);
  const nextV = map(v, (value, i) => beta2 * value + (1 - beta2) * g.data[i]! ** 2);
  const nextParameter = map(parameter, (p, i) => {
    const step = nextM.data[i]! / correction1 / (Math.sqrt(nextV.data[i]! / correction2) + eps);
    return p - rate * weightDecay * p - rate * step;
  });
  return [nextParameter, gradient, nextM, nextV];
}

export function rmsprop(
  [parameter, gradient, v]: readonly [Array64, Array64, Array64],
  scalars: Array64,
  { alpha, eps }: OpAttributes['rmsprop'],
): Array64[] {
  const [rate, factor] = scalars.data as unknown as [number, number];
  const g = map(gradient, (value) => value * factor);
  const nextV = map(v, (value, i) => alpha * value + (1 - alpha) * g.data[i]! ** 2);
  const nextParameter = map(parameter, (p, i) => p - (rate * g.data[i]!) / (Math.sqrt(nextV.data[i]!) + eps));
  return [nextParameter, gradient, nextV];
}
