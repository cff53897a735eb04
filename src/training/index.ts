/** Losses, optimizers, schedules, one step. */
export { type LossName, type LossSettings, lossNames, mixedReference, startOf, usesInitial } from './losses.ts';
export type { OptimizerSettings } from './optimizer.ts';
export { gradientName, type Objective, trainGraph, trainInputs, trainingBytes } from './programs.ts';
export { learningRateAt, type Schedule } from './schedule.ts';
export { openScorer, type Scorer } from './scorer.ts';
export { openTrainer, type PairFigures, type StepFigures, type Trainer, type TrainerSettings } from './trainer.ts';
