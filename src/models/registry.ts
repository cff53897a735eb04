/** From config.json to a model, by model_type. */
import { usageError } from '../util/index.ts';
import { gemma } from './gemma.ts';
import { gemma2 } from './gemma2.ts';
import { gpt2 } from './gpt2.ts';
import { llama } from './llama.ts';
import { mistral } from './mistral.ts';
import type { LanguageModel } from './model.ts';
import { olmo2 } from './olmo2.ts';
import { phi3 } from './phi3.ts';
import { qwen2 } from './qwen2.ts';
import { qwen3 } from './qwen3.ts';
import { smollm3 } from './smollm3.ts';

type Page = (config: Readonly<Record<string, unknown>>, file: string) => LanguageModel;

const families: Readonly<Record<string, Page>> = {
  llama,
  mistral,
  qwen2,
  qwen3,
  gemma,
  gemma2,
  phi3,
  olmo2,
  gpt2,
  smollm3,
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
