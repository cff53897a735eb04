/** Model architectures: config.json -> parameters and forward graph. */
export type { Attend, LanguageModel, Parameter } from './model.ts';
export { modelFromConfig } from './registry.ts';
