/** The recipes, each read from top to bottom: spin, sft, generate, evaluate. */
export { Interrupted, type RecipeContext } from './context.ts';
export {
  type EvalSettings,
  evalSchema,
  type GenerateSettings,
  generateSchema,
  type SftInput,
  type SftSettings,
  type SpinInput,
  type SpinSettings,
  sftSchema,
  spinSchema,
} from './settings.ts';
