/** The commands that need no hand on them, as functions: settings in, what they found out. */
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type DataInput,
  type DataReport,
  type Diagnosis,
  type DpoInput,
  dataSchema,
  describeData,
  diagnose,
  dpoSchema,
  type EvalInput,
  type ExportInput,
  type ExportOutcome,
  evalSchema,
  evaluateModel,
  exportSchema,
  exportModel as exportTo,
  type GenerateInput,
  generateAnswers,
  generateSchema,
  type MergeInput,
  type MergeOutcome,
  mergeModel,
  mergeSchema,
  type PreflightReport,
  preflightGame,
  type ResumeProof,
  type SpinInput,
  spinSchema,
  type ToVerify,
  verifyResume as verify,
} from '../recipes/index.ts';
import { checked, contextOf, type Options } from './options.ts';

/** Answers of a model to the prompts of a file, as `selfplay generate`. Only with `out` they are written to a file. */
export async function generate(
  settings: GenerateInput,
  options: Options = {},
): Promise<Awaited<ReturnType<typeof generateAnswers>>> {
  return generateAnswers(checked(generateSchema, settings), contextOf(options));
}

/** Held-out figures of a model, as `selfplay eval`. */
export async function evaluate(
  settings: EvalInput,
  options: Options = {},
): Promise<Awaited<ReturnType<typeof evaluateModel>>> {
  return evaluateModel(checked(evalSchema, settings), contextOf(options));
}

/** A whole model from an adapter and its base, as `selfplay merge`. Throws where their logits differ; nothing is left then. */
export async function merge(settings: MergeInput, options: Options = {}): Promise<MergeOutcome> {
  return mergeModel(checked(mergeSchema, settings), contextOf(options));
}

/** A model for other programs, as `selfplay export`. Throws where it cannot be written so; nothing is left then. */
export async function exportModel(settings: ExportInput, options: Options = {}): Promise<ExportOutcome> {
  return exportTo(checked(exportSchema, settings), contextOf(options));
}

/** What files of rows are taken for, as `selfplay data`. */
export async function inspectData(settings: DataInput, options: Options = {}): Promise<DataReport> {
  return describeData(checked(dataSchema, settings), contextOf(options));
}

/** What can be known of a game before it takes time, as `selfplay preflight`. Checks that fail are in the report. */
export async function preflight(settings: SpinInput, options: Options = {}): Promise<PreflightReport> {
  return preflightGame(checked(spinSchema, settings), contextOf(options));
}

/** What is proven: settings of a game, or with `recipe: 'dpo'` of a training on labelled pairs. */
export type ToProve = (SpinInput & { readonly recipe?: 'run' }) | (DpoInput & { readonly recipe: 'dpo' });

/**
 * Proves that a small game with these settings survives being killed, as `selfplay verify-resume`.
 * @param keep keep both games also when they are equal
 */
export async function verifyResume(
  given: ToProve,
  { keep = false, ...options }: Options & { readonly keep?: boolean } = {},
): Promise<ResumeProof> {
  // What it kills are processes of the command line.
  const main = fileURLToPath(new URL(`../cli/main${extname(import.meta.url)}`, import.meta.url));
  const command = [process.execPath, ...process.execArgv, main] as const;
  return verify(checkedFor(given), { command, keep }, contextOf(options));
}

function checkedFor(given: ToProve): ToVerify {
  if (given.recipe === 'dpo') {
    const { recipe, ...settings } = given;
    return { recipe, settings: checked(dpoSchema, settings) };
  }
  const { recipe = 'run', ...settings } = given;
  return { recipe, settings: checked(spinSchema, settings) };
}

/** What this machine has, and how fast it computes, as `selfplay doctor`. @param directory where runs would be written */
export function doctor(directory = '.'): Promise<Diagnosis> {
  return diagnose(directory, process.env);
}
