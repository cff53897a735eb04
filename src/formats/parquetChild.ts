// The process that reads parquet: a file's path as its argument, a message {rows} for each row group that it is asked for,
// then {end}, or {problem}.
import { open } from 'node:fs/promises';
import { boundedFile, parquetRows } from './parquetRows.ts';

/** What the process says. */
export type ParquetAnswer =
  | { readonly rows: Record<string, unknown>[] }
  | { readonly end: true }
  | { readonly problem: string };

const say = (answer: ParquetAnswer) => process.send!(answer);

/** What JavaScript says of a value that is not there says nothing about the file. */
function problemOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error instanceof TypeError ? `its parts contradict each other (${error.message})` : error.message;
}

const handle = await open(process.argv[2]!, 'r');
const { size } = await handle.stat();
const groups = parquetRows(
  boundedFile(size, async (start, length) => {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await handle.read(bytes, done, length - done, start + done);
      if (bytesRead === 0) throw new Error('it became shorter while it was read');
      done += bytesRead;
    }
    return bytes;
  }),
);
process.on('message', () => {
  groups.next().then(
    ({ done, value }) => say(done === true ? { end: true } : { rows: value! }),
    (error: unknown) => say({ problem: problemOf(error) }),
  );
});
process.on('disconnect', () => process.exit());
