/**
 * Says which train prompts overlap with those of dev, of test and of the files that the user names: in the log, in words,
 * and row by row in a file.
 */
import { writeFileAtomic } from '../util/index.ts';
import type { Rows } from './rows.ts';
import { CONTAMINATION, type Run } from './run.ts';

/** Logs and says what was found, and lists every overlap in the run directory. */
export async function reportContamination(
  run: Pick<Run, 'settings' | 'emit' | 'say' | 'warn' | 'path'>,
  { comparisons, compared }: Rows,
): Promise<void> {
  const { data, contaminated } = run.settings;
  const dropped = contaminated === 'drop';
  const lines = comparisons.flatMap(({ name, file, overlaps }) =>
    overlaps.map(({ train, heldOut, words }) =>
      JSON.stringify({
        v: 1,
        id: train.id,
        file: data,
        line: train.line,
        against: name,
        with: { file, line: heldOut.line, id: heldOut.id },
        words,
        action: dropped ? 'dropped' : 'kept',
      }),
    ),
  );
  if (lines.length > 0) await writeFileAtomic(run.path(CONTAMINATION), lines.map((line) => `${line}\n`).join(''));
  for (const { name, file, examples, overlaps } of comparisons) {
    const [first] = overlaps;
    await run.emit({
      type: 'contamination',
      against: name,
      prompts: examples.length,
      overlapping: overlaps.length,
      dropped,
    });
    if (!first) continue;
    const found =
      `${overlaps.length} of the ${compared} train rows have a prompt that overlaps with one of ${name} (the first: ` +
      `${data}:${first.train.line} with ${file}:${first.heldOut.line}; all are in ${CONTAMINATION})`;
    if (dropped) await run.say(`${found}; they are left out.`);
    else
      await run.warn(
        `${found}: figures on those will look better than the model is; --contaminated drop leaves them out.`,
      );
  }
  const clean = comparisons.filter(({ examples, overlaps }) => examples.length > 0 && overlaps.length === 0);
  if (clean.length > 0)
    await run.say(`No train prompt overlaps with one of ${clean.map(({ name }) => name).join(', ')}.`);
}
