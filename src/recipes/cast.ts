/**
 * What a cast does to a model, found out before anything is written: the log-probs of held-out answers under the weights as they are and
 * as they will be read, and how many of the updates of training it swallows.
 */
import { type Cast, swallowedUpdates, type Updates, type WholeModel, writeStates } from '../checkpoint/index.ts';
import type { Engine } from '../engine/index.ts';
import { openScorer } from '../training/index.ts';
import { asGroup, type Row } from './rows.ts';

/** |Δ log p| of the tokens of held-out answers, in nats. */
export interface LogProbChange {
  readonly mean: number;
  readonly largest: number;
  readonly rows: number;
  readonly tokens: number;
}

export interface CastReport {
  readonly dtype: string;
  /** What a reader should know of it, in plain sentences. */
  readonly sentences: readonly string[];
  readonly logProbs: LogProbChange | null;
  readonly updates: Updates | null;
}

/** @param engine computes in f32; the weights are in it afterwards, cast */
export async function logProbChange(
  engine: Engine,
  whole: WholeModel,
  cast: Cast,
  rows: readonly Row[],
  budget: number,
): Promise<LogProbChange> {
  await writeStates(engine, whole);
  const scorer = await openScorer(engine, whole.model);
  const groups = rows.map(asGroup);
  const before = await scorer.score(groups, budget);
  await writeStates(engine, whole, cast);
  const after = await scorer.score(groups, budget);
  await scorer.dispose();
  let [sum, largest, tokens] = [0, 0, 0];
  before.forEach(([was], row) => {
    was!.forEach((logProb, t) => {
      const change = Math.abs(after[row]![0]![t]! - logProb);
      sum += change;
      // A weight that became infinite gives NaN: that is no small change.
      largest = Number.isNaN(change) ? Number.NaN : Math.max(largest, change);
      tokens++;
    });
  });
  return { mean: sum / tokens, largest, rows: rows.length, tokens };
}

/** Where held-out log-probs can be measured; a reason where they cannot. */
export type Measured = { readonly rows: readonly Row[]; readonly of: string } | { readonly problem: string };

export async function castReport(
  dtype: string,
  cast: Cast,
  whole: WholeModel,
  measured: Measured,
  // Undefined where there are no updates to lose: a model alone, or the one that the run began with.
  start: { readonly model: WholeModel; readonly label: string } | undefined,
  { engine, budget }: { readonly engine: Engine | undefined; readonly budget: number },
): Promise<CastReport> {
  const logProbs =
    'rows' in measured && engine !== undefined ? await logProbChange(engine, whole, cast, measured.rows, budget) : null;
  const updates = start === undefined ? null : await swallowedUpdates(start.model, whole, cast);
  const sentences: string[] = [];
  if (logProbs !== null && 'rows' in measured) {
    const { mean, largest, rows, tokens } = logProbs;
    sentences.push(
      `In ${dtype} the log-probs of held-out answers change by ${nats(mean)} nats per token on average, and by ${nats(largest)} at most ` +
        `(${rows} ${measured.of}, ${tokens.toLocaleString('en-US')} tokens).`,
    );
  } else if ('problem' in measured) {
    sentences.push(`What ${dtype} does to held-out log-probs was not measured: ${measured.problem}.`);
  }
  if (updates !== null && start !== undefined) {
    const { weights, changed, swallowed } = updates;
    sentences.push(
      changed === 0
        ? `All ${weights.toLocaleString('en-US')} weights are those of the ${start.label}.`
        : `Of the ${changed.toLocaleString('en-US')} weights that differ from the ${start.label} ` +
            `${percent(swallowed / changed)} are the same as its own in ${dtype}: their updates are swallowed.`,
    );
  }
  return { dtype, sentences, logProbs, updates };
}

const nats = (value: number) => (value === 0 ? '0' : value.toPrecision(2));
const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
