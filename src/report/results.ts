// results.json: the table of a run, with every figure's per-item scores, so that any later comparison can be paired.
// Row 0 is the SFT model that the run started from; each further row is an iteration, compared with the row above it.
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { estimate } from '../evaluation/index.ts';
import { failure, writeFileAtomic } from '../util/index.ts';

const metric = z.object({
  mean: z.number(),
  /** Null for a single item. */
  standardError: z.number().nullable(),
  n: z.int().nonnegative(),
  /** This row − the row above, over the same items; absent in the first row. */
  difference: z.number().optional(),
  /** Of the paired differences. */
  differenceStandardError: z.number().nullable().optional(),
});

const item = z.object({ id: z.string(), scores: z.record(z.string(), z.number()) });

const row = z.object({
  /** "SFT model", "iteration 0", … */
  label: z.string(),
  /** Null for a row that is no iteration. */
  iteration: z.int().nonnegative().nullable(),
  /** Of a control: the label of the row that its differences are from, in place of the row above. */
  against: z.string().optional(),
  /** Model directory, relative to the run directory where it lies inside. */
  model: z.string(),
  metrics: z.record(z.string(), metric),
  items: z.array(item),
});

/** The best iteration against the best control, either chosen on dev: `of` − `against` over the test items of both. */
const comparison = z.object({
  metric: z.string(),
  of: z.string(),
  against: z.string(),
  difference: z.number(),
  /** Null for a single item. */
  standardError: z.number().nullable(),
  /** 95 % bootstrap interval over the items. */
  low: z.number(),
  high: z.number(),
  n: z.int().positive(),
  /** Whether the interval lies on one side of 0, and on which, seen by whether more is better. */
  verdict: z.enum(['better', 'worse', 'open']),
});

const results = z.object({
  v: z.literal(1),
  rows: z.array(row),
  /** The row to use, and how it was chosen (never on the split that the table shows). */
  best: z.object({ label: z.string(), how: z.string() }).nullable(),
  /** Of a game with controls. */
  comparisons: z.array(comparison).optional(),
  /** What a reader needs to repeat the figures: split, counts, sampling, versions. */
  settings: z.record(z.string(), z.unknown()),
});

export type MetricResult = z.infer<typeof metric>;
export type ItemScores = z.infer<typeof item>;
export type ResultRow = z.infer<typeof row>;
export type Comparison = z.infer<typeof comparison>;
export type Results = z.infer<typeof results>;

/**
 * The row of one model from its per-item scores: mean and standard error per metric and, against the row above, the
 * mean of the paired differences with its standard error. A metric has a difference only where both rows scored
 * exactly the same items.
 */
export function resultRow(model: Omit<ResultRow, 'metrics'>, above?: ResultRow): ResultRow {
  const metrics: Record<string, MetricResult> = {};
  const names = new Set(model.items.flatMap(({ scores }) => Object.keys(scores)));
  for (const name of names) {
    const own = scoresOf(model.items, name);
    const before = scoresOf(above?.items ?? [], name);
    const result: MetricResult = estimate([...own.values()]);
    if (own.size === before.size && [...own.keys()].every((id) => before.has(id))) {
      const difference = estimate([...own].map(([id, score]) => score - before.get(id)!));
      result.difference = difference.mean;
      result.differenceStandardError = difference.standardError;
    }
    metrics[name] = result;
  }
  return { ...model, metrics };
}

function scoresOf(items: readonly ItemScores[], name: string): Map<string, number> {
  const scores = new Map<string, number>();
  for (const { id, scores: all } of items) {
    const score = all[name];
    if (score !== undefined) scores.set(id, score);
  }
  return scores;
}

/** Writes results.json atomically: a reader sees the old table or the new one. @throws if a figure is not finite */
export async function writeResults(path: string, value: Results): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(results.parse(value), null, 1)}\n`);
}

/** Reads results.json. @throws SelfplayError naming file and key if it is missing, damaged or of another version */
export async function readResults(path: string): Promise<Results> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw failure({ what: `the results cannot be read: ${reason}`, where: path, cause });
  }
  const parsed = results.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw failure({
    what: `the results are not in the expected form: ${issue.message}`,
    where: `${path}:${issue.path.join('.')}`,
    fix: 'read them with the version of selfplay that wrote them, or evaluate again',
  });
}
