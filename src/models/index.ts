/** Model architectures: config.json -> parameters and forward graph. */
export { type AdaptedModule, adaptedModules, adapterNames, type LoraConfig, withAdapter } from './adapter.ts';
export { type Attend, type LanguageModel, logitsOf, type Parameter, trainable } from './model.ts';
export { modelFromConfig } from './registry.ts';
