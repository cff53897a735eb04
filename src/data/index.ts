// data: dataset files -> Examples (prompt messages and response), splits and limits, overlaps between prompts.
export { type Overlap, promptOverlaps } from './contamination.ts';
export { type AnswerKeys, parsePairRow, textProblem } from './pairRows.ts';
export {
  contentId,
  type Dataset,
  type Example,
  filesInWords,
  isTooMany,
  readExamples,
  type SkippedRow,
} from './readExamples.ts';
export { readRows } from './readRows.ts';
export { type Columns, type Message, promptProblem, rolesProblem, TURNS, type Turns } from './rows.ts';
export { type Splits, splitExamples, take } from './split.ts';
