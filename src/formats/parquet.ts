// Rows of parquet files, read in a process of its own: a file may claim what no memory holds, and then that process dies, not
// this one.
import { once } from 'node:events';
import { failure, openChild } from '../util/index.ts';
import type { JsonLine } from './jsonl.ts';
import type { ParquetAnswer } from './parquetChild.ts';

/** MB that the objects of one row group may take. */
const HEAP_MB = 3072;

/** The rows by column; `line` is the number of the row, from 1. What is wrong with the file is a failure that names it. */
export async function* readParquet(file: string, heap = HEAP_MB): AsyncGenerator<JsonLine, void, undefined> {
  const child = openChild(new URL('./parquetChild.ts', import.meta.url), [file], heap);
  const died = once(child, 'exit').then(() => 'died' as const);
  let line = 0;
  try {
    for (;;) {
      const answered = once(child, 'message') as Promise<[ParquetAnswer]>;
      answered.catch(() => undefined);
      child.send('next', () => undefined);
      const found = await Promise.race([answered, died]);
      if (found === 'died') {
        throw failure({
          what: `the parquet file cannot be read: a row group takes more than ${heap} MB, or is damaged`,
          where: `${file}:${line + 1}`,
          fix: 'if it is whole, write it with smaller row groups (row_group_size in pyarrow)',
        });
      }
      const [answer] = found;
      if ('problem' in answer) {
        throw failure({
          what: `the parquet file is damaged or not supported: ${answer.problem}`,
          where: line === 0 ? file : `${file}:${line + 1}`,
          fix: 'fetch or write it again',
        });
      }
      if ('end' in answer) return;
      for (const value of answer.rows) yield { line: ++line, value };
    }
  } finally {
    child.kill('SIGKILL');
  }
}
