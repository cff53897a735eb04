/** `selfplay merge`: a whole model from an adapter and its base. */
import {
  lineageOf,
  lineageSentence,
  MERGE_TOLERANCE,
  type MergeFigures,
  mergeAdapter,
} from '../../checkpoint/index.ts';
import { openEngine } from '../../engine/index.ts';
import { exists, linkedDirectory, usageError } from '../../util/index.ts';
import type { RecipeContext } from '../run/context.ts';
import { engineSentence, frozen, withEngine } from '../run/engines.ts';
import { localInputs } from '../run/inputs.ts';
import type { MergeSettings } from '../settings/settings.ts';

export interface MergeOutcome extends MergeFigures {
  readonly out: string;
}

/** Merges in f32. Throws a failure when the merged model does not compute what the adapter does; then nothing is left. */
export async function mergeModel(
  { model: given, out, ...machine }: MergeSettings,
  context: RecipeContext,
): Promise<MergeOutcome> {
  if (await exists(out)) {
    throw usageError({
      what: 'there is something in the place of the merged model',
      where: out,
      fix: 'give another --out',
    });
  }
  const { settings } = await localInputs({ model: given }, context);
  const model = await linkedDirectory(settings.model);
  const request = { ...machine, dtype: 'f32', threads: machine.threads, deterministic: false } as const;
  return withEngine(context.openEngine ?? openEngine, request, async (opened) => {
    context.say(engineSentence(frozen(opened)));
    const figures = await mergeAdapter(opened.engine, model, out);
    context.say(`Lineage: ${lineageSentence(await lineageOf(model))}`);
    context.say(mergedSentence(figures));
    return { ...figures, out };
  });
}

/** How well the merged model computes what base and adapter do. */
export function mergedSentence({ difference, largest, positions, layers }: MergeFigures): string {
  return (
    `Merged ${layers} layers. At ${positions} positions no logit differs by more than ${difference.toPrecision(2)} from base ` +
    `and adapter; ${(MERGE_TOLERANCE * largest).toPrecision(2)} is allowed.`
  );
}
