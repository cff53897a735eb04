// What an experiment consists of: where a seed's game starts, how it is played, and which other games stand beside it.

import type { SpinInput } from '../../src/index.ts';

/** A seed's start: the SFT model and the rows that it was fine-tuned on. */
export interface Start {
  readonly model: string;
  readonly rows: Pick<SpinInput, 'data' | 'eval_data' | 'dev_size' | 'test_size' | 'sample' | 'seed'>;
}

/** Two answers to a prompt. */
export interface TextPair {
  readonly prompt: string;
  readonly real: string;
  readonly generated: string;
}

/** A game beside the main one, from the same SFT model with the same first pairs unless it says otherwise. */
export interface Arm {
  readonly settings: Partial<SpinInput>;
  /** What it learns from in place of the first opponent's pairs. */
  readonly pairs?: (pair: TextPair, index: number) => TextPair;
  /** It has other samples than the main game, and writes them itself. */
  readonly own?: true;
  /** It goes on from iteration 0 of the main game, with the first opponent's pairs again. */
  readonly again?: true;
}

export interface Family {
  readonly title: string;
  readonly seeds: readonly number[];
  /** The predeclared figure of a model, and the one that stands beside it (Holm over the two). */
  readonly figures: readonly [string, string];
  /** Further columns of the table: scorers of greedy and sampled answers beside the recipe's own figures. */
  readonly columns: readonly string[];
  /** The SFT model of a seed, made below a directory; an earlier call's is found again. */
  readonly start: (directory: string, seed: number, threads: number) => Promise<Start>;
  /** Settings of the main game. */
  readonly game: Partial<SpinInput>;
  /** The main game's controls; all, unless named. */
  readonly controls?: NonNullable<SpinInput['baselines']>;
  readonly arms: Readonly<Record<string, Arm>>;
  /** What the page says of the setting. */
  readonly setting: string;
}

/** The arm with the controls. */
export const MAIN = 'main';
