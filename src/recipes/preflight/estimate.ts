/**
 * What a game will take, in seconds and in bytes, estimated from how fast a machine was measured to be and what is to be
 * done. (What it did take is counted in cost.ts.) Baselines are not in the seconds.
 */
import type { LoadedModel } from '../../checkpoint/index.ts';
import { trainable } from '../../models/index.ts';
import { flopsOf, parameterCount, usesReference } from '../../training/index.ts';
import { stepsOf } from '../game/learn.ts';
import { at, replayedIn } from '../settings/schedules.ts';
import { type BaselineName, baselinesOf, lossOf, type SpinSettings } from '../settings/settings.ts';

/** How fast a machine is, in seconds. */
export interface Pace {
  /** The programs of generation and training, to compile: for training, and about as much for judging. */
  readonly open: number;
  /** A token: to be read, written, trained on. */
  readonly read: number;
  readonly write: number;
  readonly learn: number;
  /** What a step of training takes besides its tokens. */
  readonly step: number;
}

/** FLOPs in place of seconds (training/flops.ts): they are the same on every machine, whatever else it is doing. */
export function flopsPace(model: Parameters<typeof flopsOf>[0]): Pace {
  const read = flopsOf(model, { read: 1, learned: 0 });
  return { open: 0, read, write: read, learn: flopsOf(model, { read: 0, learned: 1 }), step: 0 };
}

/** What there is to do. */
export interface Work {
  /** Pairs of iteration t, those that are left out as well. */
  readonly pairsAt: (t: number) => number;
  /** Rows. */
  readonly heldOut: number;
  /** Share of the pairs that is trained on. */
  readonly kept: number;
  /** Mean tokens of a prompt, of a human answer and of one of the model's. */
  readonly prompt: number;
  readonly human: number;
  readonly own: number;
}

/** Seconds of an iteration, by stage. */
export interface IterationSeconds {
  readonly generate: number;
  readonly reference: number;
  readonly train: number;
  readonly evaluate: number;
}

/** Seconds of a game: `evaluate` is the judging of the model that it begins with. */
export interface GameSeconds {
  readonly evaluate: number;
  readonly iterations: readonly IterationSeconds[];
}

type TimedSettings = Pick<
  SpinSettings,
  | 'iterations'
  | 'start_iteration'
  | 'pairs'
  | 'replay'
  | 'replay_weights'
  | 'max_new_tokens'
  | 'num_train_epochs'
  | 'batch_size'
  | 'loss'
>;

/** The iterations that a game plays. */
const played = ({ iterations, start_iteration: first }: Pick<SpinSettings, 'iterations' | 'start_iteration'>) =>
  Array.from({ length: iterations }, (_, i) => first + i);

/** Seconds of a game that nothing rolls back. */
export function secondsOf(settings: TimedSettings, work: Work, pace: Pace): GameSeconds {
  const { prompt, human, own, pairsAt } = work;
  // Greedy and sampled answers; then human and own answer, the opponent's and the first model's are scored.
  const evaluate = pace.open + work.heldOut * ((3 * prompt + human + 3 * own) * pace.read + 2 * own * pace.write);
  const iterations = played(settings).map((t): IterationSeconds => {
    const replayed = replayedIn(settings, t).reduce((sum, { iteration }) => sum + pairsAt(iteration), 0);
    const pairs = (pairsAt(t) + replayed) * work.kept;
    const tokens = pairs * (prompt + Math.min(human, settings.max_new_tokens) + own);
    const isGiven = t === settings.start_iteration && settings.pairs !== undefined;
    const epochs = at(settings.num_train_epochs, t);
    return {
      generate: isGiven ? 0 : pairsAt(t) * (prompt * pace.read + own * pace.write),
      reference: usesReference(lossOf(settings, t)) ? tokens * pace.read : 0,
      train: pace.open + epochs * tokens * pace.learn + stepsOf(Math.ceil(pairs), epochs, settings) * pace.step,
      evaluate,
    };
  });
  return { evaluate, iterations };
}

/** All of it. */
export function totalSeconds({ evaluate, iterations }: GameSeconds): number {
  return iterations.reduce((sum, one) => sum + one.generate + one.reference + one.train + one.evaluate, evaluate);
}

/** Passes of the signal test over its pairs: the game's, the swapped one's, and SFT's over half of the tokens. */
const PASSES = 2.5;

/** What the preflight takes, in the unit of the pace. */
export interface PreflightCost {
  /** Its other checks: a few pairs written, scored and learned from, and the longest pair there can be learned from. */
  readonly checks: number;
  /** A pair of the signal test: written, scored, learned from. */
  readonly signalPair: number;
}

/** @param longest tokens of the longest pair */
export function preflightCost(
  { prompt, human, own }: Pick<Work, 'prompt' | 'human' | 'own'>,
  { read, write, learn }: Pace,
  { few, longest }: { readonly few: number; readonly longest: number },
): PreflightCost {
  const tokens = prompt + human + own;
  const drawn = prompt * read + own * write + tokens * read;
  return {
    checks: few * (drawn + tokens * learn) + longest * learn,
    signalPair: drawn + PASSES * tokens * learn,
  };
}

const BYTES_PER_WEIGHT = 4;

/** Bytes on disk: of a saved model (of an adapter that alone), and of a checkpoint, which holds weights and moments. */
export function bytesOnDisk({ model, adapter }: LoadedModel, { optimizer }: Pick<SpinSettings, 'optimizer'>) {
  const learned = BYTES_PER_WEIGHT * parameterCount({ parameters: trainable(model) });
  return {
    model: adapter ? learned : BYTES_PER_WEIGHT * parameterCount(model),
    checkpoint: learned * (optimizer === 'adamw' ? 3 : 2),
  };
}

/** Of a token in pairs.jsonl, log-probs and evaluation.json: its id and text, and a log-prob. */
const BYTES_PER_TOKEN = 24;

/** Models that a baseline leaves. */
export const modelsOf = (name: BaselineName, iterations: number) =>
  name === 'sft-temperature' ? 0 : name === 'sft-reweighted' ? iterations : 1;

/**
 * Bytes that a run directory takes at most: a model for every iteration, for the attempts that the governor may reject
 * before the game ends and for the baselines, two checkpoints for a moment, and the answers.
 */
export function bytesNeeded(
  loaded: LoadedModel,
  settings: Pick<
    SpinSettings,
    'optimizer' | 'iterations' | 'start_iteration' | 'governor' | 'max_attempts' | 'baselines'
  >,
  { pairsAt, heldOut, prompt, human, own }: Work,
): number {
  const { model, checkpoint } = bytesOnDisk(loaded, settings);
  const { iterations } = settings;
  const rejected = settings.governor ? settings.max_attempts - 1 : 0;
  const controls = baselinesOf(settings.baselines).reduce((n, name) => n + modelsOf(name, iterations), 0);
  const pairs = played(settings).reduce((n, t) => n + pairsAt(t), 0);
  const tokens = pairs * (prompt + human + own) + (iterations + 1 + controls) * heldOut * (human + 2 * own);
  return (iterations + rejected + controls) * model + 2 * checkpoint + BYTES_PER_TOKEN * tokens;
}
