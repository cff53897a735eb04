/** The recipes, each read from top to bottom: spin, sft, generate, evaluate. */
export { type Paint, preflightGame, preflightText } from './beforehand.ts';
export { compareRuns, comparisonText, type RunComparison } from './compare.ts';
export { Interrupted, type RecipeContext } from './context.ts';
export type { OpenEngine, OpenedEngine } from './engines.ts';
export { type Difference, lockDifferences, type RunLock, readLock } from './lock.ts';
export { mergeModel } from './merge.ts';
export type { RunOutcome } from './outcome.ts';
export type { PreflightReport } from './preflight.ts';
export { probe } from './probe.ts';
export { type ProbeReport, probeText } from './probeReport.ts';
export { type ProbeInput, type ProbeSettings, probeSchema, trialSchema } from './probeSettings.ts';
export { resumeRun } from './resume.ts';
export {
  type EvalSettings,
  evalSchema,
  type GenerateSettings,
  generateSchema,
  type MergeSettings,
  mergeSchema,
  type ResumeChanges,
  resumeSchema,
  type SftInput,
  type SftSettings,
  type SpinInput,
  type SpinSettings,
  sftSchema,
  spinSchema,
} from './settings.ts';
export { fineTune } from './sft.ts';
export { evaluateModel, generateAnswers } from './single.ts';
export { playSpin } from './spin.ts';
export { proofText, type ResumeProof, type VerifyOptions, verifyResume } from './verifyResume.ts';
