/** Settings of the commands that a person talks with: chat and play. */
import { z } from 'zod';
import { generateSchema } from './settings.ts';

const { engine, device, dtype, threads, deterministic, max_new_tokens, temperature, top_k, top_p, seed } =
  generateSchema.shape;

export const talkSchema = z.strictObject({
  model: z.string().min(1).describe('Directory of a model or of a run, a GGUF file, or org/name of the Hub'),
  iteration: z
    .string()
    .min(1)
    .optional()
    .meta({
      examples: ['N', 'best', 'sft'],
      description: 'Of a run: which of its models answers first; the best on dev if you do not say',
    }),
  system: z.string().min(1).optional().describe('System message'),
  seed,
  max_new_tokens,
  temperature,
  top_k,
  top_p,
  engine,
  device,
  dtype,
  threads,
  deterministic,
});

export const playSchema = z.strictObject({
  run: z.string().min(1).describe('Directory of a run of `selfplay run`'),
  iteration: z
    .int()
    .min(0)
    .optional()
    .describe('Only against the opponent of this iteration (default: against all, in random turns)'),
  seed: seed.describe('Seed of the order of pairs, and of what is A and what B'),
});

export type TalkSettings = z.output<typeof talkSchema>;
export type TalkInput = z.input<typeof talkSchema>;
export type PlaySettings = z.output<typeof playSchema>;
export type PlayInput = z.input<typeof playSchema>;
