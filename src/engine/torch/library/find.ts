// Which torch is used: the one that SELFPLAY_TORCH names, the one that was chosen, the one that was installed, the one of the
// active environment, in this order. What the user named is never passed over in silence.
import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import {
  cacheFolder,
  type Env,
  readManifest,
  type SelfplayError,
  saveError,
  usageError,
  writeFileAtomic,
} from '../../../util/index.ts';
import { type Inspected, inspectTorch, NEEDED } from './inspect.ts';
import { installFolder, platformOf } from './locations.ts';
import { TORCH_VERSION } from './pins.ts';

/** SELFPLAY_TORCH: the variable; chosen: by `selfplay engine use`; installed: by us; environment: active venv or conda. */
export type TorchSource = 'SELFPLAY_TORCH' | 'chosen' | 'installed' | 'environment';

/** A torch that can be used. */
export interface TorchLibrary extends Inspected {
  readonly source: TorchSource;
}

/** A place where a torch was looked for: it has a library, or a problem. */
export interface TorchPlace {
  readonly source: TorchSource;
  readonly folder: string;
  readonly library?: TorchLibrary;
  readonly problem?: SelfplayError;
}

const SOURCE_WORDS: Readonly<Record<TorchSource, string>> = {
  SELFPLAY_TORCH: 'SELFPLAY_TORCH names a folder',
  chosen: '`selfplay engine use` chose a folder',
  installed: 'the installed library is a folder',
  environment: 'the active Python environment is a folder',
};
const SOURCE_FIX: Readonly<Record<TorchSource, string>> = {
  SELFPLAY_TORCH: 'let SELFPLAY_TORCH name a folder with such a torch, or unset it',
  chosen: 'choose another folder with `selfplay engine use DIR`, or let it be searched: `selfplay engine use auto`',
  installed: 'install it again: `selfplay engine install torch`',
  environment: `install ${NEEDED} in it, or use ours: \`selfplay engine install torch\``,
};

/** Every place where a torch may be, best first. Places with nothing in them, unless the user named them, are left out. */
export async function torchPlaces(env: Env = process.env): Promise<TorchPlace[]> {
  const places: TorchPlace[] = [];
  for (const [source, folder] of await candidates(env)) {
    const found = await inspectTorch(folder);
    const where = source === 'SELFPLAY_TORCH' ? `SELFPLAY_TORCH=${folder}` : folder;
    const wrong = (problem: string) =>
      usageError({ what: `${SOURCE_WORDS[source]} without ${NEEDED}: ${problem}`, where, fix: SOURCE_FIX[source] });
    if ('problem' in found) {
      // Nothing installed and a Python environment without torch are the usual case; a broken or old torch is not.
      const usual =
        (source === 'installed' && found.kind === 'no folder') ||
        (source === 'environment' && found.kind !== 'too old');
      if (!usual) places.push({ source, folder, problem: wrong(found.problem) });
      continue;
    }
    const damage = source === 'installed' ? await damageOf(folder) : undefined;
    if (damage !== undefined) places.push({ source, folder, problem: wrong(damage) });
    else places.push({ source, folder, library: { ...found, source } });
  }
  return places;
}

/**
 * The torch to use; undefined where there is none.
 * @param cuda prefer a library with its part for CUDA among those that the user did not name
 * @throws usage error when a folder that the user named holds none, or the installed one is damaged
 */
export async function findTorch({
  env = process.env,
  cuda = false,
}: {
  env?: Env;
  cuda?: boolean;
} = {}): Promise<TorchLibrary | undefined> {
  const usable: TorchLibrary[] = [];
  for (const { source, library, problem } of await torchPlaces(env)) {
    const named = source === 'SELFPLAY_TORCH' || source === 'chosen';
    if (library && named) return library;
    if (library) usable.push(library);
    else if (named || source === 'installed') throw problem;
  }
  return (cuda ? usable.find((library) => library.cuda) : undefined) ?? usable[0];
}

/**
 * Keeps the folder as the torch to use from now on; undefined forgets an earlier choice.
 * @throws usage error when there is no usable torch in it
 */
export async function chooseTorch(folder: string | undefined, env: Env = process.env): Promise<Inspected | undefined> {
  const path = choicePath(env);
  if (folder === undefined) {
    await rm(path, { force: true });
    return undefined;
  }
  const found = await inspectTorch(folder);
  if ('problem' in found) {
    const fix = 'name a folder that holds the library, a torch package, or a virtual environment with torch in it';
    throw usageError({ what: `this folder has no ${NEEDED}: ${found.problem}`, where: resolve(folder), fix });
  }
  await mkdir(dirname(path), { recursive: true }).catch((error: unknown) => {
    throw saveError(error, dirname(path));
  });
  await writeFileAtomic(path, `${JSON.stringify({ directory: found.directory })}\n`);
  return found;
}

const choicePath = (env: Env): string => join(cacheFolder(env), 'torch', 'chosen.json');

/** Sources and folders to look into, best first. */
async function candidates(env: Env): Promise<[TorchSource, string][]> {
  const found: [TorchSource, string][] = [];
  const add = (source: TorchSource, folder: string | undefined) => {
    if (folder !== undefined && folder !== '') found.push([source, folder]);
  };
  add('SELFPLAY_TORCH', env['SELFPLAY_TORCH']);
  add('chosen', await chosenFolder(env));
  const platform = platformOf(process);
  if (platform !== undefined) add('installed', installFolder(env, TORCH_VERSION, platform));
  add('environment', env['VIRTUAL_ENV']);
  add('environment', env['CONDA_PREFIX']);
  return found;
}

async function chosenFolder(env: Env): Promise<string | undefined> {
  const path = choicePath(env);
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    const { directory } = JSON.parse(text) as { directory?: unknown };
    if (typeof directory === 'string') return directory;
  } catch {
    // Falls through: not JSON is as wrong as JSON without a folder.
  }
  throw usageError({ what: 'the choice of a torch cannot be read', where: path, fix: SOURCE_FIX.chosen });
}

/** What is wrong with an installed folder whose library is there: a file missing or cut. */
async function damageOf(folder: string): Promise<string | undefined> {
  try {
    return (await readManifest(folder)) === undefined ? 'it is not complete' : undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
