// data: dataset files -> Examples (prompt messages and response), splits and limits, overlaps between prompts.
export { type Overlap, promptOverlaps } from './contamination.ts';
export { type Dataset, type Example, readExamples, type SkippedRow } from './readExamples.ts';
export type { Columns, Message } from './rows.ts';
export { type Splits, splitExamples, take } from './split.ts';
