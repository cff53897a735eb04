/** What a program gives: settings, which are checked here, and callbacks, which may all be left out. */
import type { z } from 'zod';
import type { RecipeContext } from '../recipes/index.ts';
import { usageError } from '../util/index.ts';

/**
 * `say`: a sentence for people. `progress`: a long stage begins (the `progress` of this package draws a bar). `signal`:
 * stops the work, as Ctrl-C does on the command line. `openEngine`: opens engines in place of the usual ones.
 */
export type Options = Partial<Pick<RecipeContext, 'say' | 'progress' | 'signal' | 'openEngine'>>;

const nothing = () => undefined;

/** The options as recipes want them. */
export function contextOf(options: Options): RecipeContext {
  return { say: nothing, progress: () => ({ advance: nothing, done: nothing }), ...options };
}

/** The settings with defaults filled in. Throws a usage error with everything that is wrong. */
export function checked<Schema extends z.ZodType>(schema: Schema, settings: z.input<Schema>): z.output<Schema> {
  const result = schema.safeParse(settings);
  if (result.success) return result.data;
  const problems = result.error.issues.map(({ path, message }) => [...path.map(String), message].join(': '));
  throw usageError({ what: problems.join('\n  '), where: 'settings', fix: 'docs/settings.md has every setting' });
}
