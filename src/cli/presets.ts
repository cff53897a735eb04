// `--preset NAME`, or `preset: NAME` in a config file of `selfplay run`: a table of settings below the user's own.
import { usageError } from '../util/index.ts';
import type { Given } from './check.ts';
import type { Recipes } from './recipes.ts';

/** The key in a config file; a setting that decides others, and none that a run is left with. */
export const PRESET = 'preset';
export const PRESET_DESCRIPTION = 'Table of settings that apply where nothing else is given';

/**
 * What was given, and below it the settings of the preset that is named among it.
 * @throws SelfplayError (usage) for a preset that is none
 */
export function withPreset(
  given: ReadonlyMap<string, Given>,
  { presets, presetBelow }: Pick<Recipes, 'presets' | 'presetBelow'>,
): Map<string, Given> {
  const own = new Map(given);
  const named = own.get(PRESET);
  if (named === undefined) return own;
  own.delete(PRESET);
  const name = Object.keys(presets).find((one) => one === named.value) as keyof typeof presets | undefined;
  if (name === undefined) {
    const names = Object.keys(presets).join(', ');
    throw usageError({
      what: `preset must be one of ${names}, got ${JSON.stringify(named.value)}`,
      where: named.where,
      fix: '`selfplay config print --preset NAME` shows what is in one',
    });
  }
  const below = presetBelow(name, own).map(([key, value]): [string, Given] => [
    key,
    { value, where: `preset ${name}` },
  ]);
  return new Map([...below, ...own]);
}
