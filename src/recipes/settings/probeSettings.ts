/** Settings of `selfplay probe`: those of `selfplay run`, and what is tried in place of some of them. */
import { z } from 'zod';
import { lossNames } from '../../training/index.ts';
import { spinSchema } from './settings.ts';

const positive = z.number().positive();

/** What is tried one after the other; a single value is a list of one. */
const several = z.union([positive, z.array(positive).min(1)]).transform((given) => [given].flat());

const trials = {
  rates: several.prefault([5e-7, 5e-6, 5e-5]).describe('Learning rate to try'),
  betas: several.prefault([0.1, 1]).describe('Value of β to try'),
  losses: z.array(z.enum(lossNames)).min(1).optional().describe('Losses to try (default: the one of loss)'),
  rows: z.int().min(2).default(256).describe('Train rows of every trial, drawn by the seed'),
  minutes: positive
    .default(30)
    .describe('After the first trial none is begun that would not end within so many minutes'),
};

/** What `selfplay run` does not have. */
export const trialSchema = z.strictObject(trials);

export const probeSchema = spinSchema
  .safeExtend(trials)
  .refine(({ losses = [], sft_weight }) => !losses.includes('orpo') || sft_weight > 0, {
    message:
      'the loss orpo stands beside cross-entropy on the human answers: sft_weight must not be 0 (1 in its paper)',
    path: ['losses'],
  })
  .refine(({ pairs, start_iteration, stop_after }) => !pairs && start_iteration === 0 && !stop_after, {
    message:
      'a probe begins where a game begins, with answers of its own: leave out pairs, start_iteration and stop_after',
    path: ['pairs'],
  });

export type ProbeSettings = z.output<typeof probeSchema>;
export type ProbeInput = z.input<typeof probeSchema>;
