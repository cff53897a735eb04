/** Losses, optimizers, schedules, one step, and what it costs. */
export { type Agreement, type Halves, halvesOf, listsOf, noiseScale, openAgreement } from './agreement.ts';
export { flopsOf, flopsPerLearned, parameterCount } from './flops.ts';
export {
  type LossName,
  type LossSettings,
  lossNames,
  mixedReference,
  startOf,
  usesInitial,
  usesReference,
} from './losses.ts';
export type { OptimizerSettings } from './optimizer.ts';
export { gradientName, type Objective, trainGraph, trainInputs, trainingBytes } from './programs.ts';
export { learningRateAt, type Schedule } from './schedule.ts';
export { openScorer, type Scorer } from './scorer.ts';
export { openTrainer, type PairFigures, type StepFigures, type Trainer, type TrainerSettings } from './trainer.ts';
