// Weights between model directories and the engine's states, one tensor in memory at a time.

import { join } from 'node:path';
import type { Engine } from '../engine/index.ts';
import { type LanguageModel, modelFromConfig, type Parameter } from '../models/index.ts';
import { normals } from '../util/index.ts';
import { readModelConfig, saveModelDirectory } from './modeldir.ts';
import { checkWeights, openWeights } from './weights.ts';

/** A model whose weights are states of an engine, under their Hugging Face names. */
export interface LoadedModel {
  readonly model: LanguageModel;
  readonly config: Readonly<Record<string, unknown>>;
  /** Where tokenizer and generation settings lie. */
  readonly dir: string;
}

/**
 * Reads config.json and weights of a model directory into the engine; states of the same names are replaced. Throws a
 * usage error or failure that names what is missing, unsupported or misshaped.
 */
export async function loadModel(engine: Engine, dir: string): Promise<LoadedModel> {
  const config = await readModelConfig(dir);
  const model = modelFromConfig(config, join(dir, 'config.json'));
  const source = await openWeights(dir, config);
  checkWeights(source, model.parameters);
  for (const { name, shape } of model.parameters) {
    await engine.createState(name, shape);
    await engine.writeState(name, await source.read(name));
  }
  return { model, config, dir };
}

/** A parameter of a new model: ones, or N(0, range²) from the seed. */
function initialValues({ name, shape, initial }: Parameter, seed: number, range: number): Float32Array {
  const count = shape.reduce((n, dim) => n * dim, 1);
  if (initial === 'ones') return new Float32Array(count).fill(1);
  return normals(count, seed, name).map((x) => x * range);
}

/** A new model with random weights in the engine. `dir` holds its tokenizer. */
export async function createModel(
  engine: Engine,
  config: Readonly<Record<string, unknown>>,
  seed: number,
  dir: string,
): Promise<LoadedModel> {
  const model = modelFromConfig(config, 'the new model’s config');
  for (const parameter of model.parameters) {
    await engine.createState(parameter.name, parameter.shape);
    await engine.writeState(parameter.name, initialValues(parameter, seed, model.initializerRange));
  }
  return { model, config, dir };
}

/** Saves the engine's weights as a Hugging Face directory with the tokenizer of `loaded.dir`. */
export async function saveModel(engine: Engine, { model, config, dir }: LoadedModel, to: string): Promise<void> {
  await saveModelDirectory(to, {
    sourceDir: dir,
    config,
    tensors: model.parameters.map(({ name, shape }) => ({
      name,
      dtype: 'F32' as const,
      shape: [...shape],
      data: () => engine.readState(name),
    })),
  });
}
