/**
 * Says which train prompts overlap with those of dev, of test and of the files that the user names: in the log, in words,
 * and row by row in a file.
 */
import { writeFileAtomic } from '../../util/index.ts';
import type { Rows } from './rows.ts';
import type { Run } from './run.ts';

/** The rows that were compared with held-out ones, and where in the run directory the overlaps are listed. */
interface Compared extends Pick<Rows, 'comparisons' | 'compared'> {
  readonly listed: string;
  /** Of the rows of a file of pairs. */
  readonly iteration?: number;
}

/** Logs (once in a run) and says what was found, and lists every overlap in the run directory. */
export async function reportContamination(
  run: Pick<Run, 'settings' | 'before' | 'emit' | 'say' | 'warn' | 'path'>,
  { comparisons, compared, listed, iteration }: Compared,
): Promise<void> {
  const dropped = run.settings.contaminated === 'drop';
  const lines = comparisons.flatMap(({ name, overlaps }) =>
    overlaps.map(({ train, heldOut, words }) =>
      JSON.stringify({
        v: 1,
        id: train.id,
        file: train.file,
        line: train.line,
        against: name,
        with: { file: heldOut.file, line: heldOut.line, id: heldOut.id },
        words,
        action: dropped ? 'dropped' : 'kept',
      }),
    ),
  );
  if (lines.length > 0) await writeFileAtomic(run.path(listed), lines.map((line) => `${line}\n`).join(''));
  const rows = iteration === undefined ? 'train rows' : `pairs of iteration ${iteration}`;
  const isLogged = (name: string) =>
    run.before.some((e) => e.type === 'contamination' && e.against === name && e.iteration === (iteration ?? null));
  for (const { name, examples, overlaps } of comparisons) {
    const [first] = overlaps;
    if (!isLogged(name)) {
      await run.emit({
        ...(iteration === undefined ? {} : { iteration, stage: 'prepare' }),
        type: 'contamination',
        against: name,
        prompts: examples.length,
        overlapping: overlaps.length,
        dropped,
      });
    }
    if (!first) continue;
    const found =
      `${overlaps.length} of the ${compared} ${rows} have a prompt that overlaps with one of ${name} (the first: ` +
      `${first.train.file}:${first.train.line} with ${first.heldOut.file}:${first.heldOut.line}; all are in ${listed})`;
    if (dropped) await run.say(`${found}; they are left out.`);
    else
      await run.warn(
        `${found}: figures on those will look better than the model is; --contaminated drop leaves them out.`,
      );
  }
  const clean = comparisons.filter(({ examples, overlaps }) => examples.length > 0 && overlaps.length === 0);
  const names = clean.map(({ name }) => name).join(', ');
  if (names === '') return;
  await run.say(
    iteration === undefined
      ? `No train prompt overlaps with one of ${names}.`
      : `No prompt of the ${rows} overlaps with one of ${names}.`,
  );
}
