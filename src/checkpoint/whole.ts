// A whole model as it lies on the disk: its config, its graph, and its weights one tensor at a time; and what stands between two of
// them.

import type { Engine } from '../engine/index.ts';
import { castTensor, type WritableType } from '../formats/index.ts';
import { type LanguageModel, modelFromConfig, type Parameter } from '../models/index.ts';
import { usageError } from '../util/index.ts';
import { asParameters } from './layout.ts';
import { configPlace, readModelConfig } from './modeldir.ts';
import { checkWeights, openWeights, type WeightSource } from './weights.ts';

export interface WholeModel {
  /** A directory, or a GGUF file. */
  readonly dir: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly model: LanguageModel;
  /** The model's parameters, under their names and in their layout. */
  readonly weights: WeightSource;
}

/**
 * Opens a model that is no adapter: headers are read, weights not yet.
 * @throws usage error or failure that names what is missing, unsupported or misshaped
 */
export async function openWholeModel(dir: string): Promise<WholeModel> {
  const config = await readModelConfig(dir);
  const model = modelFromConfig(config, await configPlace(dir));
  const weights = asParameters(await openWeights(dir, config), model.parameters);
  checkWeights(weights, model.parameters);
  return { dir, config, model, weights };
}

/**
 * θ = (1 − share)·start + share·end, weight by weight in double precision, rounded to fp32 once. What stands beside the weights
 * is that of `end`.
 * @throws usage error when the two have not the same parameters
 */
export function mixedModel(start: WholeModel, end: WholeModel, share: number): WholeModel {
  const shapes = ({ model }: WholeModel) => model.parameters.map(({ name, shape }) => `${name} ${shape}`).join();
  if (shapes(start) !== shapes(end)) {
    throw usageError({ what: `its weights have not the shapes of those of ${start.dir}`, where: end.dir });
  }
  const read = async (name: string): Promise<Float32Array> => {
    const [from, to] = [await start.weights.read(name), await end.weights.read(name)];
    for (let i = 0; i < to.length; i++) to[i] = (1 - share) * from[i]! + share * to[i]!;
    return to;
  };
  return { ...end, weights: { ...end.weights, read } };
}

/** How a weight is held by a file: all its values, as the file's reader gets them. */
export type Cast = (parameter: Parameter, values: Float32Array) => Float32Array;

/** All weights in one type, as in safetensors. */
export const castAll =
  (type: WritableType): Cast =>
  ({ name }, values) =>
    castTensor(values, type, name);

/** Makes the weights states of an engine, under their names; states that are there are overwritten. */
export async function writeStates(
  engine: Engine,
  { model, weights }: WholeModel,
  cast: Cast = (_, values) => values,
): Promise<void> {
  const there = await engine.states();
  for (const parameter of model.parameters) {
    const { name, shape } = parameter;
    if (!there.has(name)) await engine.createState(name, shape);
    await engine.writeState(name, cast(parameter, await weights.read(name)));
  }
}

export interface Updates {
  readonly weights: number;
  /** Those that differ in fp32. */
  readonly changed: number;
  /** Of these the ones that do not differ after the cast. */
  readonly swallowed: number;
  /**
   * Σ sign(δ)·δ' / Σ |δ| over the weights, with δ the update and δ' what the cast makes of it: about 1 where rounding is as often up
   * as down; 0 where all are swallowed; more where weights lie near the middle between two steps. NaN without updates.
   */
  readonly kept: number;
}

/** What a cast makes of the updates that lie between two models; a tensor of each is in memory at a time. */
export async function swallowedUpdates(start: WholeModel, end: WholeModel, cast: Cast): Promise<Updates> {
  const count = { weights: 0, changed: 0, swallowed: 0 };
  let [moved, meant] = [0, 0];
  for (const parameter of end.model.parameters) {
    const [from, to] = [await start.weights.read(parameter.name), await end.weights.read(parameter.name)];
    const [castFrom, castTo] = [cast(parameter, from), cast(parameter, to)];
    count.weights += to.length;
    for (let i = 0; i < to.length; i++) {
      const update = to[i]! - from[i]!;
      if (update === 0) continue;
      count.changed++;
      if (castFrom[i] === castTo[i]) count.swallowed++;
      moved += Math.sign(update) * (castTo[i]! - castFrom[i]!);
      meant += Math.abs(update);
    }
  }
  return { ...count, kept: moved / meant };
}
