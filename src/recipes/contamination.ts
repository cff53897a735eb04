/**
 * What of the data should not be trained on, because it is measured on: train prompts against those of dev, of test and
 * of the files that the user names.
 */
import { type Example, type Overlap, promptOverlaps } from '../data/index.ts';
import { writeFileAtomic } from '../util/index.ts';
import type { Rows } from './rows.ts';
import { CONTAMINATION, type Run } from './run.ts';

/** Prompts that should be news to the model. */
export interface HeldOut {
  /** `dev`, `test` or the name of a file. */
  readonly name: string;
  readonly file: string;
  readonly examples: readonly Example[];
}

/** What a comparison of the train prompts with held-out ones found. */
export interface Comparison extends HeldOut {
  readonly overlaps: readonly Overlap[];
}

/** Compares the prompts of train rows with those of every held-out part. */
export function compareWithHeldOut(train: readonly Example[], parts: readonly HeldOut[]): Comparison[] {
  return parts.map((part) => ({ ...part, overlaps: promptOverlaps(train, part.examples) }));
}

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
