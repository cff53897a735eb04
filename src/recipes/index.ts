/** The recipes, each read from top to bottom: spin, sft, dpo, baselines, preflight, probe, generate, evaluate, chat, play. */
export { type Paint, preflightGame, preflightText } from './beforehand.ts';
export { type Answer, type Chat, type ChatRequest, openChat } from './chat.ts';
export { compareRuns, comparisonText, type RunComparison } from './compare.ts';
export { Interrupted, type RecipeContext } from './context.ts';
export { type Conversing, converse, type Ear, type TalkEvent } from './converse.ts';
export {
  type DataInput,
  type DataReport,
  type DataSettings,
  dataSchema,
  dataText,
  describeData,
} from './dataReport.ts';
export { type Diagnosis, diagnose, diagnosisText, type EngineFinding } from './doctor.ts';
export { trainOnPairs } from './dpo.ts';
export { type DpoInput, type DpoSettings, dpoSchema } from './dpoSettings.ts';
export type { OpenEngine, OpenedEngine } from './engines.ts';
export { type ExportOutcome, exportModel } from './export.ts';
export { type ExportInput, type ExportSettings, exportSchema } from './exportSettings.ts';
export { type Lineup, type Partner, partnerNamed } from './lineup.ts';
export { type Difference, lockDifferences, type RunLock, readLock } from './lock.ts';
export { type MergeOutcome, mergeModel } from './merge.ts';
export type { RunOutcome } from './outcome.ts';
export { openPlay, type Play, type PlayScore, playText, type Round, type Side } from './play.ts';
export { type Playable, playable } from './playable.ts';
export type { PreflightReport } from './preflight.ts';
export { presetBelow, presets } from './presets.ts';
export { probe } from './probe.ts';
export { type ProbeReport, probeText } from './probeReport.ts';
export { type ProbeInput, type ProbeSettings, probeSchema, trialSchema } from './probeSettings.ts';
export type { Place, Seat } from './rest.ts';
export { addBaselines, resumeRun } from './resume.ts';
export { defaultDirectory } from './run.ts';
export {
  type AddedBaselines,
  addedBaselinesSchema,
  type ChatInput,
  type ChatSettings,
  chatSchema,
  type EvalInput,
  type EvalSettings,
  evalSchema,
  type GenerateInput,
  type GenerateSettings,
  generateSchema,
  type MergeInput,
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
export { type AnsweredPrompt, answerLines, evaluateModel, generateAnswers } from './single.ts';
export { playSpin } from './spin.ts';
export { openTalk, type Talk } from './talk.ts';
export {
  type PlayInput,
  type PlaySettings,
  playSchema,
  type TalkInput,
  type TalkSettings,
  talkSchema,
} from './talkSettings.ts';
export { proofText, type ResumeProof, type ToVerify, type VerifyOptions, verifyResume } from './verifyResume.ts';
