// Report: what a run says about itself while it goes (events, progress) and when it is over (results, table).
export { alignedText, type ComparedFigure, compareResults, comparisonTable, pairedFigure } from './comparison.ts';
export { LASTING, type NewEvent, type RunEvent, type Stage } from './events.ts';
export { type Progress, type ProgressOptions, type ProgressStream, progress } from './progress.ts';
export {
  type ItemScores,
  type MetricResult,
  type ResultRow,
  type Results,
  readResults,
  resultRow,
  writeResults,
} from './results.ts';
export { openRunLog, type RunLog, type RunLogOptions, readRunLog, tailRunLog } from './runlog.ts';
export { comparisonSentence, differenceText, figureOf, markdownTable, signedFigure, textTable } from './table.ts';
export { formatCount, formatDuration, formatRate } from './text.ts';
