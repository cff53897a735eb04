// Settings as command-line flags: --kebab-case for each snake_case key, in groups that put first what a newcomer needs.
// Values stay text until check.ts judges them, so that flags and config files have the same rules and errors.
import { Option } from '@commander-js/extra-typings';
import type { Given } from './check.ts';
import type { Setting } from './settings.ts';

/** Headings in the order of `--help`, with their settings in the order in which they are listed. */
const GROUPS: readonly (readonly [heading: string, keys: readonly string[]])[] = [
  ['What to give', ['model', 'to', 'mix', 'data', 'out', 'lock', 'only', 'iteration', 'system']],
  ['What to try', ['rates', 'betas', 'losses', 'rows', 'minutes']],
  [
    'Rows',
    [
      'limit',
      'sample',
      'eval_data',
      'dev_size',
      'test_size',
      'contamination',
      'contaminated',
      'prompt_column',
      'response_column',
      'turns',
      'max_length',
      'max_prompt_length',
      'seed',
    ],
  ],
  [
    'The game',
    [
      'iterations',
      'start_iteration',
      'pairs',
      'replay_pairs',
      'stop_after',
      'loss',
      'beta',
      'label_smoothing',
      'length_normalization',
      'reference_alpha',
      'dpop_lambda',
      'simpo_gamma',
      'history_weight',
      'sft_weight',
      'replay',
      'replay_weights',
      'governor',
      'max_attempts',
      'preflight',
      'baselines',
      'checker',
      'drop',
      'samples_per_prompt',
      'temperature',
      'top_k',
      'top_p',
      'max_new_tokens',
      'scorer',
    ],
  ],
  [
    'Optimization',
    [
      'learning_rate',
      'num_train_epochs',
      'batch_size',
      'optimizer',
      'lr_scheduler_type',
      'warmup_ratio',
      'max_grad_norm',
      'weight_decay',
      'adam_beta1',
      'adam_beta2',
      'rmsprop_alpha',
      'optimizer_epsilon',
      'evaluations',
    ],
  ],
  ['Adapter', ['lora_rank', 'lora_alpha', 'lora_rslora', 'lora_dropout', 'lora_targets']],
  [
    'Machine',
    [
      'engine',
      'device',
      'dtype',
      'threads',
      'deterministic',
      'micro_batch_tokens',
      'gradient_checkpointing',
      'max_memory',
      'generation_batch_size',
      'shard_size',
      'checkpoint_seconds',
    ],
  ],
];

/** Headings that read better for one command than the usual ones. */
const OTHER_HEADINGS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  dpo: { 'The game': 'The loss' },
  generate: { 'The game': 'Answers' },
  eval: { 'The game': 'Answers' },
  chat: { Rows: 'Answers', 'The game': 'Answers' },
  play: { Rows: 'Pairs' },
  export: { Machine: 'Weights and machine' },
};

/** The keys of all groups: every setting must be in one (a test compares). */
export const groupedKeys: readonly string[] = GROUPS.flatMap(([, keys]) => keys);

/** The flags of a command's settings, in the order of `--help`. A boolean gives two options, of which one is listed. */
export function flagsOf(command: string, settings: ReadonlyMap<string, Setting>): Option[] {
  const options: Option[] = [];
  for (const [heading, keys] of GROUPS) {
    const group = OTHER_HEADINGS[command]?.[heading] ?? heading;
    for (const key of keys) {
      const setting = settings.get(key);
      if (setting !== undefined) options.push(...optionsOf(setting).map((option) => option.helpGroup(`${group}:`)));
    }
  }
  return options;
}

/** Flags that can be turned off with `--no-`. */
const negatable = new WeakSet<Option>();

function optionsOf(setting: Setting): Option[] {
  const form = setting.kind === 'boolean' ? setting.flag : `${setting.flag} ${placeholderOf(setting)}`;
  const option = new Option(form, describe(setting));
  if (!setting.off) return [option];
  negatable.add(option);
  return [option, new Option(setting.flag.replace('--', '--no-')).hideHelp()];
}

function placeholderOf({ key, kind, list, choices, forms }: Setting): string {
  if (list) return kind === 'integer' ? '<n,...>' : '<x,...>';
  if (kind === 'array') return choices.length > 0 ? '<choice...>' : key === 'lora_targets' ? '<name...>' : '<path...>';
  if (choices.length + forms.length > 0) return '<choice>';
  if (kind === 'integer') return '<n>';
  if (kind === 'number') return '<x>';
  if (key === 'model') return '<dir>';
  if (key === 'system') return '<text>';
  if (key.endsWith('_column')) return '<name>';
  return '<path>';
}

function describe({ description, choices, forms, required, default: preset }: Setting): string {
  const remarks: string[] = [];
  const listed = [...choices, ...forms];
  if (listed.length > 0) remarks.push(listed.join(', '));
  if (required) remarks.push('required');
  if (preset !== undefined) remarks.push(`default: ${presetInWords(preset)}`);
  return remarks.length === 0 ? description : `${description} (${remarks.join('; ')})`;
}

function presetInWords(preset: unknown): string {
  if (Array.isArray(preset)) return preset.join(', ') || 'none';
  return preset === true ? 'yes' : preset === false ? 'no' : String(preset);
}

/** How `--help` shows a flag: a boolean as `--[no-]replay`. */
export function optionTerm(option: Option): string {
  return negatable.has(option) ? option.flags.replace('--', '--[no-]') : option.flags;
}

/** The settings among parsed flags, by key, each with its flag as its place. */
export function givenFlags(
  settings: ReadonlyMap<string, Setting>,
  parsed: Record<string, unknown>,
): Map<string, Given> {
  const given = new Map<string, Given>();
  for (const setting of settings.values()) {
    const value = parsed[new Option(setting.flag).attributeName()];
    if (value !== undefined) given.set(setting.key, { value: parsedText(setting, value), where: setting.flag });
  }
  return given;
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/**
 * A number, or a list of them, where the setting is one and the text reads as one; words of a list also where commas part
 * them; else the text, for the check to complain about.
 */
function parsedText({ kind, list, choices }: Setting, value: unknown): unknown {
  if (kind === 'array' && choices.length > 0) return (value as string[]).flatMap((text) => text.split(','));
  if (typeof value !== 'string' || (kind !== 'integer' && kind !== 'number')) return value;
  const parts = list ? value.split(',').map((part) => part.trim()) : [value];
  if (!parts.every((part) => NUMBER.test(part))) return value;
  return parts.length === 1 ? Number(parts[0]) : parts.map(Number);
}
