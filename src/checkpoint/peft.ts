// adapter_config.json of PEFT (written against 0.21): what we understand of it, and what we write. A key that would change the
// arithmetic and is not understood is refused by its name, never passed over.

import { readFile } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import { isGgufFile } from '../formats/index.ts';
import { cachedModel } from '../hub/index.ts';
import type { LoraConfig } from '../models/index.ts';
import { diskIo, exists, usageError } from '../util/index.ts';

export const ADAPTER_CONFIG = 'adapter_config.json';
export const ADAPTER_FILE = 'adapter_model.safetensors';

/** Keys that change nothing about what an adapter computes; fan_in_fan_out says how the base is stored, which its config says too. */
const INFORMATION = new Set([
  ...[
    'auto_mapping',
    'fan_in_fan_out',
    'inference_mode',
    'megatron_core',
    'peft_version',
    'qalora_group_size',
    'revision',
    'task_type',
  ],
]);
/** Ways to start A and B that leave the base as it is; the others (PiSSA, OLoRA …) change it. */
const PLAIN_STARTS: readonly unknown[] = [true, false, 'gaussian', undefined];

export interface AdapterSettings {
  readonly config: LoraConfig;
  /** As the file has it. */
  readonly base: string;
}

/** Whether the directory holds an adapter, not a whole model. */
export const isAdapterDirectory = (dir: string): Promise<boolean> => exists(join(dir, ADAPTER_CONFIG));

/** @throws usage error that names every key of adapter_config.json that is not supported or not sound */
export async function readAdapterConfig(dir: string): Promise<AdapterSettings> {
  const file = join(dir, ADAPTER_CONFIG);
  const given = await readObject(file);
  const problems: string[] = [];
  const used = new Set(['base_model_name_or_path', 'init_lora_weights', 'peft_type', 'bias', 'target_modules']);
  const say = (key: string, rule: string) => problems.push(`${key}: is ${JSON.stringify(given[key])}, ${rule}`);
  const take = <T>(key: string, fallback: T | undefined, rule: string, fits: (value: unknown) => boolean): T => {
    used.add(key);
    const value = given[key] ?? fallback;
    if (!fits(value)) say(key, `expected ${rule}`);
    return value as T;
  };
  const positive = (value: unknown) => typeof value === 'number' && value > 0 && Number.isFinite(value);
  const whole = (value: unknown) => positive(value) && Number.isInteger(value);
  const numbers = (fits: (value: unknown) => boolean) => (value: unknown) =>
    isObject(value) && Object.values(value).every(fits);

  if (given['peft_type'] !== 'LORA') say('peft_type', 'only "LORA" is supported');
  if ((given['bias'] ?? 'none') !== 'none') say('bias', 'only "none" is supported: biases stay as they are');
  if (!PLAIN_STARTS.includes(given['init_lora_weights'] ?? undefined)) {
    say('init_lora_weights', 'which changes the weights of the base; only a plain start is supported');
  }
  const targets = given['target_modules'];
  const areNames = Array.isArray(targets) && targets.length > 0 && targets.every((name) => typeof name === 'string');
  if (!areNames && typeof targets !== 'string') say('target_modules', 'expected a list of names or one pattern');
  const base = given['base_model_name_or_path'];
  if (typeof base !== 'string' || base === '') say('base_model_name_or_path', 'expected the base model');
  const config: LoraConfig = {
    rank: take('r', 8, 'a positive whole number', whole),
    alpha: take('lora_alpha', 8, 'a positive number', positive),
    rankStabilized: take('use_rslora', false, 'true or false', (value) => typeof value === 'boolean'),
    dropout: take('lora_dropout', 0, 'a number from 0 to below 1', (p) => typeof p === 'number' && p >= 0 && p < 1),
    targets: areNames ? targets : targets === 'all-linear' ? targets : { regex: String(targets) },
    rankPattern: take('rank_pattern', {}, 'ranks by module', numbers(whole)),
    alphaPattern: take('alpha_pattern', {}, 'alphas by module', numbers(positive)),
  };
  for (const [key, value] of Object.entries(given)) {
    if (used.has(key) || INFORMATION.has(key) || isNothing(value)) continue;
    problems.push(`${key}: is ${JSON.stringify(value)}, which is not supported`);
  }
  if (problems.length > 0) {
    throw usageError({
      what: `cannot use the adapter:\n  ${problems.join('\n  ')}`,
      where: file,
      fix: 'use a plain LoRA adapter on linear layers, or merge this one with PEFT (merge_and_unload) and give the whole model',
    });
  }
  return { config, base: base as string };
}

/** What PEFT reads. @param modules names of the adapted modules */
export function peftConfig(
  { rank, alpha, rankStabilized, dropout, targets, rankPattern, alphaPattern }: LoraConfig,
  base: string,
  modules: readonly string[],
): Record<string, unknown> {
  return {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: base,
    inference_mode: true,
    r: rank,
    lora_alpha: alpha,
    lora_dropout: dropout,
    use_rslora: rankStabilized,
    bias: 'none',
    target_modules: peftTargets(targets, modules),
    rank_pattern: rankPattern,
    alpha_pattern: alphaPattern,
  };
}

/** PEFT knows no `*`: then the modules are named one by one. */
function peftTargets(targets: LoraConfig['targets'], modules: readonly string[]): string | string[] {
  if (targets === 'all-linear') return [...new Set(modules.map((name) => name.split('.').at(-1)!))];
  if ('regex' in targets) return targets.regex;
  return targets.some((name) => name.includes('*')) ? [...modules] : [...targets];
}

/**
 * Where config and weights lie: the directory itself, or the base of an adapter.
 * @throws usage error when the adapter's base is neither a directory nor a GGUF file here, nor in the cache of the Hub
 */
export async function baseDirectory(dir: string): Promise<string> {
  if (!(await isAdapterDirectory(dir))) return dir;
  const { base } = await readAdapterConfig(dir);
  const places = isAbsolute(base) ? [base] : [resolve(dir, base), resolve(base), (await cachedModel(base)) ?? ''];
  for (const place of places) {
    if ((await diskIo.stat(place))?.type !== 'directory' && !(await isGgufFile(place))) continue;
    if (await isAdapterDirectory(place)) {
      throw usageError({
        what: `the base of the adapter, ${place}, is an adapter itself`,
        where: dir,
        fix: 'merge the base first: selfplay merge',
      });
    }
    return place;
  }
  throw usageError({
    what: `the base model of the adapter is not here: ${base}`,
    where: `${join(dir, ADAPTER_CONFIG)}:base_model_name_or_path`,
    fix: 'fetch it, and write its directory there',
  });
}

/** Where tokenizer and generation settings lie: an adapter may bring its own. */
export async function companionDirectory(dir: string): Promise<string> {
  return (await exists(join(dir, 'tokenizer.json'))) ? dir : baseDirectory(dir);
}

async function readObject(file: string): Promise<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(await readFile(file, 'utf8'));
    if (!isObject(value)) throw new SyntaxError('it is not an object');
    return value;
  } catch (cause) {
    throw usageError({
      what: `cannot be read: ${(cause as Error).message}`,
      where: file,
      fix: 'fetch it again',
      cause,
    });
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A feature that is not used: null, false, or an empty list or object. */
const isNothing = (value: unknown) =>
  value === null || value === false || (typeof value === 'object' && Object.keys(value).length === 0);
