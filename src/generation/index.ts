/** Generation: prompt ids -> completion ids and log-probs, on any engine. */
export {
  type CompletionGenerator,
  type GenerationStats,
  type GeneratorOptions,
  generate,
  openGenerator,
} from './generate.ts';
export type { Completion, GenerationProgress, GenerationRequest, GenerationSettings } from './requests.ts';
export { GENERATION_STREAM, gameSampling, greedySampling, type Sampling } from './sampling.ts';
