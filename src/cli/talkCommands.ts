// `selfplay chat` and `selfplay play`: commands that a person talks with, of a directory and with settings besides.
import type { Command } from '@commander-js/extra-typings';
import type { z } from 'zod';
import type { RecipeContext } from '../recipes/index.ts';
import { chatWith } from './chat.ts';
import { checkSettings } from './check.ts';
import type { Outcome } from './commands.ts';
import type { CommandTools } from './engineCommands.ts';
import { flagsOf, givenFlags } from './flags.ts';
import type { Stage } from './perform.ts';
import { playRun } from './play.ts';
import type { Recipes } from './recipes.ts';
import { settingsOf } from './settings.ts';
import { CHAT_WORDS, PLAY_WORDS, type Words } from './words.ts';

interface TalkTools extends CommandTools {
  /** Undefined where no recipe can be called. */
  readonly recipes: Recipes | undefined;
  readonly commandsWith: (key: string) => readonly string[];
}

interface Talker<Schema extends z.ZodType> {
  readonly words: Words;
  /** The setting that the directory is, and what it is called in the help. */
  readonly key: string;
  readonly argument: string;
  readonly about: string;
  readonly schemaOf: (recipes: Recipes) => Schema;
  readonly act: (settings: z.output<Schema>, stage: Stage, context: RecipeContext) => Promise<Outcome>;
}

/** Adds `chat` and `play`. */
export function addTalkCommands(program: Command, tools: TalkTools): void {
  add<Recipes['talkSchema']>(program, tools, {
    words: CHAT_WORDS,
    key: 'model',
    argument: 'model|run',
    about: 'directory of a model or of a run, a GGUF file, or org/name of the Hub',
    schemaOf: ({ talkSchema }) => talkSchema,
    act: chatWith,
  });
  add<Recipes['playSchema']>(program, tools, {
    words: PLAY_WORDS,
    key: 'run',
    argument: 'run',
    about: 'directory of a run of `selfplay run`',
    schemaOf: ({ playSchema }) => playSchema,
    act: playRun,
  });
}

function add<Schema extends z.ZodType>(program: Command, tools: TalkTools, talker: Talker<Schema>): void {
  const { io, declare, addOutput, perform, recipes, commandsWith } = tools;
  const { words, key, argument, about, schemaOf, act } = talker;
  const command = declare(program, words);
  if (recipes) {
    const settings = new Map([...settingsOf(schemaOf(recipes))].filter(([name]) => name !== key));
    for (const flag of flagsOf(words.name, settings)) command.addOption(flag);
  }
  addOutput(command);
  command.argument(`<${argument}>`, about).action((directory) => {
    const options: Record<string, unknown> = command.opts();
    return perform(words, options, async (terminal) => {
      const schema = schemaOf(recipes!);
      const settings = settingsOf(schema);
      const given = new Map([...givenFlags(settings, options), [key, { value: directory, where: `<${argument}>` }]]);
      const checked = checkSettings({ command: words.name, schema, settings, commandsWith }, given);
      return (context) => act(checked, { io, terminal, output: options, recipes: recipes! }, context);
    });
  });
}
