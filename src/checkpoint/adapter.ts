// Adapter directories in the layout of PEFT: their weights, read and written under PEFT's names.

import { copyFile, readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { Engine } from '../engine/index.ts';
import { readSafetensorsHeader, readTensorF32, writeSafetensors } from '../formats/index.ts';
import { type AdaptedModule, type LanguageModel, type LoraConfig, trainable } from '../models/index.ts';
import {
  diskIo,
  exists,
  failure,
  type Io,
  publishDirectory,
  usageError,
  withFile,
  writeAll,
  writeFileAtomic,
} from '../util/index.ts';
import { LINEAGE_FILE, lineageOf } from './lineage.ts';
import { ADAPTER_CONFIG, ADAPTER_FILE, peftConfig, readAdapterConfig } from './peft.ts';
import type { WeightSource } from './weights.ts';

/** PEFT's wrappers around the model. */
const PREFIX = 'base_model.model.';

export interface OpenedAdapter {
  readonly config: LoraConfig;
  /** Under the names of our states: "model.layers.0.self_attn.q_proj.lora_A.weight". */
  readonly source: WeightSource;
}

/** @throws usage error or failure naming what is unsupported or damaged */
export async function openAdapter(dir: string): Promise<OpenedAdapter> {
  const { config } = await readAdapterConfig(dir);
  const file = join(dir, ADAPTER_FILE);
  if (!(await exists(file))) {
    throw usageError({
      what: `the adapter has no ${ADAPTER_FILE}; pickled weights (adapter_model.bin) are never opened`,
      where: dir,
      fix: 'save it with a PEFT that writes safetensors',
    });
  }
  const { tensors } = await readSafetensorsHeader(file);
  const find = (name: string) =>
    tensors.get(PREFIX + name) ?? fail({ what: `the adapter has no tensor ${PREFIX}${name}`, where: file });
  const names = [...tensors.keys()].map((name) => (name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name));
  return {
    config: { ...config, targets: presentTargets(config.targets, names) },
    source: {
      kind: 'safetensors',
      files: [file],
      names: () => names,
      shape: (name) => [...find(name).shape],
      read: (name) => readTensorF32(find(name)),
    },
  };
}

function fail(fields: Parameters<typeof failure>[0]): never {
  throw failure(fields);
}

/** PEFT lets a list name modules that a model does not have. */
function presentTargets(targets: LoraConfig['targets'], tensors: readonly string[]): LoraConfig['targets'] {
  if (!Array.isArray(targets)) return targets;
  const isThere = (target: string) => tensors.some((name) => `.${name}`.includes(`.${target}.lora_`));
  const present = (targets as readonly string[]).filter(isThere);
  return present.length > 0 ? present : targets;
}

/**
 * Saves the adapter in the engine as a directory that PEFT loads, all at once, with its lineage.
 * @param parent the model from which its training started
 * @param base directory of the base model
 */
export async function saveAdapterDirectory(
  dir: string,
  engine: Engine,
  adapter: {
    readonly model: LanguageModel;
    readonly lora: LoraConfig;
    readonly modules: readonly AdaptedModule[];
    readonly base: string;
    readonly parent: string;
  },
  io: Io = diskIo,
): Promise<void> {
  const { model, lora, modules, base, parent } = adapter;
  const names = modules.map(({ name }) => name);
  const files = {
    [ADAPTER_CONFIG]: peftConfig(lora, resolve(base), names),
    [LINEAGE_FILE]: { v: 1, lineage: await lineageOf(parent) },
  };
  await publishDirectory(
    dir,
    async (temporary) => {
      for (const [name, content] of Object.entries(files)) {
        const bytes = new TextEncoder().encode(`${JSON.stringify(content, null, 2)}\n`);
        await withFile(io, join(temporary, name), 'wx', (file) => writeAll(file, bytes));
      }
      await writeSafetensors(
        join(temporary, ADAPTER_FILE),
        trainable(model).map(({ name, shape }) => ({
          name: PREFIX + name,
          dtype: 'F32',
          shape: [...shape],
          data: () => engine.readState(name),
        })),
        { format: 'pt' },
        io,
      );
    },
    io,
  );
}

/**
 * Copies an adapter as PEFT has it, all at once, under another name of its base. Its lineage keeps hashes and names, not places.
 * @param base what PEFT is told: a directory, or the id of the Hub with its revision
 * @param files more files by name, with their text
 */
export async function copyAdapterDirectory(
  from: string,
  to: string,
  { base, revision, files }: { base: string; revision?: string | undefined; files: ReadonlyMap<string, string> },
): Promise<void> {
  await readAdapterConfig(from);
  const config = JSON.parse(await readFile(join(from, ADAPTER_CONFIG), 'utf8')) as Record<string, unknown>;
  const named = { ...config, base_model_name_or_path: base, ...(revision === undefined ? {} : { revision }) };
  const ancestors = (await lineageOf(from)).slice(0, -1);
  const lineage = ancestors.map(({ path, ...one }) => ({ ...one, path: basename(path) }));
  await publishDirectory(to, async (temporary) => {
    for (const [name, text] of [
      [ADAPTER_CONFIG, JSON.stringify(named, null, 2)],
      [LINEAGE_FILE, JSON.stringify({ v: 1, lineage }, null, 2)],
      ...files,
    ] as const) {
      await writeFileAtomic(join(temporary, name), `${text.trimEnd()}\n`);
    }
    await copyFile(join(from, ADAPTER_FILE), join(temporary, ADAPTER_FILE));
  });
}
