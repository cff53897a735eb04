// Seeded subsets: the three splits (train: the game; dev: choices; test: the table) and limits.
// Notable choice: rows whose prompts open alike always go to the same split, so that no answer to a test prompt is trained on; and
// what a row's split is depends on seed and contents only, not on the order of rows.

import { canonicalJson, shuffled, usageError } from '../util/index.ts';
import type { Example } from './readExamples.ts';

/** Disjoint parts of a dataset, each in file order. */
export interface Splits<R extends Example = Example> {
  train: R[];
  dev: R[];
  test: R[];
}

/**
 * Cuts examples into three splits; `dev` and `test` are numbers of rows. Groups of rows with the same opening (up to the first user
 * message) stay together, so
 * a split can be smaller than asked if only larger groups are left. Do this before any limit. Throws a usage error if no row
 * would be left to train on.
 */
export function splitExamples<R extends Example>(
  examples: readonly R[],
  { seed, dev, test }: { seed: number; dev: number; test: number },
): Splits<R> {
  checkCount('dev', dev);
  checkCount('test', test);
  const groups = new Map<string, R[]>();
  for (const example of examples) {
    const key = canonicalJson(openingOf(example));
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [example]);
    else group.push(example);
  }
  const order = shuffled([...groups.keys()].sort(), seed, 'splits');
  const chosen = new Map<Example, 'dev' | 'test'>();
  const counts = { test: 0, dev: 0 };
  const sizes = { test, dev };
  for (const key of order) {
    const group = groups.get(key) as R[];
    const name = (['test', 'dev'] as const).find((one) => counts[one] + group.length <= sizes[one]);
    if (name === undefined) continue;
    counts[name] += group.length;
    for (const example of group) chosen.set(example, name);
  }
  const splits = {
    train: examples.filter((example) => !chosen.has(example)),
    dev: examples.filter((example) => chosen.get(example) === 'dev'),
    test: examples.filter((example) => chosen.get(example) === 'test'),
  };
  if (splits.train.length === 0) {
    throw usageError({
      what: `no rows are left to train on: ${examples.length} rows, of them ${dev} for dev and ${test} for test`,
      fix: 'give more data, or ask for smaller dev and test splits',
    });
  }
  return splits;
}

/**
 * At most N examples, in file order: `limit` takes the first N, `sample` a seeded random N. Without either, all. Throws a usage
 * error for both at once or a number below 1.
 */
export function take<Row>(
  examples: readonly Row[],
  { limit, sample, seed }: { limit?: number | undefined; sample?: number | undefined; seed: number },
): Row[] {
  if (limit !== undefined && sample !== undefined) {
    throw usageError({ what: '--limit and --sample exclude each other', fix: 'give one of them' });
  }
  const count = limit ?? sample;
  if (count === undefined) return [...examples];
  checkCount(limit === undefined ? 'sample' : 'limit', count);
  if (count === 0) throw usageError({ what: 'a limit of 0 rows leaves nothing to do', fix: 'ask for 1 row or more' });
  if (sample === undefined) return examples.slice(0, count);
  const indices = shuffled([...examples.keys()], seed, 'sample').slice(0, count);
  return indices.sort((a, b) => a - b).map((index) => examples[index] as Row);
}

/** A prompt up to its first user message: all rounds of a chat have the same, and so belong together. */
function openingOf({ prompt }: Example): Example['prompt'] {
  return prompt.slice(0, prompt.findIndex(({ role }) => role === 'user') + 1);
}

function checkCount(name: string, value: number): void {
  if (Number.isSafeInteger(value) && value >= 0) return;
  throw usageError({ what: `${name} must be a whole number of rows, got ${value}`, fix: 'give a number such as 256' });
}
