// Rows of parquet files, read in a process of its own: a file may claim what no memory holds, or lead its reader in a circle,
// and then that process is ended, not this one.
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { failure, openChild } from '../util/index.ts';
import type { JsonLine } from './jsonl.ts';
import type { ParquetAnswer } from './parquetChild.ts';

/** What the reading of one row group may take. */
interface Limits {
  /** MB of objects. */
  readonly heap: number;
  /** Seconds; a healthy file is read at a multiple of a megabyte a second. */
  readonly seconds: number;
}

const limitsOf = (bytes: number): Limits => ({ heap: 3072, seconds: 60 + bytes / 1e6 });

/** The rows by column; `line` is the number of the row, from 1. What is wrong with the file is a failure that names it. */
export async function* readParquet(
  file: string,
  given: Partial<Limits> = {},
): AsyncGenerator<JsonLine, void, undefined> {
  const { heap, seconds } = { ...limitsOf((await stat(file)).size), ...given };
  const child = openChild(new URL('./parquetChild.ts', import.meta.url), [file], heap);
  const died = once(child, 'exit').then(() => `takes more than ${heap} MB`);
  let line = 0;
  try {
    for (;;) {
      const answered = once(child, 'message') as Promise<[ParquetAnswer]>;
      answered.catch(() => undefined);
      child.send('next', () => undefined);
      const patience = new AbortController();
      const late = sleep(1000 * seconds, `takes more than ${Math.round(seconds)} s`, { signal: patience.signal });
      late.catch(() => undefined);
      const found = await Promise.race([answered, died, late]);
      patience.abort();
      if (typeof found === 'string') {
        throw failure({
          what: `the parquet file cannot be read: a row group ${found}, or is damaged`,
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
