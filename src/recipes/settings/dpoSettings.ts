/** Settings of `selfplay dpo`: those of the game that one training on given pairs has, under the same names. */
import { z } from 'zod';
import {
  adapter,
  contamination,
  count,
  demandOneSize,
  demandParameters,
  demandRank,
  dropping,
  files,
  lock,
  loss,
  lossParameters,
  machine,
  mixIn,
  optimization,
  positive,
  rows,
  sharding,
  where,
} from './settingParts.ts';
import type { SftSettings, SpinSettings } from './settings.ts';

const { label_smoothing, length_normalization, dpop_lambda, simpo_gamma } = lossParameters;

export const dpoSchema = z
  .strictObject({
    ...where,
    data: files.describe(
      'Labelled pairs with prompt, chosen and rejected: .jsonl or .json, or org/name:config:split of the Hub',
    ),
    lock,
    limit: rows.limit,
    sample: rows.sample,
    eval_data: files.optional().describe('Held-out pairs for the table (default: cut from the data)'),
    test_size: z.int().min(0).optional().describe('Pairs for the table (default: 10 % of the pairs, at most 100)'),
    max_length: rows.max_length,
    seed: rows.seed,
    ...contamination,
    ...dropping,
    ...loss(positive.default(0.1)),
    // There is no earlier model that could be mixed in or compared with.
    ...{ label_smoothing, length_normalization, dpop_lambda, simpo_gamma },
    sft_weight: mixIn(0).describe('Weight of cross-entropy on the chosen answers beside the loss'),
    ...optimization({
      learning_rate: positive.default(5e-7),
      optimizer: 'rmsprop',
      num_train_epochs: count.default(1),
    }),
    ...adapter,
    ...sharding,
    ...machine,
  })
  .superRefine(demandOneSize)
  .superRefine(demandRank)
  .superRefine(demandParameters);

export type DpoSettings = z.output<typeof dpoSchema>;
export type DpoInput = z.input<typeof dpoSchema>;

/** The settings of the commands that have a run directory. */
export type RecordedSettings = SpinSettings | SftSettings | DpoSettings;
