/** Settings of `selfplay export`. */
import { z } from 'zod';
import { WRITABLE_TYPES } from '../../formats/index.ts';
import { evalSchema } from './settings.ts';

const { data, prompt_column, response_column, turns, limit, seed, engine, device, threads, micro_batch_tokens } =
  evalSchema.shape;

/** What can be made, and in which dtypes its weights can be. */
const EXPORTS = {
  hf: ['f32', 'bf16', 'f16'],
  gguf: WRITABLE_TYPES.map((type) => type.toLowerCase()),
  peft: ['f32'],
  ollama: WRITABLE_TYPES.map((type) => type.toLowerCase()),
} as const;
export type ExportFormat = keyof typeof EXPORTS;

const formats = Object.keys(EXPORTS) as [ExportFormat, ...ExportFormat[]];

export const exportSchema = z
  .strictObject({
    model: z.string().min(1).describe('A model, RUN (its best one), or RUN@ITERATION, RUN@sft, RUN@best'),
    to: z
      .enum(formats)
      .describe('What to make: a model directory, one GGUF file, an adapter of PEFT, a directory for Ollama'),
    out: z.string().min(1).describe('Where to write it; nothing may be there yet'),
    dtype: z
      .string()
      .min(1)
      .default('f32')
      .meta({
        examples: ['f32', 'bf16', 'f16', 'q8_0', 'q4_0'],
        description: 'Of the weights; the last two in GGUF files',
      }),
    mix: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe('Of a run: this share of the model and the rest of the SFT model, weight by weight'),
    data: data.optional().describe('Rows on which a cast is measured (default: the dev split of the run)'),
    prompt_column,
    response_column,
    turns,
    limit,
    seed,
    engine,
    device,
    threads,
    micro_batch_tokens,
  })
  .superRefine(({ to, dtype }, { addIssue }) => {
    if ((EXPORTS[to] as readonly string[]).includes(dtype)) return;
    const message = `dtype ${dtype} is none of ${to}, whose weights are in one of ${EXPORTS[to].join(', ')}`;
    addIssue({ code: 'custom', path: ['dtype'], message });
  })
  .refine(({ to, mix }) => to !== 'peft' || mix === undefined, {
    message: 'mix makes whole weights: an adapter cannot hold them',
    path: ['mix'],
  });

export type ExportSettings = z.output<typeof exportSchema>;
export type ExportInput = z.input<typeof exportSchema>;
