/** The library: the recipes of the command line, as functions. */
export {
  type EvalSettings,
  evalSchema,
  evaluateModel,
  fineTune,
  type GenerateSettings,
  generateAnswers,
  generateSchema,
  Interrupted,
  playSpin,
  type RecipeContext,
  type ResumeChanges,
  type RunOutcome,
  resumeRun,
  resumeSchema,
  type SftInput,
  type SftSettings,
  type SpinInput,
  type SpinSettings,
  sftSchema,
  spinSchema,
} from './recipes/index.ts';
export {
  type Progress,
  progress,
  type Results,
  type RunEvent,
  readResults,
  readRunLog,
  textTable,
} from './report/index.ts';
export { describeError, exitCode, SelfplayError, VERSION } from './util/index.ts';
