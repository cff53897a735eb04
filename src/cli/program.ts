// argv -> exit status. Commands, flags and help are declared here; what they do is in the files beside.
// Notable choice: recipes (and with them zod) are loaded only when a command is named, so that `--help` is quick.
import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from '@commander-js/extra-typings';
import { usageError } from '../util/index.ts';
import type { Given } from './check.ts';
import {
  baselinesCommand,
  dataCommand,
  exportCommand,
  mergeCommand,
  preflightCommand,
  type RecipeCommand,
  recipeCommands,
  resumeCommand,
  verifyCommand,
} from './commands.ts';
import { configSchema, printedConfig } from './configCommands.ts';
import { defaultConfig, readConfig } from './configFile.ts';
import { addEngineCommands } from './engineCommands.ts';
import { flagsOf, givenFlags, optionTerm } from './flags.ts';
import type { CliIo } from './io.ts';
import { performWork, type Work } from './perform.ts';
import { PRESET, PRESET_DESCRIPTION, withPreset } from './presets.ts';
import type { Recipes } from './recipes.ts';
import { addTalkCommands } from './talkCommands.ts';
import { type OutputOptions, paintFor, type Terminal } from './terminal.ts';
import {
  BASELINES_WORDS,
  COMPARE_WORDS,
  CONFIG_WORDS,
  DATA_WORDS,
  DOCTOR_WORDS,
  EXPORT_WORDS,
  MERGE_WORDS,
  PREFLIGHT_WORDS,
  RECIPE_WORDS,
  RESUME_WORDS,
  VERIFY_WORDS,
  type Words,
} from './words.ts';

interface Package {
  readonly version: string;
}

/** The same from src/cli and from dist/cli. */
const PACKAGE = new URL('../../package.json', import.meta.url);
const OUTPUT = 'Output:';
const GIVE = 'What to give:';

/**
 * Runs the command line.
 * @param argv arguments without node and script
 * @param load the recipes
 * @returns exit status: 0, 1 failure, 2 usage or config, 130 and 143 for signals
 */
export async function runCli(
  argv: readonly string[],
  io: CliIo,
  load: () => Promise<Recipes> = () => import('../recipes/index.ts'),
): Promise<number> {
  let status = 0;
  const program = new Command('selfplay')
    .description(
      'Self-play fine-tuning (SPIN) of language models on an ordinary machine: a model that was fine-tuned on ' +
        'human answers learns to tell them from its own.',
    )
    .version((JSON.parse(readFileSync(PACKAGE, 'utf8')) as Package).version, '--version', 'show the version')
    .helpOption('-h, --help', 'show this text')
    .addHelpText(
      'after',
      '\n`selfplay COMMAND --help` explains a command. Start with:\n  selfplay doctor\n  selfplay run --help',
    )
    .showHelpAfterError('`selfplay --help` and `selfplay COMMAND --help` say what there is')
    .exitOverride()
    .configureHelp({
      optionTerm,
      subcommandTerm: (command) =>
        [command.name(), ...command.registeredArguments.map((a) => `<${a.name()}>`)].join(' '),
    })
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      getOutHelpWidth: () => widthOf(io.stdout),
      getErrHelpWidth: () => widthOf(io.stderr),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
  const recipes = argv[0] === undefined || argv[0].startsWith('-') ? undefined : await load();
  const commands = recipes === undefined ? [] : recipeCommands(recipes);
  // What probe has from run is run's.
  const commandsWith = (key: string) => {
    const names = commands.filter(({ settings }) => settings.has(key)).map(({ name }) => name);
    return names.includes('run') ? names.filter((name) => name !== 'probe') : names;
  };

  const perform = async (words: Words, output: OutputOptions, prepare: (terminal: Terminal) => Promise<Work>) => {
    status = await performWork({ io, words, output }, prepare);
  };

  for (const words of RECIPE_WORDS) {
    const command = declare(program, words);
    const recipe = commands.find(({ name }) => name === words.name);
    if (recipe === undefined) continue;
    addSettings(command, recipe, recipes!);
    addOutput(command);
    command.action(() => {
      const options: Record<string, unknown> = command.opts();
      return perform(words, options, async (terminal) =>
        recipe.prepare(await givenBy(recipe, options, io, terminal, recipes!), commandsWith),
      );
    });
  }

  for (const [words, argument, about, commandOf] of [
    [RESUME_WORDS, '<run>', 'directory of the run', resumeCommand],
    [BASELINES_WORDS, '<run>', 'directory of a run of `selfplay run`', baselinesCommand],
    [MERGE_WORDS, '<adapter>', 'directory of the adapter', mergeCommand],
    [EXPORT_WORDS, '<model>', 'a model, RUN or RUN@ITERATION', exportCommand],
    [
      DATA_WORDS,
      '<data>',
      'file of rows, or org/name:config:split',
      (from: Recipes) => dataCommand(from, paintFor(io)),
    ],
  ] as const) {
    const command = declare(program, words);
    const work = recipes === undefined ? undefined : commandOf(recipes);
    for (const flag of work === undefined ? [] : flagsOf(words.name, work.settings)) command.addOption(flag);
    addOutput(command);
    command.argument(argument, about).action((directory) => {
      const options: Record<string, unknown> = command.opts();
      return perform(words, options, async () =>
        work!.prepare(directory, givenFlags(work!.settings, options), commandsWith),
      );
    });
  }

  const run = commands.find(({ name }) => name === 'run');
  const verify = declare(program, VERIFY_WORDS);
  if (run !== undefined) {
    addSettings(verify, run, recipes!);
    const about = 'the command whose settings these are (run, dpo; default: run)';
    verify.addOption(new Option('--recipe <choice>', about).helpGroup(GIVE));
    verify.addOption(new Option('--keep', 'keep both games also when they are equal').helpGroup(OUTPUT));
    addOutput(verify);
    verify.action(() => {
      const options: Record<string, unknown> = verify.opts();
      return perform(VERIFY_WORDS, options, async (terminal) => {
        const proving = { command: io.command, keep: options['keep'] === true };
        const { recipe: of = 'run' } = options;
        if (of !== 'run' && of !== 'dpo') {
          throw usageError({
            what: `recipe must be run or dpo, got ${of}`,
            where: '--recipe',
            fix: 'name one of them',
          });
        }
        const recipe = verifyCommand(recipes!, of, proving);
        // All flags of run are declared here: those that the recipe lacks are to be refused, not passed over.
        const declared = { ...recipe, settings: run.settings };
        return recipe.prepare(await givenBy(declared, options, io, terminal, recipes!), commandsWith);
      });
    });
  }

  const preflight = declare(program, PREFLIGHT_WORDS);
  if (run !== undefined) {
    addSettings(preflight, run, recipes!);
    addOutput(preflight);
    preflight.action(() => {
      const options: Record<string, unknown> = preflight.opts();
      return perform(PREFLIGHT_WORDS, options, async (terminal) =>
        preflightCommand(recipes!, paintFor(io)).prepare(
          await givenBy(run, options, io, terminal, recipes!),
          commandsWith,
        ),
      );
    });
  }

  const compare = declare(program, COMPARE_WORDS);
  addOutput(compare);
  compare.argument('<run>', 'directory of a run, A').argument('<other>', 'directory of the other run, B');
  compare.action(() =>
    perform(COMPARE_WORDS, compare.opts(), async () => async () => {
      const [a, b] = compare.args as [string, string];
      const found = await recipes!.compareRuns(a, b);
      return { json: found, text: recipes!.comparisonText(found), sentences: [] };
    }),
  );

  const doctor = declare(program, DOCTOR_WORDS);
  doctor.addOption(
    new Option(
      '--model <model>',
      'say of this model (directory, GGUF file or name of the Hub) whether it can be played, and why not',
    ).helpGroup(GIVE),
  );
  addOutput(doctor);
  doctor.action(() => {
    const options: Record<string, unknown> = doctor.opts();
    return perform(DOCTOR_WORDS, options, async () => async (context) => {
      const model = options['model'] as string | undefined;
      const found = await recipes!.diagnose(io.directory, io.env, model === undefined ? undefined : { model, context });
      const text = recipes!.diagnosisText(found);
      const isWell = found.problem === null && found.model?.playable !== false;
      return { json: found, text, sentences: [], status: isWell ? 0 : 1 };
    });
  });

  addTalkCommands(program, { io, declare, addOutput, perform, recipes, commandsWith });
  addEngineCommands(program, { io, declare, addOutput, perform });

  const config = program
    .command('config')
    .description('show the settings of `selfplay run`, for a config file')
    .helpCommand(false);
  const print = declare(config, CONFIG_WORDS);
  if (run !== undefined) {
    addSettings(print, run, recipes!);
    addOutput(print);
    print.action(() => {
      const options: Record<string, unknown> = print.opts();
      return perform(CONFIG_WORDS, options, async (terminal) => {
        const printed = printedConfig(run, await givenBy(run, options, io, terminal, recipes!), commandsWith);
        return async () => ({ ...printed, sentences: [] });
      });
    });
  }
  config
    .command('schema')
    .description('the JSON schema of a config file, for editors')
    .action(() => {
      io.stdout.write(`${JSON.stringify(configSchema(recipes!), null, 2)}\n`);
    });

  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version come as errors with status 0; everything else is wrong usage.
    return error.exitCode === 0 ? 0 : 2;
  }
  return status;
}

/** Adds a command with its help. */
function declare(parent: Command, { name, summary, description, usage, example }: Words): Command {
  return parent
    .command(name)
    .summary(summary)
    .description(description)
    .usage(usage)
    .addHelpText('after', `\nExample:\n  ${example}`);
}

/** A game and what looks into one: there is a config file of its own, and there are presets. */
const concernsGame = ({ name }: RecipeCommand) => name === 'run' || name === 'probe';

function addSettings(command: Command, recipe: RecipeCommand, { presets }: Recipes): void {
  for (const flag of flagsOf(recipe.name, recipe.settings)) command.addOption(flag);
  const usual = concernsGame(recipe) ? ' (default: selfplay.config.yaml or .json here, if there is one)' : '';
  const description = `YAML or JSON with settings under their names, learning_rate: 1e-6; flags win${usual}`;
  command.addOption(new Option('--config <file>', description).helpGroup(GIVE));
  if (!concernsGame(recipe)) return;
  const named = `${PRESET_DESCRIPTION} (${Object.keys(presets).join(', ')})`;
  command.addOption(new Option(`--${PRESET} <choice>`, named).helpGroup(GIVE));
}

function addOutput(command: Command): void {
  command.addOption(new Option('--json', 'print the outcome as JSON, and nothing else on stdout').helpGroup(OUTPUT));
  command.addOption(new Option('--quiet', 'no progress and no sentences').helpGroup(OUTPUT).conflicts('verbose'));
  command.addOption(new Option('--verbose', 'every event as a line of JSON, and stacks of errors').helpGroup(OUTPUT));
  command.addHelpOption(new Option('-h, --help', 'show this text').helpGroup(OUTPUT));
}

/** Settings from flags; below them from the config file; below that, for a game, from the preset that either names. */
async function givenBy(
  recipe: RecipeCommand,
  options: Readonly<Record<string, unknown>>,
  io: CliIo,
  terminal: Terminal,
  recipes: Recipes,
): Promise<Map<string, Given>> {
  const flags = givenFlags(recipe.settings, options);
  const preset = options[PRESET];
  if (preset !== undefined) flags.set(PRESET, { value: preset, where: `--${PRESET}` });
  const named = options['config'] as string | undefined;
  const file = named ?? (concernsGame(recipe) ? defaultConfig(io.directory) : undefined);
  if (named === undefined && file !== undefined) {
    terminal.say(`Settings come from ${file}, where flags do not say otherwise.`);
  }
  const given = new Map([...(file === undefined ? [] : await readConfig(file, io.directory)), ...flags]);
  return concernsGame(recipe) ? withPreset(given, recipes) : given;
}

function widthOf({ isTTY, columns }: { isTTY?: boolean; columns?: number }): number {
  return isTTY === true ? Math.min(columns ?? 80, 110) : 100;
}
