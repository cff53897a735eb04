/**
 * Named tables of settings that apply below the user's own: `selfplay run --preset paper`, or
 * `spinSchema.parse({ ...presets.paper, model, data })`.
 */
import type { SpinInput } from './settings.ts';

export const presets = {
  /** The defaults of the schema. */
  default: {},
  /**
   * The run of Chen et al. (ICML 2024), and where the paper is silent that of the authors' code (uclaml/SPIN): 50,000
   * random prompts of UltraChat200k, of each chat the first round (which is what is read of any chat), four iterations
   * that each train on their own pairs and on those of the iteration before, and nobody who stops them.
   */
  paper: {
    iterations: 4,
    sample: 50_000,
    test_size: 500,
    max_length: 1024,
    max_prompt_length: 512,
    max_new_tokens: 256,
    temperature: 1,
    top_k: 0,
    top_p: 1,
    samples_per_prompt: 1,
    drop: [],
    checker: 'none',
    loss: 'logistic',
    beta: [0.1, 0.1, 0.1, 5],
    sft_weight: 0,
    replay: 1,
    governor: false,
    optimizer: 'rmsprop',
    rmsprop_alpha: 0.99,
    optimizer_epsilon: 1e-8,
    learning_rate: [5e-7, 5e-7, 1e-7, 1e-7],
    lr_scheduler_type: 'linear',
    warmup_ratio: 0.1,
    num_train_epochs: 2,
    batch_size: 64,
    max_grad_norm: 1,
  },
} satisfies Record<string, Partial<SpinInput>>;

/** The settings of a preset that stand where the user has given `keys`; a limit takes the place of a sample. */
export function presetBelow(name: keyof typeof presets, keys: { has(key: string): boolean }): [string, unknown][] {
  return Object.entries(presets[name]).filter(([key]) => !keys.has(key) && !(key === 'sample' && keys.has('limit')));
}
