/** Graph to gradient graph, and what of it is computed again to save memory. */
export { gradients } from './gradients.ts';
export { recomputed } from './recompute.ts';
