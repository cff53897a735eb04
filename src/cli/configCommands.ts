// `selfplay config print` and `selfplay config schema`: the settings of `selfplay run` as a config file with comments,
// and as the JSON schema that editors use.
import { z } from 'zod';
import type { Given } from './check.ts';
import type { RecipeCommand } from './commands.ts';
import { PRESET_DESCRIPTION } from './presets.ts';
import type { Recipes } from './recipes.ts';
import type { Setting } from './settings.ts';

const SCHEMA_IN_PACKAGE = './node_modules/selfplay/dist/config.schema.json';

/** JSON schema (2020-12) of a config file of `selfplay run`. Nothing is required there: flags may give it. */
export function configSchema({ spinSchema, presets }: Pick<Recipes, 'spinSchema' | 'presets'>): object {
  const { properties, required: _, ...schema } = z.toJSONSchema(spinSchema, { io: 'input' });
  return {
    ...schema,
    title: 'Settings of selfplay run',
    properties: {
      $schema: { type: 'string' },
      preset: { enum: Object.keys(presets), description: PRESET_DESCRIPTION },
      ...properties,
      model_name_or_path: { type: 'string', minLength: 1, description: 'The same as model' },
    },
  };
}

/**
 * The settings of `selfplay run` as they would be used, each under its description. Settings without a value are
 * comments.
 * @throws SelfplayError (usage) if something given is wrong; nothing need be given
 */
export function printedConfig(
  run: RecipeCommand,
  given: ReadonlyMap<string, Given>,
  commandsWith: (key: string) => readonly string[],
): { text: string; json: Record<string, unknown> } {
  const stated = new Map(given);
  for (const { key, required, flag } of run.settings.values()) {
    if (required && !stated.has(key)) stated.set(key, { value: 'any', where: flag });
  }
  // Required unless there are pairs, which the schema can only say as a rule.
  if (!stated.has('data')) stated.set('data', { value: 'any', where: '--data' });
  run.prepare(stated, commandsWith);
  const json: Record<string, unknown> = {};
  const lines = [
    `# yaml-language-server: $schema=${SCHEMA_IN_PACKAGE}`,
    '# Settings of `selfplay run`. Flags win over this file. Relative paths are relative to the current directory.',
  ];
  for (const setting of run.settings.values()) {
    const value = given.get(setting.key)?.value ?? setting.default;
    if (value !== undefined) json[setting.key] = value;
    lines.push(
      '',
      `# ${commentOf(setting)}`,
      value === undefined ? `#${setting.key}:` : `${setting.key}: ${yaml(value)}`,
    );
  }
  return { text: `${lines.join('\n')}\n`, json };
}

function commentOf({ description, required, choices, forms }: Setting): string {
  const listed = [...choices, ...forms];
  if (listed.length > 0) return `${description}: ${listed.join(', ')}`;
  return required ? `${description} (required)` : description;
}

/** JSON is YAML; plain words need no quotes. */
function yaml(value: unknown): string {
  return typeof value === 'string' &&
    /^[a-z][a-z-]*$/.test(value) &&
    !/^(true|false|null|y|n|yes|no|on|off)$/.test(value)
    ? value
    : JSON.stringify(value);
}
