// Whether a model can be played, in a sentence: config, weights, tokenizer and chat template are looked at, nothing is computed.
import { baseDirectory, companionDirectory, openWholeModel } from '../checkpoint/index.ts';
import { loadTokenizer } from '../tokens/index.ts';
import { parameterCount } from '../training/index.ts';
import { describeError, isStopped, SelfplayError } from '../util/index.ts';
import type { RecipeContext } from './run/context.ts';
import { localInputs } from './run/inputs.ts';

export interface Playable {
  /** As it was named. */
  readonly model: string;
  readonly playable: boolean;
  /** One sentence, with the reason where it cannot be played. */
  readonly sentence: string;
}

/**
 * @param given directory of a model or an adapter, a GGUF file, or a name of the Hub: then it is fetched
 * @throws only when it was stopped
 */
export async function playable(given: string, context: RecipeContext): Promise<Playable> {
  try {
    const { model: dir } = (await localInputs({ model: given }, context)).settings;
    const base = await baseDirectory(dir);
    const { model } = await openWholeModel(base);
    await loadTokenizer(await companionDirectory(dir));
    const millions = (parameterCount(model) / 1e6).toPrecision(3);
    const what = `${model.modelType}, ${millions} million parameters, texts of up to ${model.contextLength} tokens`;
    return { model: given, playable: true, sentence: `This model can be played: ${what}.` };
  } catch (error) {
    if (isStopped(error)) throw error;
    return { model: given, playable: false, sentence: `This model cannot be played: ${reasonOf(error)}.` };
  }
}

/** What is wrong and where, on one line. */
function reasonOf(error: unknown): string {
  if (!(error instanceof SelfplayError)) return describeError(error).replaceAll(/\s*\n\s*/g, ' ');
  const what = error.what.replaceAll(/:\n\s+/g, ': ').replaceAll(/\n\s+/g, '; ');
  return error.where === undefined || what.includes(error.where) ? what : `${what} (${error.where})`;
}
