// Values from flags and a config file -> settings that a recipe can rely on. Everything wrong is found before anything
// is said, and said in one error: one line per problem, each with its place (file:line:key, or the flag).
import type { z } from 'zod';
import { type SelfplayError, usageError } from '../util/index.ts';
import { closest } from './closest.ts';
import type { Setting } from './settings.ts';

/** A value that somebody gave, and where. */
export interface Given {
  readonly value: unknown;
  readonly where: string;
}

interface Problem {
  readonly where: string;
  readonly what: string;
  readonly fix?: string | undefined;
}

/** What is known of the command whose settings are checked. */
export interface Checked<Schema extends z.ZodType> {
  /** `run`; names the help to read. */
  readonly command: string;
  readonly schema: Schema;
  readonly settings: ReadonlyMap<string, Setting>;
  /** For a key that this command lacks: the commands that have it. */
  readonly commandsWith: (key: string) => readonly string[];
}

/**
 * The settings with defaults filled in.
 * @throws SelfplayError (usage) with every problem: unknown keys, missing settings, wrong types and values
 */
export function checkSettings<Schema extends z.ZodType>(
  checked: Checked<Schema>,
  given: ReadonlyMap<string, Given>,
): z.output<Schema> {
  const known = [...given].filter(([key]) => checked.settings.has(key));
  // `true` of a config file is a word where a setting has other words beside it.
  const valueFor = (key: string, value: unknown) =>
    typeof value === 'boolean' && checked.settings.get(key)!.choices.includes(String(value)) ? String(value) : value;
  const result = checked.schema.safeParse(
    Object.fromEntries(known.map(([key, { value }]) => [key, valueFor(key, value)])),
  );
  const problems = new Map<string, Problem>();
  for (const [key, { where }] of given) {
    if (!checked.settings.has(key)) problems.set(key, unknownKey(key, where, checked));
  }
  for (const { path, message, code } of result.error?.issues ?? []) {
    const key = String(path[0]);
    if (!problems.has(key)) problems.set(key, wrongValue(checked.settings.get(key)!, given.get(key), code, message));
  }
  if (result.success && problems.size === 0) return result.data;
  throw together([...problems.values()], checked.command);
}

function unknownKey<S extends z.ZodType>(key: string, where: string, checked: Checked<S>): Problem {
  const elsewhere = checked.commandsWith(key);
  if (elsewhere.length > 0) {
    const names = elsewhere.map((name) => `\`selfplay ${name}\``).join(' and ');
    return { where, what: `${key} is no setting of \`selfplay ${checked.command}\``, fix: `it belongs to ${names}` };
  }
  const meant = closest(key, checked.settings.keys());
  return { where, what: `unknown key ${key}`, fix: meant === undefined ? undefined : `did you mean ${meant}?` };
}

function wrongValue(setting: Setting, given: Given | undefined, code: string, message: string): Problem {
  const { key, flag, description, allowed } = setting;
  // A rule of the schema's own between settings carries its own sentence.
  if (code === 'custom') return { where: given?.where ?? flag, what: message };
  if (given === undefined) {
    return { where: flag, what: `${key} is missing`, fix: `add ${flag}: ${description}` };
  }
  return { where: given.where, what: `${key} must be ${allowed}, got ${shown(given.value)}` };
}

/** The value as the user wrote it, shortened. */
function shown(value: unknown): string {
  if (typeof value === 'number' || value === undefined) return String(value);
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function together(problems: readonly Problem[], command: string): SelfplayError {
  const help = `\`selfplay ${command} --help\` explains every setting`;
  const [only] = problems;
  if (problems.length === 1) {
    const { where, what, fix = help } = only!;
    return usageError({ what, where, fix });
  }
  const lines = problems.map(({ where, what, fix }) => `  ${where}: ${what}${fix === undefined ? '' : ` (${fix})`}`);
  return usageError({ what: `${problems.length} settings need correction\n${lines.join('\n')}`, fix: help });
}
