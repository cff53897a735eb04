/**
 * Everything a user can set, with defaults and one sentence each. The same schema checks config files, flags and the
 * typed API, makes the JSON Schema, and is what `--help` prints. Names are those of TRL and the SPIN repository where
 * they have one. Defaults are the paper's where the paper has one (docs/log.md says where not).
 */
import { z } from 'zod';
import type { NewAdapter } from '../checkpoint/index.ts';
import { DROPPED_BY_DEFAULT, REASONS } from '../pairs/index.ts';
import { type LossName, type LossSettings, lossNames, type OptimizerSettings } from '../training/index.ts';
import { oneOrMore, replayedBefore, replayWindow, valuesOf } from './schedules.ts';

const seed = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const count = z.int().min(1);
const positive = z.number().positive();
const share = z.number().min(0).max(1);

const where = {
  model: z
    .string()
    .min(1)
    .describe('Model directory in Hugging Face layout: config.json, tokenizer.json, weights; or an adapter of PEFT'),
  data: z.string().min(1).describe('Data that the model was fine-tuned on: .jsonl or .json'),
  out: z.string().min(1).optional().describe('Directory to write to (default: runs/NAME-DATE, printed)'),
};

const lock = z
  .string()
  .min(1)
  .optional()
  .describe('lock.json of a run that this one shall repeat: anything that differs from it is refused');

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
  max_prompt_length: count.optional().describe('Longest prompt in tokens (default: no limit of its own)'),
  seed: seed.default(0).describe('Seed of every random choice'),
};

const contamination = {
  contamination: z
    .array(z.string().min(1))
    .default([])
    .describe('Files whose prompts should not be trained on; dev and test are always compared'),
  contaminated: z
    .enum(['keep', 'drop'])
    .default('keep')
    .describe('What happens to train rows whose prompt overlaps with one of these, dev or test'),
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

const memory = {
  gradient_checkpointing: z
    .enum(['auto', 'true', 'false'])
    .default('auto')
    .describe('Compute each block again in the backward pass instead of keeping it: less memory, slower, same result'),
  max_memory: positive
    .optional()
    .describe('GiB that training may take, of the GPU where that computes (default: what is free, less a reserve)'),
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

const temperature = z.number().min(0);
const topK = z.int().min(0);
const topP = z.number().gt(0).max(1);

const sampling = {
  max_new_tokens: count.default(256).describe('Longest answer of the model in tokens'),
  generation_batch_size: count.default(64).describe('Answers written side by side: memory and speed, same answers'),
};

/** A game has a rate and a number of epochs for each iteration. */
const optimization = <Rate extends z.ZodType, Epochs extends z.ZodType>(of: {
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
const loss = <Beta extends z.ZodType>(beta: Beta) => ({
  loss: z.enum(lossNames).default('logistic').describe('What is minimised; docs/losses.md has them all'),
  beta: beta.describe('β of the loss (λ in the paper)'),
});
const mixIn = {
  sft_weight: z.number().min(0).default(0).describe('Weight of cross-entropy on the human answers beside the loss'),
};

/** Parameters of losses. None has a default in the schema, so that one given with a loss that lacks it is noticed. */
const lossParameters = {
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
type LossParameter = keyof typeof lossParameters;

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

function demandParameters(
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
const adapter = {
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
type AdapterSettings = z.output<z.ZodObject<typeof adapter>>;

type Issue = { code: 'custom'; path: string[]; message: string };

function demandRank(settings: AdapterSettings, { addIssue }: { addIssue: (issue: Issue) => void }): void {
  if (settings.lora_rank > 0) return;
  for (const key of Object.keys(adapter) as (keyof typeof adapter)[]) {
    if (key === 'lora_rank' || settings[key] === undefined) continue;
    addIssue({ code: 'custom', path: [key], message: `${key} says how an adapter is: give lora_rank as well` });
  }
}

/** The adapter that a run begins with; undefined where all weights are learned, or the model's own adapter. */
export function adapterOf(settings: AdapterSettings & { readonly seed: number }): NewAdapter | undefined {
  const { lora_rank: rank, seed } = settings;
  if (rank === 0) return undefined;
  const targets = settings.lora_targets ?? [];
  const lora = {
    rank,
    alpha: settings.lora_alpha ?? rank,
    rankStabilized: settings.lora_rslora ?? false,
    dropout: settings.lora_dropout ?? 0,
    targets: targets.length === 0 ? ('all-linear' as const) : targets,
    rankPattern: {},
    alphaPattern: {},
  };
  return { lora, seed };
}

const scoring = {
  scorer: z.string().min(1).optional().describe('ES module whose default export scores an answer from 0 to 1'),
};

const sharding = {
  shard_size: count.default(256).describe('Prompts per shard: what an interruption can cost'),
};

const dropping = {
  drop: z
    .array(z.enum(REASONS))
    .default(DROPPED_BY_DEFAULT)
    .describe('Reasons for which a pair is left out; pairs kept in spite of one are listed as well'),
};

const file = z.string().min(1);

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
    .union([file, z.array(file).min(1)])
    .transform((files) => (typeof files === 'string' ? [files] : files))
    .optional()
    .describe('Pairs of the iteration before the first, and of those before it, to be replayed; same formats'),
  stop_after: z
    .enum(['generate'])
    .optional()
    .describe('Stop when an iteration has its pairs; to be resumed, or trained elsewhere'),
};

/** Controls of a game, in the order of the table: recipes/baselines.ts. */
const BASELINES = ['sft-steps', 'sft-flops', 'sft-temperature', 'sft-reweighted'] as const;
export type BaselineName = (typeof BASELINES)[number];
export type BaselineChoice = BaselineName | 'all';

const baselines = z.array(z.enum([...BASELINES, 'all']));

/** What `selfplay baselines` makes. */
export const addedBaselinesSchema = z.strictObject({
  only: baselines.default(['all']).describe('Which controls to make; those that are there stay'),
});

export type AddedBaselines = z.input<typeof addedBaselinesSchema>;

/** Those that are asked for, each once, in their order. */
export const baselinesOf = (chosen: readonly BaselineChoice[]): BaselineName[] =>
  BASELINES.filter((name) => chosen.includes('all') || chosen.includes(name));

export const spinSchema = z
  .strictObject({
    ...where,
    data: where.data.optional().describe(`${where.data.description}; one iteration with --pairs needs none`),
    lock,
    ...rows,
    sample: oneOrMore(count).optional().describe('Play on a seeded random N rows of the train split'),
    ...contamination,
    ...entry,
    ...sampling,
    samples_per_prompt: oneOrMore(count.max(0xffff))
      .prefault(1)
      .describe('Answers of the opponent to each prompt, each a pair with the human one'),
    temperature: oneOrMore(temperature).prefault(1).describe('Temperature of the opponent; 1 is the opponent itself'),
    top_k: oneOrMore(topK).prefault(0).describe('Sample from the k most probable tokens; 0 is off'),
    top_p: oneOrMore(topP).prefault(1).describe('Sample from the smallest set with this probability; 1 is off'),
    ...sharding,
    ...loss(oneOrMore(positive).prefault(0.1)),
    ...lossParameters,
    ...mixIn,
    checker: z
      .string()
      .regex(/^(none|exact-match|number|.+\.m?js)$/)
      .default('none')
      .meta({
        examples: ['none', 'exact-match', 'number', 'FILE.mjs'],
        description:
          'Says which samples are equivalent to the human answer; a file is an ES module whose default export does',
      }),
    ...dropping,
    replay: replayWindow
      .prefault(1)
      .describe('Train on the pairs of so many earlier iterations as well; 1 as in the paper, 0 none'),
    replay_weights: oneOrMore(z.number().min(0))
      .optional()
      .describe('Weight of their pairs, the last iteration’s first, where new ones have 1; 0 leaves out (default: 1)'),
    governor: z
      .boolean()
      .default(true)
      .describe('After each iteration let the dev split decide whether it counts and the game goes on'),
    max_attempts: count.default(3).describe('Attempts at an iteration that the governor rolls back'),
    preflight: z
      .boolean()
      .default(true)
      .describe('Before anything else look whether the game can go right, and what it will cost'),
    baselines: baselines
      .default([])
      .describe('Controls for the same table, made behind the game; docs/baselines.md explains them'),
    ...optimization({
      learning_rate: oneOrMore(positive).prefault(5e-7),
      optimizer: 'rmsprop',
      num_train_epochs: oneOrMore(count).prefault(2),
    }),
    ...adapter,
    ...scoring,
    ...machine,
  })
  .refine(({ limit, sample }) => limit === undefined || sample === undefined, {
    message: 'limit and sample exclude each other',
    path: ['sample'],
  })
  .superRefine(demandRank)
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
  .superRefine((settings, { addIssue }) => {
    const [given, needed] = [settings.replay_pairs?.length ?? 0, replayedBefore(settings)];
    if (given === needed) return;
    const message =
      needed === 0
        ? 'replay_pairs are given, but replay is off'
        : given > needed
          ? `replay_pairs has files for ${given} earlier iterations, of which only ${needed} are replayed: see replay`
          : given === 0 && needed === 1
            ? 'the pairs of the iteration before are missing, which the first iteration replays: give them with ' +
              '--replay-pairs, or play without: --no-replay'
            : `the pairs of ${needed} iterations before the first are replayed, and replay_pairs has files for ${given}: ` +
              'give one for each, the last iteration’s first, or a smaller --replay';
    addIssue({ code: 'custom', path: ['replay_pairs'], message });
  })
  .refine(({ replay, replay_weights }) => replay_weights === undefined || valuesOf(replay).some((n) => n > 0), {
    message: 'replay_weights are given, but replay is off',
    path: ['replay_weights'],
  })
  .refine(({ pairs, stop_after }) => pairs === undefined || stop_after === undefined, {
    message: 'with pairs from a file the first iteration generates nothing that it could stop after',
    path: ['stop_after'],
  })
  .refine(({ start_iteration, reference_alpha = 0 }) => start_iteration === 0 || reference_alpha === 0, {
    message:
      'reference_alpha mixes in the SFT model, which a game that starts later does not have: start at 0, or leave it out',
    path: ['reference_alpha'],
  })
  .refine(
    ({ loss, history_weight, start_iteration, replay_pairs }) =>
      loss !== 't-spin' || history_weight === 0 || start_iteration <= (replay_pairs?.length ?? 0),
    {
      message:
        'the loss t-spin compares with the answers of the SFT model, the pairs of iteration 0: start at 0, or later with ' +
        '--replay-pairs that reach back to them, or give --history-weight 0',
      path: ['loss'],
    },
  )
  .superRefine(demandParameters);

export const sftSchema = z
  .strictObject({
    ...where,
    lock,
    ...rows,
    ...contamination,
    ...optimization({
      learning_rate: positive.default(2e-5),
      optimizer: 'adamw',
      num_train_epochs: count.default(1),
    }),
    ...adapter,
    evaluations: count
      .default(4)
      .describe('How often per epoch the dev likelihood is measured; the best model is kept'),
    ...machine,
  })
  .refine(({ limit, sample }) => limit === undefined || sample === undefined, {
    message: 'limit and sample exclude each other',
    path: ['sample'],
  })
  .superRefine(demandRank);

/** What the schemas of other files are made of. */
export const parts = {
  count,
  positive,
  where,
  lock,
  rows,
  contamination,
  loss,
  lossParameters,
  mixIn,
  sharding,
  dropping,
  optimization,
  adapter,
  machine,
  demandRank,
  demandParameters,
};

export const mergeSchema = z.strictObject({
  model: z.string().min(1).describe('Directory of the adapter'),
  out: z.string().min(1).describe('Directory for the merged model'),
  engine: engine.engine,
  device: engine.device,
  threads: machine.threads,
});

export const generateSchema = z.strictObject({
  ...where,
  out: z.string().min(1).optional().describe('File for the answers as JSON lines (default: standard output)'),
  prompt_column: rows.prompt_column,
  response_column: rows.response_column,
  limit: count.optional().describe('Only the first N rows'),
  seed: rows.seed,
  ...sampling,
  temperature: temperature.default(0).describe('0 takes the most probable token'),
  top_k: topK.default(0).describe('Sample from the k most probable tokens; 0 is off'),
  top_p: topP.default(1).describe('Sample from the smallest set with this probability; 1 is off'),
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

/** A conversation with a model that a run has in the engine: as `selfplay generate` answers. */
export const chatSchema = generateSchema.pick({
  max_new_tokens: true,
  temperature: true,
  top_k: true,
  top_p: true,
  seed: true,
});

export type SpinSettings = z.output<typeof spinSchema>;
export type SpinInput = z.input<typeof spinSchema>;
export type SftSettings = z.output<typeof sftSchema>;
export type SftInput = z.input<typeof sftSchema>;
export type MergeSettings = z.output<typeof mergeSchema>;
export type MergeInput = z.input<typeof mergeSchema>;
export type GenerateSettings = z.output<typeof generateSchema>;
export type GenerateInput = z.input<typeof generateSchema>;
export type EvalSettings = z.output<typeof evalSchema>;
export type EvalInput = z.input<typeof evalSchema>;
export type ChatSettings = z.output<typeof chatSchema>;
export type ChatInput = z.input<typeof chatSchema>;
export type EngineSettings = Pick<SpinSettings, keyof typeof engine>;
export type ResumeChanges = z.output<typeof resumeSchema>;

/** Whether a checker is a module of the user's, by its path. */
export const isModule = (checker: string): boolean => /\.m?js$/.test(checker);

/** The optimizer that settings describe. */
export function optimizerOf(settings: Pick<SpinSettings, OptimizerKey>): OptimizerSettings {
  const { optimizer, adam_beta1, adam_beta2, rmsprop_alpha, optimizer_epsilon: eps, weight_decay } = settings;
  return optimizer === 'adamw'
    ? { kind: 'adamw', beta1: adam_beta1, beta2: adam_beta2, eps, weightDecay: weight_decay }
    : { kind: 'rmsprop', alpha: rmsprop_alpha, eps };
}
type OptimizerKey = 'optimizer' | 'adam_beta1' | 'adam_beta2' | 'rmsprop_alpha' | 'optimizer_epsilon' | 'weight_decay';

/**
 * The loss of iteration t. In iteration 0 T-SPIN's opponent is the initial model, whose answers cannot be told from its
 * own: as in its paper the term that compares them begins in iteration 1.
 */
export function lossOf(
  settings: Pick<SpinSettings, 'loss'> & Partial<Pick<SpinSettings, LossParameter>>,
  t: number,
): LossSettings {
  const { loss: name, label_smoothing, length_normalization: lengthNormalization = false } = settings;
  switch (name) {
    case 'hinge':
    case 'exponential':
    case 'linear':
      return { name, lengthNormalization };
    case 'logistic':
      return { name, lengthNormalization, labelSmoothing: label_smoothing ?? 0 };
    case 'robust':
      return { name, lengthNormalization, labelSmoothing: label_smoothing ?? 0.1 };
    case 'dpop':
      return { name, lengthNormalization, dpopLambda: settings.dpop_lambda ?? 50 };
    case 'ipo':
    case 'orpo':
      return { name };
    case 'simpo':
      return { name, simpoGamma: settings.simpo_gamma ?? 0.5 };
    case 't-spin':
      return { name, historyWeight: t === 0 ? 0 : (settings.history_weight ?? 0.1) };
  }
}
