/** The recipes, each read from top to bottom: spin, sft, dpo, baselines, preflight, probe, generate, evaluate, chat, play. */

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
export { type ExportOutcome, exportModel } from './export/export.ts';
export { type MergeOutcome, mergeModel } from './export/merge.ts';
export type { RunOutcome } from './game/outcome.ts';
export { type ProbeReport, probeText } from './game/probeReport.ts';
export { type Playable, playable } from './playable.ts';
export { type Paint, preflightGame, preflightText } from './preflight/beforehand.ts';
export type { PreflightReport } from './preflight/preflight.ts';
export { probe } from './probe.ts';
export { compareRuns, comparisonText, type RunComparison } from './proof/compare.ts';
export { proofText, type ResumeProof, type ToVerify, type VerifyOptions, verifyResume } from './proof/verifyResume.ts';
export { addBaselines, resumeRun } from './resume.ts';
export { Interrupted, type RecipeContext } from './run/context.ts';
export type { OpenEngine, OpenedEngine } from './run/engines.ts';
export { type Lineup, type Partner, partnerNamed } from './run/lineup.ts';
export { type Difference, lockDifferences, type RunLock, readLock } from './run/lock.ts';
export type { Place, Seat } from './run/rest.ts';
export { defaultDirectory } from './run/run.ts';
export { type DpoInput, type DpoSettings, dpoSchema } from './settings/dpoSettings.ts';
export { type ExportInput, type ExportSettings, exportSchema } from './settings/exportSettings.ts';
export { presetBelow, presets } from './settings/presets.ts';
export { type ProbeInput, type ProbeSettings, probeSchema, trialSchema } from './settings/probeSettings.ts';
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
} from './settings/settings.ts';
export {
  type PlayInput,
  type PlaySettings,
  playSchema,
  type TalkInput,
  type TalkSettings,
  talkSchema,
} from './settings/talkSettings.ts';
export { fineTune } from './sft.ts';
export { type AnsweredPrompt, answerLines, evaluateModel, generateAnswers } from './single.ts';
export { playSpin } from './spin.ts';
export { type Answer, type Chat, type ChatRequest, openChat } from './talk/chat.ts';
export { type Conversing, converse, type Ear, type TalkEvent } from './talk/converse.ts';
export { openPlay, type Play, type PlayScore, playText, type Round, type Side } from './talk/play.ts';
export { openTalk, type Talk } from './talk/talk.ts';
