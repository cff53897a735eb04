/**
 * What a cast does to a model, found out before anything is written: the log-probs of held-out answers under the weights as they are and
 * as they will be read, and how many of the updates of training it swallows.
 */
import { type Cast, swallowedUpdates, type Updates, type WholeModel, writeStates } from '../../checkpoint/index.ts';
import type { Engine } from '../../engine/index.ts';
import { openScorer } from '../../training/index.ts';
import { type RecipeContext, stopIfAsked } from '../run/context.ts';
import { asGroup, type Row } from '../run/rows.ts';

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

/**
 * @param engine computes in f32; the weights are in it afterwards, cast
 * @param budget tokens computed at once
 * @param onRows called with the number of rows done, each of which is done twice
 */
async function logProbChange(
  engine: Engine,
  whole: WholeModel,
  cast: Cast,
  rows: readonly Row[],
  budget: number,
  onRows: (count: number) => void,
): Promise<LogProbChange> {
  await writeStates(engine, whole);
  const scorer = await openScorer(engine, whole.model);
  const groups = rows.map(asGroup);
  const before = await scorer.score(groups, budget, onRows);
  await writeStates(engine, whole, cast);
  const after = await scorer.score(groups, budget, onRows);
  await scorer.dispose();
  let [sum, largest, tokens] = [0, 0, 0];
  before.forEach(([was], row) => {
    was!.forEach((logProb, t) => {
      const change = Math.abs(after[row]![0]![t]! - logProb);
      sum += change;
      largest = Math.max(largest, change);
      tokens++;
    });
  });
  return { mean: sum / tokens, largest, rows: rows.length, tokens };
}

/** Where held-out log-probs can be measured; a reason where they cannot. */
export type Measured = { readonly rows: readonly Row[]; readonly of: string } | { readonly problem: string };

/** @param start what the run began with; undefined where there are no updates to lose: a model alone, or that very model */
export async function castReport(
  dtype: string,
  cast: Cast,
  whole: WholeModel,
  measured: Measured,
  start: { readonly model: WholeModel; readonly label: string } | undefined,
  // The engine is opened only where there are rows.
  { engine, budget, context }: { engine: () => Promise<Engine>; budget: number; context: RecipeContext },
): Promise<CastReport> {
  const sentences: string[] = [];
  let logProbs: LogProbChange | null = null;
  if ('problem' in measured) {
    sentences.push(`What ${dtype} does to held-out log-probs was not measured: ${measured.problem}.`);
  } else {
    const { rows, of } = measured;
    const opened = await engine();
    const progress = context.progress(`what ${dtype} changes`, 2 * rows.length, 'rows');
    const onRows = (count: number) => {
      stopIfAsked(context.signal);
      progress.advance(count);
    };
    try {
      logProbs = await logProbChange(opened, whole, cast, rows, budget, onRows);
    } finally {
      progress.done();
    }
    const { mean, largest, tokens } = logProbs;
    sentences.push(
      `In ${dtype} the log-probs of held-out answers change by ${nats(mean)} nats per token on average, and by ${nats(largest)} at most ` +
        `(${rows.length} ${of}, ${tokens.toLocaleString('en-US')} tokens).`,
    );
  }
  const updates = start === undefined ? null : await swallowedUpdates(start.model, whole, cast);
  if (updates !== null && start !== undefined) {
    const { weights, changed, swallowed, kept } = updates;
    sentences.push(
      changed === 0
        ? `All ${weights.toLocaleString('en-US')} weights are those of the ${start.label}.`
        : `Of the ${changed.toLocaleString('en-US')} weights that differ from the ${start.label}, ${percent(swallowed / changed)} are ` +
            `equal to it again in ${dtype}: their updates are swallowed. The others move by whole steps: in sum the weights move ` +
            `${kept.toFixed(2)} times as far in the direction of the updates as they did in f32.`,
    );
  }
  return { dtype, sentences, logProbs, updates };
}

const nats = (value: number) => (value === 0 ? '0' : value.toPrecision(2));
const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
