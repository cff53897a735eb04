/**
 * What the settings of several commands are made of: groups of settings with their defaults and one sentence each, and
 * what has to be true of them together.
 */
import { z } from 'zod';
import { TURNS } from '../../data/index.ts';
import { DROPPED_BY_DEFAULT, REASONS } from '../../pairs/index.ts';
import { type LossName, lossNames } from '../../training/index.ts';

const seed = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
export const count = z.int().min(1);
export const positive = z.number().positive();
const share = z.number().min(0).max(1);

const file = z.string().min(1);
/** One file of rows, or several that count as one. */
export const files = z
  .union([file, z.array(file).min(1)])
  .transform((given) => (typeof given === 'string' ? [given] : given));

export const where = {
  model: z
    .string()
    .min(1)
    .describe(
      'Model directory in Hugging Face layout (config.json, tokenizer.json, weights), an adapter of PEFT, or org/name@revision of ' +
        'the Hub',
    ),
  data: files.describe(
    'Data that the model was fine-tuned on: .jsonl, .json, .csv, .tsv, .parquet, or org/name:config:split of the Hub; several files ' +
      'count as one',
  ),
  out: z.string().min(1).optional().describe('Directory to write to (default: runs/NAME-DATE, printed)'),
};

export const lock = z
  .string()
  .min(1)
  .optional()
  .describe('lock.json of a run that this one shall repeat: anything that differs from it is refused');

export const rows = {
  prompt_column: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Column with the prompt, if the format is not recognised; or a text with columns in braces: "{a} and {b}"',
    ),
  response_column: z.string().min(1).optional().describe('Column with the human answer, or such a text'),
  turns: z
    .enum(TURNS)
    .default('first')
    .describe(
      'Of a chat with several answers: play on the first (as in the paper), on the last, or on each with all before it',
    ),
  limit: count.optional().describe('Train on the first N rows of the train split'),
  sample: count.optional().describe('Train on a seeded random N rows of the train split'),
  eval_data: files.optional().describe('Held-out rows for the table (default: cut from the data)'),
  dev_size: z.int().min(0).optional().describe('Rows cut off for choices (default: 10 % of the rows, at most 100)'),
  test_size: z.int().min(0).optional().describe('Rows for the table (default: 10 % of the rows, at most 100)'),
  max_length: count.optional().describe('Longest prompt + answer in tokens (default: the context of the model)'),
  max_prompt_length: count.optional().describe('Longest prompt in tokens (default: no limit of its own)'),
  seed: seed.default(0).describe('Seed of every random choice'),
};

export const contamination = {
  contamination: z
    .array(z.string().min(1))
    .default([])
    .describe('Files whose prompts should not be trained on; dev and test are always compared'),
  contaminated: z
    .enum(['keep', 'drop'])
    .default('keep')
    .describe('What happens to train rows whose prompt overlaps with one of these, dev or test'),
};

export const devices = { examples: ['auto', 'cpu', 'cuda', 'cuda:N', 'mps'] };

export const engine = {
  engine: z.enum(['auto', 'onnx', 'torch']).default('auto').describe('What computes'),
  device: z
    .string()
    .regex(/^(auto|cpu|cuda(:\d+)?|mps)$/)
    .default('auto')
    .meta({ ...devices, description: 'Where it computes; mps is experimental' }),
  dtype: z
    .enum(['auto', 'f32', 'tf32', 'bf16', 'f16'])
    .default('auto')
    .describe('How precisely it computes; weights and optimizer are kept in f32'),
};

const memory = {
  gradient_checkpointing: z
    .enum(['auto', 'true', 'false'])
    .default('auto')
    .describe('Compute each block again in the backward pass instead of keeping it: less memory, slower, same result'),
  max_memory: positive
    .optional()
    .describe('GiB that training may take, of the GPU where that computes (default: what is free, less a reserve)'),
};

export const machine = {
  ...engine,
  threads: count.optional().describe('Threads for the arithmetic (default: all cores)'),
  deterministic: z
    .boolean()
    .default(false)
    .describe('On a GPU: avoid kernels whose sums come in any order (a CPU has none)'),
  micro_batch_tokens: count
    .default(2048)
    .describe('Tokens trained on at once, at most: less memory or more speed, same result'),
  ...memory,
  checkpoint_seconds: z
    .number()
    .min(0)
    .default(120)
    .describe('Least time between two training checkpoints; 0 saves after every step'),
};

export const temperature = z.number().min(0);
export const topK = z.int().min(0);
export const topP = z.number().gt(0).max(1);

export const sampling = {
  max_new_tokens: count.default(256).describe('Longest answer of the model in tokens'),
  generation_batch_size: count.default(64).describe('Answers written side by side: memory and speed, same answers'),
};

/** A game has a rate and a number of epochs for each iteration. */
export const optimization = <Rate extends z.ZodType, Epochs extends z.ZodType>(of: {
  learning_rate: Rate;
  num_train_epochs: Epochs;
  optimizer: 'adamw' | 'rmsprop';
}) => ({
  learning_rate: of.learning_rate.describe('Peak learning rate'),
  num_train_epochs: of.num_train_epochs.describe('Passes over the rows'),
  batch_size: count.default(64).describe('Rows (pairs) per optimizer step'),
  optimizer: z.enum(['adamw', 'rmsprop']).default(of.optimizer).describe('AdamW, or torch’s RMSProp'),
  adam_beta1: share.default(0.9).describe('AdamW: decay of the mean'),
  adam_beta2: share.default(0.999).describe('AdamW: decay of the square'),
  rmsprop_alpha: share.default(0.99).describe('RMSProp: decay of the square'),
  optimizer_epsilon: positive.default(1e-8).describe('Added to the root of the square'),
  weight_decay: z.number().min(0).default(0).describe('AdamW: decoupled weight decay'),
  lr_scheduler_type: z.enum(['linear', 'cosine', 'constant']).default('linear').describe('How the rate falls'),
  warmup_ratio: share.default(0.1).describe('Share of the steps over which the rate rises'),
  max_grad_norm: positive.default(1).describe('Gradients are clipped to this norm'),
});

/** A game has a β for each iteration. */
export const loss = <Beta extends z.ZodType>(beta: Beta) => ({
  loss: z.enum(lossNames).default('logistic').describe('What is minimised; docs/losses.md has them all'),
  beta: beta.describe('β of the loss (λ in the paper)'),
});
/** Weight of cross-entropy beside the loss. */
export const mixIn = (weight: number) => z.number().min(0).default(weight);

/** Parameters of losses. None has a default in the schema, so that one given with a loss that lacks it is noticed. */
export const lossParameters = {
  label_smoothing: z
    .number()
    .min(0)
    .lt(0.5)
    .optional()
    .describe('logistic, robust: share of pairs taken to be the wrong way round (default: 0; robust 0.1)'),
  length_normalization: z
    .boolean()
    .optional()
    .describe('Losses of summed log-ratios: divide each sum by the tokens of its answer (default: no)'),
  reference_alpha: share
    .optional()
    .describe('Losses with a reference: share of the SFT model in it, the α of α-SPIN (default: 0)'),
  dpop_lambda: z
    .number()
    .min(0)
    .optional()
    .describe('dpop: weight of what a human answer lost against the reference (default: 50)'),
  simpo_gamma: z.number().min(0).optional().describe('simpo: margin that is aimed at (default: 0.5)'),
  history_weight: z
    .number()
    .min(0)
    .optional()
    .describe('t-spin: weight of preferring the opponent’s answer to the SFT model’s (default: 0.1)'),
};
export type LossParameter = keyof typeof lossParameters;

/** The parameters of each loss beside `beta` and `sft_weight`. */
const parametersOf: { readonly [K in LossName]: readonly LossParameter[] } = {
  logistic: ['label_smoothing', 'length_normalization', 'reference_alpha'],
  hinge: ['length_normalization', 'reference_alpha'],
  exponential: ['length_normalization', 'reference_alpha'],
  linear: ['length_normalization', 'reference_alpha'],
  robust: ['label_smoothing', 'length_normalization', 'reference_alpha'],
  dpop: ['dpop_lambda', 'length_normalization', 'reference_alpha'],
  ipo: ['reference_alpha'],
  simpo: ['simpo_gamma'],
  orpo: [],
  't-spin': ['history_weight'],
};

type LossInput = { readonly loss: LossName; readonly sft_weight: number } & {
  readonly [Key in LossParameter]?: number | boolean | undefined;
};

export function demandParameters(
  { loss, sft_weight, ...settings }: LossInput,
  { addIssue }: { addIssue: (issue: Issue) => void },
): void {
  for (const key of Object.keys(lossParameters) as LossParameter[]) {
    if (settings[key] === undefined || parametersOf[loss].includes(key)) continue;
    const having = lossNames.filter((name) => parametersOf[name].includes(key));
    const message = `${key} is no parameter of the loss ${loss}, only of ${having.join(', ')}`;
    addIssue({ code: 'custom', path: [key], message });
  }
  if (loss === 'orpo' && sft_weight === 0) {
    const message =
      'the loss orpo stands beside cross-entropy on the human answers: sft_weight must not be 0 (1 in its paper)';
    addIssue({ code: 'custom', path: ['sft_weight'], message });
  }
}

/** None but the rank has a default in the schema, so that one given without a rank is noticed. */
export const adapter = {
  lora_rank: z.int().min(0).default(0).describe('Learn a LoRA adapter of this rank; 0 learns all weights'),
  lora_alpha: positive.optional().describe('Adapter: its product counts α/rank times (default: the rank)'),
  lora_rslora: z.boolean().optional().describe('Adapter: α/√rank in place of α/rank, as in rsLoRA (default: no)'),
  lora_dropout: z
    .number()
    .min(0)
    .lt(1)
    .optional()
    .describe('Adapter: share of its inputs that training drops (default: 0)'),
  lora_targets: z
    .array(z.string().min(1))
    .optional()
    .describe('Adapter: layers by the end of their name, * for anything: q_proj, layers.1*.mlp.* (default: all)'),
};
export type AdapterSettings = z.output<z.ZodObject<typeof adapter>>;

type Issue = { code: 'custom'; path: string[]; message: string };

export function demandRank(settings: AdapterSettings, { addIssue }: { addIssue: (issue: Issue) => void }): void {
  if (settings.lora_rank > 0) return;
  for (const key of Object.keys(adapter) as (keyof typeof adapter)[]) {
    if (key === 'lora_rank' || settings[key] === undefined) continue;
    addIssue({ code: 'custom', path: [key], message: `${key} says how an adapter is: give lora_rank as well` });
  }
}

/** Both say how many rows of the train split are trained on. */
export function demandOneSize(
  { limit, sample }: { readonly limit?: unknown; readonly sample?: unknown },
  { addIssue }: { addIssue: (issue: Issue) => void },
): void {
  if (limit === undefined || sample === undefined) return;
  addIssue({ code: 'custom', path: ['sample'], message: 'limit and sample exclude each other' });
}

export const scoring = {
  scorer: z.string().min(1).optional().describe('ES module whose default export scores an answer from 0 to 1'),
};

export const sharding = {
  shard_size: count.default(256).describe('Prompts per shard: what an interruption can cost'),
};

export const dropping = {
  drop: z
    .array(z.enum(REASONS))
    .default(DROPPED_BY_DEFAULT)
    .describe('Reasons for which a pair is left out; pairs kept in spite of one are listed as well'),
};
