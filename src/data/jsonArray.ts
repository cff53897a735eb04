// A file that is one JSON array, cut into its elements with line numbers, so that an error can name the line of the bad row.

import { failure } from '../util/index.ts';

/**
 * The elements of a JSON array, each with the line it starts on. `text` must start with "[" (after spaces). Throws a failure
 * with file:line for invalid JSON and for an array that does not end.
 */
export function parseJsonArray(text: string, file: string): { line: number; value: unknown }[] {
  const bad = (what: string, line: number) => failure({ what, where: `${file}:${line}`, fix: 'correct the file' });
  const rows: { line: number; value: unknown }[] = [];
  let line = 1;
  let depth = 0;
  let start = -1;
  let startLine = 1;
  let closed = false;
  // Strings are skipped whole; outside them only brackets, commas and line ends matter.
  const marks = /"(?:[^"\\]|\\[\s\S])*"?|[[\]{},\n]|[^\s[\]{},"]+/g;
  const finish = (end: number): void => {
    if (start < 0) throw bad('a row of the JSON array is missing', line);
    try {
      rows.push({ line: startLine, value: JSON.parse(text.slice(start, end)) as unknown });
    } catch (error) {
      throw bad(`not valid JSON: ${(error as Error).message}`, startLine);
    }
    start = -1;
  };
  for (const match of text.matchAll(marks)) {
    const mark = match[0];
    if (mark === '\n') {
      line++;
      continue;
    }
    if (closed) throw bad('text after the end of the JSON array', line);
    const closes = mark === ']' || mark === '}';
    if (depth === 1 && mark === '}') throw bad('not valid JSON: "}" closes the array', line);
    if (depth === 1 && (mark === ',' || closes)) {
      if (mark === ',' || start >= 0 || rows.length > 0) finish(match.index);
      closed = closes;
    } else if (depth >= 1 && start < 0) {
      start = match.index;
      startLine = line;
    }
    if (mark === '[' || mark === '{') depth++;
    if (closes) depth--;
  }
  if (!closed) throw bad('the JSON array does not end: the file may be truncated', line);
  return rows;
}
