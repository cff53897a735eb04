/**
 * Everything a user can set, with defaults and one sentence each. The same schema checks config files, flags and the
 * typed API, makes the JSON Schema, and is what `--help` prints. Names are those of TRL and the SPIN repository where
 * they have one. Defaults are the paper's where the paper has one (docs/log.md says where not).
 */
import { z } from 'zod';
import type { NewAdapter } from '../../checkpoint/index.ts';
import type { LossSettings, OptimizerSettings } from '../../training/index.ts';
import { oneOrMore, replayedBefore, replayWindow, valuesOf } from './schedules.ts';
import {
  type AdapterSettings,
  adapter,
  contamination,
  count,
  demandOneSize,
  demandParameters,
  demandRank,
  devices,
  dropping,
  engine,
  files,
  type LossParameter,
  lock,
  loss,
  lossParameters,
  machine,
  mixIn,
  optimization,
  positive,
  rows,
  sampling,
  scoring,
  sharding,
  temperature,
  topK,
  topP,
  where,
} from './settingParts.ts';

/** What `selfplay resume` lets a run go on with; without any of it the run keeps its engine. */
export const resumeSchema = z.strictObject({
  engine: engine.engine.unwrap().optional().describe('Go on with another engine'),
  device: engine.device
    .unwrap()
    .optional()
    .meta({ ...devices, description: 'Go on on another device' }),
  dtype: engine.dtype.unwrap().optional().describe('Go on in another precision'),
});

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
  pairs: files
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
    sft_weight: mixIn(1).describe(
      'Weight of cross-entropy on the human answers beside the loss; the paper has none (0)',
    ),
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
      .prefault(0)
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
      optimizer: 'adamw',
      num_train_epochs: oneOrMore(count).prefault(1),
    }),
    ...adapter,
    ...scoring,
    ...machine,
  })
  .superRefine(demandOneSize)
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
        ? 'replay_pairs are given, but replay is off: --replay says how many earlier iterations’ pairs are trained on'
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
  .superRefine(demandOneSize)
  .superRefine(demandRank);

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
  turns: rows.turns,
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
  data: files.describe('Held-out rows with human answers: as the data of `selfplay run`'),
  out: z.string().min(1).optional().describe('File for figures and per-row scores as JSON'),
  prompt_column: rows.prompt_column,
  response_column: rows.response_column,
  turns: rows.turns,
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
