/** Loading the models of a game: the one that it starts from is given the game's adapter, if it has one. */
import { type LoadedModel, lineageOf, lineageSentence, loadModel } from '../../checkpoint/index.ts';
import type { Engine } from '../../engine/index.ts';
import { trainable } from '../../models/index.ts';
import { parameterCount } from '../../training/index.ts';
import { adapterOf } from '../settings/settings.ts';
import type { Run } from './run.ts';

/** The model of a directory in the engine. With a new adapter, θ_0 computes what the model computes (B = 0). */
export function loadPlayer(engine: Engine, settings: Run['settings'], dir: string): Promise<LoadedModel> {
  return loadModel(engine, dir, dir === settings.model ? adapterOf(settings) : undefined);
}

const million = (parameters: LoadedModel['model']['parameters']) =>
  (parameterCount({ parameters }) / 1e6).toPrecision(3);

/** "llama, 135 million parameters", and how many of them are learned where that is not all. */
export function modelInWords({ model, adapter }: LoadedModel): string {
  const all = `${model.modelType}, ${million(model.parameters)} million parameters`;
  if (!adapter) return all;
  const { rank, rankStabilized } = adapter.lora;
  const kind = rankStabilized ? 'an rsLoRA' : 'a LoRA';
  const learned = million(trainable(model));
  return `${all}, of which ${learned} million are learned: ${kind} adapter of rank ${rank} on ${adapter.modules.length} layers`;
}

/** Says where a saved adapter comes from; of a whole model there is nothing to say. */
export async function sayLineage(run: Run, { adapter }: LoadedModel, dir: string): Promise<void> {
  if (adapter) await run.say(`Lineage: ${lineageSentence(await lineageOf(dir))}`);
}
