// The commands that work on models: what each does in words, and what it says when it is done.
import type { z } from 'zod';
import { shownPath } from '../hub/index.ts';
import type { Paint, RecipeContext, RunOutcome, ToVerify, VerifyOptions } from '../recipes/index.ts';
import { formatDuration, textTable } from '../report/index.ts';
import { checkSettings, type Given } from './check.ts';
import type { Recipes } from './recipes.ts';
import { type Setting, settingsOf } from './settings.ts';
import type { RECIPE_WORDS } from './words.ts';

/** What a command leaves: data for stdout, and sentences for after it. */
export interface Outcome {
  /** For stdout under --json; undefined where that is `text` as well. */
  readonly json: unknown;
  /** For stdout; may be empty. */
  readonly text: string;
  readonly sentences: readonly string[];
  /** Exit status; 0 when left out. */
  readonly status?: number;
}

/** A command whose settings come from flags and a config file. */
export interface RecipeCommand {
  readonly name: (typeof RECIPE_WORDS)[number]['name'];
  readonly settings: ReadonlyMap<string, Setting>;
  /**
   * Checks what was given; the work itself starts when the result is called.
   * @throws SelfplayError (usage) with every problem
   */
  readonly prepare: (
    given: ReadonlyMap<string, Given>,
    commandsWith: (key: string) => readonly string[],
  ) => (context: RecipeContext) => Promise<Outcome>;
}

/** The recipes with their schemas, ready to act. */
export function recipeCommands(recipes: Recipes): RecipeCommand[] {
  return [
    recipe('run', recipes.spinSchema, async (settings, context) =>
      runOutcome(await recipes.playSpin(settings, context), recipes),
    ),
    recipe('sft', recipes.sftSchema, async (settings, context) =>
      runOutcome(await recipes.fineTune(settings, context), recipes, settings.data),
    ),
    recipe('probe', recipes.probeSchema, async (settings, context) =>
      runOutcome(await recipes.probe(settings, context), recipes),
    ),
    recipe('dpo', recipes.dpoSchema, async (settings, context) =>
      runOutcome(await recipes.trainOnPairs(settings, context), recipes),
    ),
    recipe('generate', recipes.generateSchema, async (settings, context) => {
      const { answers, rows, file } = await recipes.generateAnswers(settings, context);
      // Without a file the answers themselves are the data on stdout, a line of JSON each.
      if (file === null) return { json: undefined, text: recipes.answerLines(answers), sentences: [] };
      return { json: { rows, file }, text: '', sentences: [`${rows} answers are in ${file}`] };
    }),
    recipe('eval', recipes.evalSchema, async (settings, context) => {
      const { row, file } = await recipes.evaluateModel(settings, context);
      return {
        json: { row, file },
        text: textTable({ rows: [row], best: null }),
        sentences: file === null ? [] : [`Figures and scores of every row are in ${file}`],
      };
    }),
  ];
}

/** `selfplay resume`: what it can change, and the work on the run in a directory. */
export function resumeCommand(recipes: Recipes) {
  const { resumeSchema: schema, resumeRun } = recipes;
  const settings = settingsOf(schema);
  return {
    settings,
    prepare(directory: string, given: ReadonlyMap<string, Given>, commandsWith: (key: string) => readonly string[]) {
      const changes = checkSettings({ command: 'resume', schema, settings, commandsWith }, given);
      return async (context: RecipeContext) => runOutcome(await resumeRun(directory, context, changes), recipes);
    },
  };
}

/** `selfplay baselines`: which ones, and the work on the run in a directory. */
export function baselinesCommand(recipes: Recipes) {
  const { addedBaselinesSchema: schema, addBaselines } = recipes;
  const settings = settingsOf(schema);
  return {
    settings,
    prepare(directory: string, given: ReadonlyMap<string, Given>, commandsWith: (key: string) => readonly string[]) {
      const { only } = checkSettings({ command: 'baselines', schema, settings, commandsWith }, given);
      return async (context: RecipeContext) => runOutcome(await addBaselines(directory, only, context), recipes);
    },
  };
}

/** `selfplay merge`: its settings besides the adapter's directory, and the work on that. */
export function mergeCommand({ mergeSchema: schema, mergeModel }: Recipes) {
  const settings = settingsOf(schema);
  return {
    settings: new Map([...settings].filter(([key]) => key !== 'model')),
    prepare(directory: string, given: ReadonlyMap<string, Given>, commandsWith: (key: string) => readonly string[]) {
      const all = new Map([...given, ['model', { value: directory, where: '<adapter>' }]]);
      const checked = checkSettings({ command: 'merge', schema, settings, commandsWith }, all);
      return async (context: RecipeContext): Promise<Outcome> => {
        const merged = await mergeModel(checked, context);
        return { json: merged, text: '', sentences: [`The merged model is in ${merged.out}`] };
      };
    },
  };
}

/** `selfplay export`: its settings besides the model, and the work on that. */
export function exportCommand({ exportSchema: schema, exportModel }: Recipes) {
  const settings = settingsOf(schema);
  return {
    settings: new Map([...settings].filter(([key]) => key !== 'model')),
    prepare(target: string, given: ReadonlyMap<string, Given>, commandsWith: (key: string) => readonly string[]) {
      const all = new Map([...given, ['model', { value: target, where: '<model>' }]]);
      const checked = checkSettings({ command: 'export', schema, settings, commandsWith }, all);
      return async (context: RecipeContext): Promise<Outcome> => {
        const exported = await exportModel(checked, context);
        const { model, out, to, size } = exported;
        const done = `${model} is in ${out} as ${checked.dtype}, ${(size / 1e6).toFixed(1)} MB.`;
        const next =
          to === 'ollama' ? [`Make it known to Ollama: ollama create NAME -f ${quoted(`${out}/Modelfile`)}`] : [];
        return { json: exported, text: '', sentences: [done, ...next] };
      };
    },
  };
}

/** `selfplay data`: its settings besides the file, and what it finds. */
export function dataCommand({ dataSchema: schema, describeData, dataText }: Recipes, paint?: Paint) {
  const settings = settingsOf(schema);
  return {
    settings: new Map([...settings].filter(([key]) => key !== 'data')),
    prepare(file: string, given: ReadonlyMap<string, Given>, commandsWith: (key: string) => readonly string[]) {
      const all = new Map([...given, ['data', { value: file, where: '<data>' }]]);
      const checked = checkSettings({ command: 'data', schema, settings, commandsWith }, all);
      return async (context: RecipeContext): Promise<Outcome> => {
        const found = await describeData(checked, context);
        return { json: found, text: dataText(found, paint), sentences: [], status: found.isRefused ? 1 : 0 };
      };
    },
  };
}

/** `selfplay verify-resume`: the settings of `selfplay run` or of `selfplay dpo`, and the proof about them. */
export function verifyCommand(
  { spinSchema, dpoSchema, verifyResume, proofText }: Recipes,
  of: ToVerify['recipe'],
  options: VerifyOptions,
): RecipeCommand {
  const prove = async (given: ToVerify, context: RecipeContext): Promise<Outcome> => {
    const proof = await verifyResume(given, options, context);
    const { directory, seconds, equal, missed } = proof;
    return {
      json: proof,
      text: proofText(proof),
      sentences: [
        ...(directory === null ? [] : [`Both games are kept in ${directory}`]),
        `It took ${formatDuration(seconds)}.`,
      ],
      status: equal && missed.length === 0 ? 0 : 1,
    };
  };
  return of === 'run'
    ? recipe(of, spinSchema, (settings, context) => prove({ recipe: of, settings }, context))
    : recipe(of, dpoSchema, (settings, context) => prove({ recipe: of, settings }, context));
}

/** `selfplay preflight`: the settings of `selfplay run`, and what speaks for and against a game with them. */
export function preflightCommand({ spinSchema, preflightGame, preflightText }: Recipes, paint?: Paint): RecipeCommand {
  return recipe('run', spinSchema, async (settings, context) => {
    const report = await preflightGame(settings, context);
    const failed = report.checks.some(({ result }) => result === 'failure');
    return { json: report, text: preflightText(report, paint), sentences: [], status: failed ? 1 : 0 };
  });
}

function recipe<Schema extends z.ZodType>(
  name: RecipeCommand['name'],
  schema: Schema,
  act: (settings: z.output<Schema>, context: RecipeContext) => Promise<Outcome>,
): RecipeCommand {
  const settings = settingsOf(schema);
  return {
    name,
    settings,
    prepare: (given, commandsWith) => {
      const checked = checkSettings({ command: name, schema, settings, commandsWith }, given);
      return (context) => act(checked, context);
    },
  };
}

/**
 * The table of a run, and what to do with the model.
 * @param data the data that a fine-tuned model should now play with, as far as known
 */
function runOutcome(outcome: RunOutcome, { probeText }: Pick<Recipes, 'probeText'>, data = ['DATA.jsonl']): Outcome {
  const { best, directory, results, seconds, waiting, probe } = outcome;
  const where = `Everything about the run is in ${directory} (${formatDuration(seconds)})`;
  if (probe) {
    const { report, config } = probe;
    const rest = report.untried.length > 0 ? [`Try the others as well: selfplay resume ${quoted(directory)}`] : [];
    const use = report.choice
      ? [`Use it, beside your other settings: selfplay run --config ${quoted(config)} --model DIR --data FILE`]
      : [];
    return { json: report, text: probeText(report), sentences: [...use, ...rest, where] };
  }
  const model = quoted(shownPath(best.model));
  const played = results.rows.some(({ iteration }) => iteration !== null);
  const next = played
    ? [
        `  selfplay generate --model ${model} --data PROMPTS.jsonl`,
        `  selfplay eval --model ${model} --data HELD_OUT.jsonl`,
      ]
    : [`  selfplay run --model ${model} --data ${data.map(quoted).join(' ')}`];
  return {
    json: outcome,
    text: results.rows.length === 0 ? '' : textTable(results),
    sentences: [
      '',
      ...(waiting
        ? [`Iteration ${waiting.iteration} waits to be trained; its pairs are in ${waiting.pairs}`]
        : [
            `Best model: ${best.label}, in ${shownPath(best.model)}${best.link === undefined ? '' : `; ${best.link} leads there`}`,
            played ? 'Use it:' : 'Play SPIN with it:',
            ...next,
          ]),
      where,
    ],
  };
}

/** A path as one word for a shell. */
function quoted(path: string): string {
  return /^[\w./:@%+=,-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
