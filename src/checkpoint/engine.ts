// Weights between model directories and the engine's states, one tensor in memory at a time.

import type { Engine } from '../engine/index.ts';
import {
  type AdaptedModule,
  adaptedModules,
  type LanguageModel,
  type LoraConfig,
  modelFromConfig,
  type Parameter,
  withAdapter,
} from '../models/index.ts';
import { normals, uniforms, usageError } from '../util/index.ts';
import { openAdapter, saveAdapterDirectory } from './adapter.ts';
import { parameterTensor } from './layout.ts';
import { saveModelDirectory } from './modeldir.ts';
import { ADAPTER_CONFIG, baseDirectory, isAdapterDirectory } from './peft.ts';
import { checkWeights } from './weights.ts';
import { openWholeModel } from './whole.ts';

/** A model whose weights are states of an engine, under their Hugging Face names. */
export interface LoadedModel {
  readonly model: LanguageModel;
  readonly config: Readonly<Record<string, unknown>>;
  /** The directory that was loaded; of a new model that of its tokenizer. */
  readonly dir: string;
  /** With an adapter: only that is learned and saved. */
  readonly adapter?: { readonly lora: LoraConfig; readonly modules: readonly AdaptedModule[]; readonly base: string };
}

/** An adapter to begin with: A from the seed, B = 0. */
export interface NewAdapter {
  readonly lora: LoraConfig;
  readonly seed: number;
}

/**
 * Reads config.json and weights of a model directory into the engine, or an adapter and its base; states of the same
 * names are replaced. Throws a usage error or failure that names what is missing, unsupported or misshaped.
 * @param fresh an adapter that the model, which must be a whole one, is to be given
 */
export async function loadModel(engine: Engine, dir: string, fresh?: NewAdapter): Promise<LoadedModel> {
  const base = await baseDirectory(dir);
  const { config, model: plain, weights: source } = await openWholeModel(base);
  const opened = (await isAdapterDirectory(dir)) ? await openAdapter(dir) : undefined;
  if (opened && fresh) {
    throw usageError({
      what: 'the model is an adapter already, and a new one cannot be put on top of it',
      where: dir,
      fix: 'leave --lora-rank out to go on with its adapter; or merge it first: selfplay merge',
    });
  }
  const lora = opened?.config ?? fresh?.lora;
  const modules = lora === undefined ? [] : adaptedModules(plain, lora);
  const model = lora === undefined ? plain : withAdapter(plain, lora);
  const ofAdapter = model.parameters.slice(plain.parameters.length);
  if (opened) checkWeights(opened.source, ofAdapter, ADAPTER_CONFIG);
  for (const parameter of model.parameters) {
    const { name, shape, frozen } = parameter;
    const isOfAdapter = ofAdapter.includes(parameter);
    await engine.createState(name, shape, frozen === 'layer' ? { precision: 'compute' } : {});
    const from = isOfAdapter ? opened?.source : source;
    const values = from ? await from.read(name) : initialValues(parameter, fresh!.seed, model.initializerRange);
    await engine.writeState(name, values);
  }
  return { model, config, dir, ...(lora === undefined ? {} : { adapter: { lora, modules, base } }) };
}

/** A parameter of a new model or adapter, see `Parameter.initial`, from the seed. */
function initialValues({ name, shape, initial }: Parameter, seed: number, range: number): Float32Array {
  const count = shape.reduce((n, dim) => n * dim, 1);
  switch (initial) {
    case 'ones':
      return new Float32Array(count).fill(1);
    case 'zeros':
      return new Float32Array(count);
    case 'normal':
      return normals(count, seed, name).map((x) => x * range);
    case 'kaiming-uniform': {
      const bound = 1 / Math.sqrt(shape[1]!);
      return uniforms(count, seed, name).map((u) => (2 * u - 1) * bound);
    }
  }
}

/** A new model with random weights in the engine, with an adapter if one is asked for. `dir` holds its tokenizer. */
export async function createModel(
  engine: Engine,
  config: Readonly<Record<string, unknown>>,
  seed: number,
  dir: string,
  lora?: LoraConfig,
): Promise<LoadedModel> {
  const plain = modelFromConfig(config, 'the new model’s config');
  const model = lora === undefined ? plain : withAdapter(plain, lora);
  for (const parameter of model.parameters) {
    const { name, shape, frozen } = parameter;
    await engine.createState(name, shape, frozen === 'layer' ? { precision: 'compute' } : {});
    await engine.writeState(parameter.name, initialValues(parameter, seed, model.initializerRange));
  }
  return { model, config, dir };
}

/** Saves the engine's weights as a Hugging Face directory with the tokenizer of `loaded.dir`, or the adapter as PEFT does. */
export async function saveModel(engine: Engine, loaded: LoadedModel, to: string): Promise<void> {
  const { model, config, dir, adapter } = loaded;
  if (adapter) {
    await saveAdapterDirectory(to, engine, { model, ...adapter, parent: dir });
    return;
  }
  await saveModelDirectory(to, {
    sourceDir: dir,
    config,
    tensors: model.parameters.map((parameter) => parameterTensor(parameter, () => engine.readState(parameter.name))),
  });
}
