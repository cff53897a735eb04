// Evaluation: scores of answers, what answers look like, and statistics that say whether a difference is real.
// Pure: no engine, no run directory; texts, margins and nats per token come in as plain arrays.
export { type AnswerSample, type AnswerStatistics, answerStatistics, repetition } from './degeneration.ts';
export {
  type Discrimination,
  discrimination,
  type Foreignness,
  foreignness,
} from './discrimination.ts';
export { type Decision, decide, type Readings } from './governor.ts';
export { type LengthBias, lengthBias, lengthWarning, type PairLengths } from './lengthBias.ts';
export {
  type Checker,
  lastNumber,
  loadChecker,
  loadScorer,
  pickScorers,
  type ScoredRow,
  type Scorer,
  type ScorerName,
  scorers,
} from './metrics.ts';
export { type Check, type CheckName, checkOf, type PreflightFacts } from './preflight.ts';
export { type Ranked, rankTrials } from './ranking.ts';
export type { BootstrapOptions } from './resampling.ts';
export {
  type Discordance,
  detectableDifference,
  type Estimate,
  estimate,
  holm,
  mcNemar,
  mean,
  type PairedDifference,
  pairedDifference,
  type SeedDifference,
  seedDifference,
  standardError,
} from './statistics.ts';
export { type MeanInterval, meanOverSeeds, normalP } from './student.ts';
