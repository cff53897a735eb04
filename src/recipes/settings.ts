/**
 * Everything a user can set, with defaults and one sentence each. The same schema checks config files, flags and the
 * typed API, makes the JSON Schema, and is what `--help` prints. Names are those of TRL and the SPIN repository where
 * they have one. Defaults are the paper's where the paper has one (docs/log.md says where not).
 */
import { z } from 'zod';
import type { OptimizerSettings } from '../training/index.ts';

const seed = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const count = z.int().min(1);
const positive = z.number().positive();
const share = z.number().min(0).max(1);

const where = {
  model: z.string().min(1).describe('Model directory in Hugging Face layout: config.json, tokenizer.json, weights'),
  data: z.string().min(1).describe('Data that the model was fine-tuned on: .jsonl or .json'),
  out: z.string().min(1).optional().describe('Directory to write to (default: runs/NAME-DATE, printed)'),
};

const rows = {
  prompt_column: z.string().min(1).optional().describe('Column with the prompt, if the format is not recognised'),
  response_column: z.string().min(1).optional().describe('Column with the human answer'),
  limit: count.optional().describe('Train on the first N rows of the train split'),
  sample: count.optional().describe('Train on a seeded random N rows of the train split'),
  eval_data: z
    .string()
    .min(1)
    .optional()
    .describe('File with held-out rows for the table (default: cut from the data)'),
  dev_size: z.int().min(0).optional().describe('Rows cut off for choices (default: 10 % of the rows, at most 100)'),
  test_size: z.int().min(0).optional().describe('Rows for the table (default: 10 % of the rows, at most 100)'),
  max_length: count.optional().describe('Longest prompt + answer in tokens (default: the context of the model)'),
  seed: seed.default(0).describe('Seed of every random choice'),
};

const devices = { examples: ['auto', 'cpu', 'cuda', 'cuda:N', 'mps'] };

const engine = {
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

/** What `selfplay resume` lets a run go on with; without any of it the run keeps its engine. */
export const resumeSchema = z.strictObject({
  engine: engine.engine.unwrap().optional().describe('Go on with another engine'),
  device: engine.device
    .unwrap()
    .optional()
    .meta({ ...devices, description: 'Go on on another device' }),
  dtype: engine.dtype.unwrap().optional().describe('Go on in another precision'),
});

const machine = {
  ...engine,
  threads: count.optional().describe('Threads for the arithmetic (default: all cores)'),
  deterministic: z
    .boolean()
    .default(false)
    .describe('On a GPU: avoid kernels whose sums come in any order (a CPU has none)'),
  micro_batch_tokens: count.default(2048).describe('Tokens trained on at once: less memory or more speed, same result'),
  checkpoint_seconds: z.number().min(0).default(120).describe('Least time between two training checkpoints'),
};

const sampling = {
  max_new_tokens: count.default(256).describe('Longest answer of the model in tokens'),
  generation_batch_size: count.default(64).describe('Answers written side by side: memory and speed, same answers'),
};

const optimization = (defaults: {
  learning_rate: number;
  optimizer: 'adamw' | 'rmsprop';
  num_train_epochs: number;
}) => ({
  learning_rate: positive.default(defaults.learning_rate).describe('Peak learning rate'),
  num_train_epochs: count.default(defaults.num_train_epochs).describe('Passes over the rows'),
  batch_size: count.default(64).describe('Rows (pairs) per optimizer step'),
  optimizer: z.enum(['adamw', 'rmsprop']).default(defaults.optimizer).describe('AdamW, or the RMSProp of torch'),
  adam_beta1: share.default(0.9).describe('AdamW: decay of the mean'),
  adam_beta2: share.default(0.999).describe('AdamW: decay of the square'),
  rmsprop_alpha: share.default(0.99).describe('RMSProp: decay of the square'),
  optimizer_epsilon: positive.default(1e-8).describe('Added to the root of the square'),
  weight_decay: z.number().min(0).default(0).describe('AdamW: decoupled weight decay'),
  lr_scheduler_type: z.enum(['linear', 'cosine', 'constant']).default('linear').describe('How the rate falls'),
  warmup_ratio: share.default(0.1).describe('Share of the steps over which the rate rises'),
  max_grad_norm: positive.default(1).describe('Gradients are clipped to this norm'),
});

const scoring = {
  scorer: z.string().min(1).optional().describe('ES module whose default export scores an answer from 0 to 1'),
};

/** Where a game begins and ends: elsewhere it may have been begun, and may go on. */
const entry = {
  iterations: count.default(1).describe('Iterations of the game'),
  start_iteration: z
    .int()
    .min(0)
    .max(9999)
    .default(0)
    .describe('Number of the first iteration; --model is then the model of the iteration before it'),
  pairs: z
    .string()
    .min(1)
    .optional()
    .describe('Pairs of the first iteration, which then generates none: a pairs.jsonl, or rows of real and generated'),
  replay_pairs: z
    .string()
    .min(1)
    .optional()
    .describe('Pairs of the iteration before the first, to be replayed; same formats'),
  stop_after: z
    .enum(['generate'])
    .optional()
    .describe('Stop when an iteration has its pairs; to be resumed, or trained elsewhere'),
};

export const spinSchema = z
  .strictObject({
    ...where,
    data: where.data.optional().describe(`${where.data.description}; one iteration with --pairs needs none`),
    ...rows,
    ...entry,
    ...sampling,
    temperature: z.number().min(0).default(1).describe('Temperature of the opponent; 1 is the opponent itself'),
    top_k: z.int().min(0).default(0).describe('Sample from the k most probable tokens; 0 is off'),
    top_p: z.number().gt(0).max(1).default(1).describe('Sample from the smallest set with this probability; 1 is off'),
    shard_size: count.default(256).describe('Prompts per shard: what an interruption can cost'),
    beta: positive.default(0.1).describe('β of the loss (λ in the paper)'),
    sft_weight: z.number().min(0).default(0).describe('Weight of cross-entropy on the human answers beside the loss'),
    checker: z
      .enum(['none', 'exact-match', 'number'])
      .default('none')
      .describe('Leave out pairs whose sample this checker takes for equal to the human answer'),
    replay: z.boolean().default(true).describe('Train on the pairs of the iteration before as well, as in the paper'),
    ...optimization({ learning_rate: 5e-7, optimizer: 'rmsprop', num_train_epochs: 2 }),
    ...scoring,
    ...machine,
  })
  .refine(({ limit, sample }) => limit === undefined || sample === undefined, {
    message: 'limit and sample exclude each other',
    path: ['sample'],
  })
  .refine(({ data, pairs }) => data !== undefined || pairs !== undefined, {
    message: 'data is missing: give the data that the model was fine-tuned on, or pairs',
    path: ['data'],
    // Also where other settings are wrong, so that all is said together (after a fraction zod looks no further).
    when: () => true,
  })
  .refine(({ data, iterations }) => data !== undefined || iterations === 1, {
    message: 'more than one iteration needs data: only the first one has its pairs from a file',
    path: ['iterations'],
  })
  .refine(({ data, dev_size = 0 }) => data !== undefined || dev_size === 0, {
    message: 'dev_size needs data, from which these rows are cut',
    path: ['dev_size'],
  })
  .refine(({ start_iteration, replay_pairs }) => start_iteration > 0 || replay_pairs === undefined, {
    message: 'there is no iteration before iteration 0: replay_pairs needs a start_iteration of at least 1',
    path: ['replay_pairs'],
  })
  .refine(({ replay, replay_pairs }) => replay || replay_pairs === undefined, {
    message: 'replay_pairs are given, but replay is off',
    path: ['replay_pairs'],
  })
  .refine(
    ({ start_iteration, replay, replay_pairs }) => start_iteration === 0 || !replay || replay_pairs !== undefined,
    {
      message:
        'the pairs of the iteration before are missing, which the first iteration replays: give them with ' +
        '--replay-pairs, or play without: --no-replay',
      path: ['replay_pairs'],
    },
  )
  .refine(({ pairs, stop_after }) => pairs === undefined || stop_after === undefined, {
    message: 'with pairs from a file the first iteration generates nothing that it could stop after',
    path: ['stop_after'],
  });

export const sftSchema = z
  .strictObject({
    ...where,
    ...rows,
    ...optimization({ learning_rate: 2e-5, optimizer: 'adamw', num_train_epochs: 1 }),
    evaluations: count
      .default(4)
      .describe('How often per epoch the dev likelihood is measured; the best model is kept'),
    ...machine,
  })
  .refine(({ limit, sample }) => limit === undefined || sample === undefined, {
    message: 'limit and sample exclude each other',
    path: ['sample'],
  });

export const generateSchema = z.strictObject({
  ...where,
  out: z.string().min(1).optional().describe('File for the answers as JSON lines (default: standard output)'),
  prompt_column: rows.prompt_column,
  response_column: rows.response_column,
  limit: count.optional().describe('Only the first N rows'),
  seed: rows.seed,
  ...sampling,
  temperature: z.number().min(0).default(0).describe('0 takes the most probable token'),
  top_k: z.int().min(0).default(0).describe('Sample from the k most probable tokens; 0 is off'),
  top_p: z.number().gt(0).max(1).default(1).describe('Sample from the smallest set with this probability; 1 is off'),
  ...engine,
  threads: machine.threads,
  deterministic: machine.deterministic,
});

export const evalSchema = z.strictObject({
  model: where.model,
  data: z.string().min(1).describe('Held-out rows with human answers: .jsonl or .json'),
  out: z.string().min(1).optional().describe('File for figures and per-row scores as JSON'),
  prompt_column: rows.prompt_column,
  response_column: rows.response_column,
  limit: count.optional().describe('Only the first N rows'),
  seed: rows.seed,
  ...sampling,
  ...scoring,
  ...engine,
  threads: machine.threads,
  deterministic: machine.deterministic,
  micro_batch_tokens: machine.micro_batch_tokens,
});

export type SpinSettings = z.output<typeof spinSchema>;
export type SpinInput = z.input<typeof spinSchema>;
export type SftSettings = z.output<typeof sftSchema>;
export type SftInput = z.input<typeof sftSchema>;
export type GenerateSettings = z.output<typeof generateSchema>;
export type EvalSettings = z.output<typeof evalSchema>;
export type EngineSettings = Pick<SpinSettings, keyof typeof engine>;
export type ResumeChanges = z.output<typeof resumeSchema>;

/** The optimizer that settings describe. */
export function optimizerOf(settings: Pick<SpinSettings, OptimizerKey>): OptimizerSettings {
  const { optimizer, adam_beta1, adam_beta2, rmsprop_alpha, optimizer_epsilon: eps, weight_decay } = settings;
  return optimizer === 'adamw'
    ? { kind: 'adamw', beta1: adam_beta1, beta2: adam_beta2, eps, weightDecay: weight_decay }
    : { kind: 'rmsprop', alpha: rmsprop_alpha, eps };
}
type OptimizerKey = 'optimizer' | 'adam_beta1' | 'adam_beta2' | 'rmsprop_alpha' | 'optimizer_epsilon' | 'weight_decay';
