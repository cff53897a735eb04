// argv -> exit status. Commands, flags and help are declared here; what they do is in commands.ts.
// Notable choice: recipes (and with them zod) are loaded only when a command needs them, so that `--help` is quick.
import { readFileSync } from 'node:fs';
import { Command, CommanderError, type Help, Option } from '@commander-js/extra-typings';
import { exitCode, usageError } from '../util/index.ts';
import type { Given } from './check.ts';
import type { Outcome, RecipeCommand, Words } from './commands.ts';
import { flagsOf, givenFlags, optionTerm } from './flags.ts';
import type { CliIo } from './io.ts';
import type { Recipes } from './recipes.ts';
import type { OutputOptions, Terminal } from './terminal.ts';
import { RECIPE_WORDS, RESUME_WORDS } from './words.ts';
