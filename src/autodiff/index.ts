/** Graph to gradient graph. */
export { gradients } from './gradients.ts';
