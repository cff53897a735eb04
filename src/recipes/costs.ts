/** What a game costs, in seconds and in bytes, from how fast a machine was measured to be and what is to be done. */
import type { LoadedModel } from '../checkpoint/index.ts';
import { type Parameter, trainable } from '../models/index.ts';
import { stepsOf } from './learn.ts';
import type { SpinSettings } from './settings.ts';

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

/** What there is to do. */
export interface Work {
  /** Rows. */
  readonly train: number;
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

type CostSettings = Pick<
  SpinSettings,
  'iterations' | 'start_iteration' | 'pairs' | 'replay' | 'max_new_tokens' | 'num_train_epochs' | 'batch_size'
>;

/** Seconds of a game that nothing rolls back. */
export function secondsOf(settings: CostSettings, work: Work, pace: Pace): GameSeconds {
  const { prompt, human, own } = work;
  // Greedy and sampled answers; then human and own answer, the opponent's and the first model's are scored.
  const evaluate = pace.open + work.heldOut * ((3 * prompt + human + 3 * own) * pace.read + 2 * own * pace.write);
  const iterations = Array.from({ length: settings.iterations }, (_, i): IterationSeconds => {
    const t = settings.start_iteration + i;
    const pairs = work.train * (t > 0 && settings.replay ? 2 : 1) * work.kept;
    const tokens = pairs * (prompt + Math.min(human, settings.max_new_tokens) + own);
    const isGiven = i === 0 && settings.pairs !== undefined;
    return {
      generate: isGiven ? 0 : work.train * (prompt * pace.read + own * pace.write),
      reference: tokens * pace.read,
      train:
        pace.open + settings.num_train_epochs * tokens * pace.learn + stepsOf(Math.ceil(pairs), settings) * pace.step,
      evaluate,
    };
  });
  return { evaluate, iterations };
}

/** All of it. */
export function totalSeconds({ evaluate, iterations }: GameSeconds): number {
  return iterations.reduce((sum, one) => sum + one.generate + one.reference + one.train + one.evaluate, evaluate);
}

const bytesOf = (parameters: readonly Parameter[]) =>
  4 * parameters.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

/** Bytes on disk: of a saved model (of an adapter that alone), and of a checkpoint, which holds weights and moments. */
export function bytesOnDisk({ model, adapter }: LoadedModel, { optimizer }: Pick<SpinSettings, 'optimizer'>) {
  const learned = bytesOf(trainable(model));
  return {
    model: adapter ? learned : bytesOf(model.parameters),
    checkpoint: learned * (optimizer === 'adamw' ? 3 : 2),
  };
}

/** Of a token in pairs.jsonl, log-probs and evaluation.json: its id and text, and a log-prob. */
const BYTES_PER_TOKEN = 24;

/**
 * Bytes that a run directory takes at most: a model for every iteration and for the attempts that the governor may reject
 * before the game ends, two checkpoints for a moment, and the answers.
 */
export function bytesNeeded(
  loaded: LoadedModel,
  settings: Pick<SpinSettings, 'optimizer' | 'iterations' | 'governor' | 'max_attempts'>,
  { train, heldOut, prompt, human, own }: Work,
): number {
  const { model, checkpoint } = bytesOnDisk(loaded, settings);
  const { iterations } = settings;
  const rejected = settings.governor ? settings.max_attempts - 1 : 0;
  const tokens = iterations * train * (prompt + human + own) + (iterations + 1) * heldOut * (human + 2 * own);
  return (iterations + rejected) * model + 2 * checkpoint + BYTES_PER_TOKEN * tokens;
}
