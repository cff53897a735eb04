// `selfplay export`: a model as a file for other programs.
import { Option } from '@commander-js/extra-typings';
import type { CommandTools } from './engineCommands.ts';
import type { OutputOptions } from './terminal.ts';
import type { Words } from './words.ts';

const EXPORT_WORDS: Words = {
  name: 'export',
  summary: 'write a model as a GGUF file, for llama.cpp and what is built on it',
  description:
    'Writes a model, or the best model of a run (RUN, or RUN@2 for that of iteration 2), with tokenizer and chat template as one ' +
    'GGUF file. Blocks of q8_0 and q4_0 are those of the Python package gguf, to the byte. An adapter must be merged first.',
  usage: 'MODEL|RUN --to gguf --out FILE [options]',
  example: 'selfplay export runs/spin --to gguf --dtype q8_0 --out model.gguf',
  saves: false,
};

type Parent = Parameters<CommandTools['declare']>[0];

/** Adds `export`. */
export function addExportCommand(program: Parent, { declare, addOutput, perform }: Omit<CommandTools, 'io'>): void {
  const command = declare(program, EXPORT_WORDS)
    .addOption(new Option('--to <format>', 'what to make').choices(['gguf']).makeOptionMandatory())
    .addOption(new Option('--dtype <name>', 'of the weights: f32, f16, bf16, q8_0, q4_0').default('f16'))
    .addOption(new Option('--out <file>', 'the file to write, which must not be there yet').makeOptionMandatory());
  addOutput(command);
  command.argument('<model>', 'a model, RUN or RUN@ITERATION').action((model) =>
    perform(EXPORT_WORDS, command.opts() as OutputOptions, async () => async (context) => {
      const { exportModel } = await import('../recipes/index.ts');
      const { to, dtype, out } = command.opts();
      const exported = await exportModel({ model, to, dtype, out }, context);
      const sentence = `${exported.model} is in ${out} as ${dtype}, ${(exported.size / 1e6).toFixed(1)} MB.`;
      return { json: exported, text: '', sentences: [sentence] };
    }),
  );
}
