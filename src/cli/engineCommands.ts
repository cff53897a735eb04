// `selfplay engine …`: which engines there are, installing torch, and naming one that is there.
// Notable choice: the engines are loaded only when a command acts, so that `--help` is quick.
import { resolve } from 'node:path';
import { Argument, type Command } from '@commander-js/extra-typings';
import { describeError } from '../util/index.ts';
import type { Outcome } from './commands.ts';
import type { CliIo } from './io.ts';
import type { Work } from './perform.ts';
import type { OutputOptions, Terminal } from './terminal.ts';
import type { Words } from './words.ts';

const INSTALL_WORDS: Words = {
  name: 'install',
  summary: 'fetch an engine: torch, for bf16 and GPUs',
  description:
    'Fetches the few files of torch that selfplay computes with from the Python package index (PIP_INDEX_URL, or PyPI) ' +
    'into the cache folder; Python is not needed. Size and licences are said first. Interrupted, it goes on when ' +
    'called again. GPUs by NVIDIA need the CUDA build of a Python environment: `selfplay engine use DIR`.',
  usage: 'torch [options]',
  example: 'selfplay engine install torch',
  saves: false,
};
const USE_WORDS: Words = {
  name: 'use',
  summary: 'compute with a torch that is there already',
  description:
    'From now on computes with the torch in a folder: a virtual environment, its site-packages, a torch package or a ' +
    'folder that holds the library. `auto` forgets the choice. The variable SELFPLAY_TORCH, if set, comes first.',
  usage: 'DIR|auto [options]',
  example: 'selfplay engine use ~/.venvs/torch',
  saves: false,
};
const LIST_WORDS: Words = {
  name: 'list',
  summary: 'the engines that are there, best first',
  description: 'Shows the engines that are there, and where torch was found. `selfplay doctor` measures them.',
  usage: '[options]',
  example: 'selfplay engine list',
  saves: false,
};

/** What program.ts declares every command with. */
export interface CommandTools {
  readonly io: CliIo;
  readonly declare: (parent: Command, words: Words) => Command;
  readonly addOutput: (command: Command) => void;
  readonly perform: (
    words: Words,
    output: OutputOptions,
    prepare: (terminal: Terminal) => Promise<Work>,
  ) => Promise<void>;
}

const engines = () => import('../engine/index.ts');

/** Adds `engine` with its commands. */
export function addEngineCommands(program: Command, { io, declare, addOutput, perform }: CommandTools): void {
  const engine = program
    .command('engine')
    .description('the engines that compute: list them, install torch, use a torch that is there')
    .helpCommand(false);

  const install = declare(engine, INSTALL_WORDS);
  addOutput(install);
  install.addArgument(new Argument('<engine>', 'what to install').choices(['torch'])).action(() =>
    perform(INSTALL_WORDS, install.opts(), async () => async ({ say, progress, signal }) => {
      const { installTorch, TORCH_VERSION } = await engines();
      const { directory, fetched } = await installTorch({ env: io.env, say, progress, signal });
      const done = fetched ? 'is installed' : 'was installed already';
      return {
        json: { directory, version: TORCH_VERSION, fetched },
        text: '',
        sentences: [`torch ${TORCH_VERSION} ${done}, in ${directory}. \`selfplay doctor\` measures it.`],
      };
    }),
  );

  const use = declare(engine, USE_WORDS);
  addOutput(use);
  use
    .argument('<dir>', 'folder, or auto')
    .action((folder) => perform(USE_WORDS, use.opts(), async () => async () => useTorch(folder, io)));

  const list = declare(engine, LIST_WORDS);
  addOutput(list);
  list.action(() => perform(LIST_WORDS, list.opts(), async () => async () => listEngines(io)));
}

async function useTorch(folder: string, { env, directory }: CliIo): Promise<Outcome> {
  const { chooseTorch } = await engines();
  const found = await chooseTorch(folder === 'auto' ? undefined : resolve(directory, folder), env);
  const over = env['SELFPLAY_TORCH'] ? ['SELFPLAY_TORCH is set, and comes first.'] : [];
  if (found === undefined) return { json: null, text: '', sentences: ['The choice is forgotten.', ...over] };
  const { version, cuda } = found;
  const sentence = `torch ${version}${cuda ? ' with CUDA' : ''} in ${found.directory} is used from now on.`;
  return { json: found, text: '', sentences: [sentence, ...over] };
}

async function listEngines({ env }: CliIo): Promise<Outcome> {
  const { installSize, torchPlaces, TORCH_VERSION } = await engines();
  const places = await torchPlaces(env);
  const lines = places.map(({ source, folder, library, problem }) => {
    if (!library) return `torch  not usable (${source}): ${describeError(problem)}`;
    return `torch  ${library.version}${library.cuda ? ' with CUDA' : ''} (${source}), ${library.directory || folder}`;
  });
  const size = installSize();
  const offer = size
    ? `torch ${TORCH_VERSION} can be installed, ${Math.ceil(size.packed / 1e6)} MB to fetch: \`selfplay engine install torch\``
    : 'There is no torch to install for this system.';
  return {
    json: {
      onnx: true,
      torch: places.map(({ source, folder, library, problem }) => ({
        source,
        folder,
        library: library ?? null,
        problem: problem === undefined ? null : describeError(problem),
      })),
    },
    text: [...lines, 'onnx   in fp32 on CPUs, always there'].join('\n'),
    sentences: places.some(({ source, library }) => library && source === 'installed') ? [] : [offer],
  };
}
