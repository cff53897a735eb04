/**
 * What settings name, brought here: models and data of the Hugging Face Hub become files of its cache. A run records these,
 * and with them the commits that they are of, so that a resume uses the same ones and asks nobody.
 */
import { localData, localModel } from '../../hub/index.ts';
import { exists, usageError } from '../../util/index.ts';
import type { RecipeContext } from './context.ts';

/** Settings that name models and files of rows. */
export interface Inputs {
  readonly model?: string | undefined;
  readonly data?: readonly string[] | undefined;
  readonly eval_data?: readonly string[] | undefined;
  readonly pairs?: readonly string[] | undefined;
  readonly replay_pairs?: readonly string[] | undefined;
  readonly contamination?: readonly string[] | undefined;
}
/** Settings that are lists of files; of the first ones each list counts as one file. */
const ROWS = ['data', 'eval_data', 'pairs', 'replay_pairs', 'contamination'] as const;

/** By setting what came from the Hub: org/name@COMMIT, of data with :config:split. */
export type Sources = Readonly<Record<string, string | readonly string[]>>;

/**
 * The settings with paths in place of names of the Hub; what is here already stays as it is written.
 * @throws usage error for what is neither here nor there
 */
export async function localInputs<S extends Inputs>(
  settings: S,
  context: RecipeContext,
): Promise<{ settings: S; sources: Sources }> {
  const { say, progress, signal } = context;
  const options = { say, progress, signal };
  const sources: Record<string, string | readonly string[]> = {};
  const model = settings.model === undefined ? undefined : await localModel(settings.model, options);
  if (model?.source != null) sources['model'] = model.source;
  const lists: { [Key in (typeof ROWS)[number]]?: readonly string[] } = {};
  for (const key of ROWS) {
    const given = settings[key];
    if (given === undefined) continue;
    const found: string[] = [];
    const names: string[] = [];
    for (const one of given) {
      const { files, source } = await localData(one, options);
      if (source !== null) names.push(source);
      if (key === 'replay_pairs' && files.length > 1) {
        throw usageError({
          what: `${one} has its pairs in ${files.length} files, and replay_pairs takes one for each iteration`,
          fix: 'join them into one file',
        });
      }
      found.push(...files);
    }
    lists[key] = found;
    if (names.length > 0) sources[key] = names;
  }
  return { settings: { ...settings, ...lists, ...(model && { model: model.directory }) }, sources };
}

/** Brings back what was taken out of the cache since a run began, by its commits. */
export async function bringBack(settings: Inputs, sources: Sources, context: RecipeContext): Promise<void> {
  const { say, progress, signal } = context;
  for (const [key, names] of Object.entries(sources)) {
    const files = [settings[key as keyof Inputs] ?? []].flat();
    if ((await Promise.all(files.map(exists))).every((isThere) => isThere)) continue;
    for (const name of [names].flat()) {
      await (key === 'model' ? localModel : localData)(name, { say, progress, signal });
    }
  }
}
