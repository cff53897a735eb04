/** From config.json to a model, by model_type. */
import { usageError } from '../util/index.ts';
import { llama } from './llama.ts';
import { mistral } from './mistral.ts';
import type { LanguageModel } from './model.ts';
import { qwen2 } from './qwen2.ts';
import { qwen3 } from './qwen3.ts';

type Page = (config: Readonly<Record<string, unknown>>, file: string) => LanguageModel;

const families: Readonly<Record<string, Page>> = {
  llama,
  mistral,
  qwen2,
  qwen3,
};

/** The model that a config describes. Throws a usage error for an unknown model_type or unsupported fields. */
export function modelFromConfig(config: Readonly<Record<string, unknown>>, file: string): LanguageModel {
  const type = String(config['model_type']);
  if (!Object.hasOwn(families, type)) {
    throw usageError({
      what: `model_type "${type}" is not supported`,
      where: `${file}:model_type`,
      fix: `use a model of type ${Object.keys(families).join(', ')}`,
    });
  }
  return families[type]!(config, file);
}
