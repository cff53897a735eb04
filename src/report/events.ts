// What can happen in a run, as one closed union: the run log holds these and nothing else, and every reader (terminal,
// dashboard, trackers) switches over `type`. Names of training figures are those of the paper's code and of TRL.
import { z } from 'zod';

/** Stages of an iteration, in order; `reference` is the scoring of answers under the opponent. */
const STAGES = ['prepare', 'generate', 'reference', 'train', 'evaluate'] as const;

const count = z.int().nonnegative();
const seconds = z.number().nonnegative();
const counts = z.record(z.string(), z.number());

/** What every event carries. */
const common = {
  v: z.literal(1),
  /** Position in the log, from 0, never reused. */
  seq: count,
  /** UTC, ISO 8601 with milliseconds. */
  time: z.iso.datetime(),
  /** Null outside the iterations: before the first, at the end, in `selfplay sft`. */
  iteration: count.nullable(),
  /** Which try at this iteration, from 0; null where `iteration` is. */
  attempt: count.nullable(),
  stage: z.enum(STAGES).nullable(),
  /** The control whose work it is (recipes/baselines.ts); absent in the game itself. */
  baseline: z.string().optional(),
};

/** What computes: an engine, the version of its library, where and how precisely. */
const engine = z.object({
  name: z.string(),
  version: z.string(),
  device: z.string(),
  dtype: z.string(),
  threads: count,
  gpu: z.object({ model: z.string(), driver: z.string() }).optional(),
});

const lengths = z.object({ mean: z.number(), median: z.number() });

const estimate = z.object({ mean: z.number(), standardError: z.number().nullable(), n: count });

const events = {
  'run.started': { command: z.string(), version: z.string() },
  /** Events from seq `supersedesFrom` up to this one count as not having happened: their work is done again. */
  'run.resumed': { supersedesFrom: count },
  'run.finished': { seconds },
  /** Stopped on request; it can be resumed. */
  'run.interrupted': { reason: z.string() },
  'run.failed': { message: z.string() },
  'stage.started': {},
  /** `counts`: what was done, as { rows, tokens, truncated, … }. */
  'stage.finished': { seconds, counts },
  /**
   * A finished shard of generation or scoring is kept whatever happens later. `shard` counts from 0; `file` within the run
   * directory is written right after the event, without which a resume does not count it.
   */
  'shard.finished': { shard: count, shards: count, file: z.string(), seconds, counts },
  /**
   * Train rows whose prompts overlap with those of a held-out split or a named file (data/contamination.ts); without
   * them the run goes on where `dropped`.
   */
  contamination: { against: z.string(), prompts: count, overlapping: count, dropped: z.boolean() },
  /**
   * What was found about the pairs of an iteration. By reason (pairs/reasons.ts): `dropped` counts a pair once, under
   * the first reason that drops it; `kept` counts every reason of every pair that takes part. Lengths are tokens of the
   * answers of those pairs, as trained on; `accuracy` is that of the better of two rules, the longer (shorter) answer is
   * the human's.
   */
  pairs: {
    pairs: count,
    dropped: counts,
    kept: counts,
    lengths: z.object({
      n: count,
      human: lengths,
      generated: lengths,
      humanLonger: z.number(),
      equal: z.number(),
      rule: z.enum(['longer', 'shorter']),
      accuracy: z.number(),
    }),
  },
  /** One optimizer step, from 1 to `steps`. The pairs' figures are absent in plain SFT. Log-probs are sums in nats. */
  'train.step': {
    step: count,
    steps: count,
    loss: z.number(),
    'rewards/real': z.number().optional(),
    'rewards/generated': z.number().optional(),
    'rewards/margins': z.number().optional(),
    /** Share of pairs with a margin above 0, ties half. */
    'rewards/accuracies': z.number().optional(),
    'logps/real': z.number().optional(),
    'logps/generated': z.number().optional(),
    /** Before clipping. */
    grad_norm: z.number().nonnegative(),
    learning_rate: z.number().nonnegative(),
    /** Tokens that went through the model in this step. */
    tokens: count,
    seconds,
  },
  /** Memory was short: from this step on (repeated by a resume) at most `tokens` are computed at once. */
  'micro-batch.reduced': { step: count, before: count, tokens: count },
  /**
   * What fits into memory, found out once (repeated by a resume): from the longest item that can come, of so many tokens.
   * `needed` is what training should take at most of what it may take, in bytes; null where the device does not tell.
   */
  'memory.planned': {
    micro_batch_tokens: count,
    gradient_checkpointing: z.boolean(),
    longest: count,
    needed: count,
    limit: count.nullable(),
  },
  /** The user let the run go on with another engine. */
  'engine.changed': { from: engine, to: engine, reasons: z.array(z.string()) },
  /** Figures of one model on a held-out split; `model` as in results.json. */
  evaluation: {
    split: z.enum(['train', 'dev', 'test']),
    model: z.string(),
    metrics: z.record(z.string(), estimate),
  },
  /** What the governor decided about an attempt at an iteration, and from which figures of the dev split. */
  'governor.decided': {
    verdict: z.enum(['continue', 'stop', 'end', 'roll-back']),
    rule: z.string().nullable(),
    reason: z.string(),
    remedy: z.enum(['lower-rate', 'higher-beta']).nullable(),
    metrics: z.record(z.string(), estimate),
    answers: z.object({ before: counts, after: counts }),
  },
  /** What the preflight found, and the seconds that it estimated for the game; null where training was not possible. */
  preflight: {
    checks: z.array(
      z.object({
        name: z.string(),
        result: z.enum(['ok', 'warning', 'failure']),
        found: z.string(),
        figures: z.record(z.string(), z.number()),
        fix: z.string().nullable(),
      }),
    ),
    estimated: seconds.nullable(),
    seconds,
  },
  /** At the end: seconds that the preflight estimated for the stages that were played, and that they took. */
  'estimate.compared': { estimated: seconds, took: seconds },
  note: { message: z.string() },
  warning: { message: z.string() },
};

function event<Type extends keyof typeof events>(type: Type) {
  return z.object({ ...common, type: z.literal(type), ...(events[type] as (typeof events)[Type]) });
}

/** Schema of one line of events.jsonl. */
export const runEvent = z.discriminatedUnion('type', [
  event('run.started'),
  event('run.resumed'),
  event('run.finished'),
  event('run.interrupted'),
  event('run.failed'),
  event('stage.started'),
  event('stage.finished'),
  event('shard.finished'),
  event('contamination'),
  event('pairs'),
  event('train.step'),
  event('micro-batch.reduced'),
  event('memory.planned'),
  event('engine.changed'),
  event('evaluation'),
  event('governor.decided'),
  event('preflight'),
  event('estimate.compared'),
  event('note'),
  event('warning'),
]);

/** One event of a run. */
export type RunEvent = z.infer<typeof runEvent>;

/** Events that stay true when the work around them is done again: no resume supersedes them. */
export const LASTING: ReadonlySet<RunEvent['type']> = new Set([
  'micro-batch.reduced',
  'memory.planned',
  'engine.changed',
]);

/** Name of a stage. */
export type Stage = (typeof STAGES)[number];

type WithoutStamp<Event> = Event extends unknown ? Omit<Event, 'v' | 'seq' | 'time'> : never;

/** An event before the log has stamped it with version, seq and time. */
export type NewEvent = WithoutStamp<RunEvent>;
