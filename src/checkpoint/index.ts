// checkpoint: weights and trainer state <-> disk, atomically; model directories in the layout of Hugging Face.

export { copyAdapterDirectory } from './adapter.ts';
export { createModel, type LoadedModel, loadModel, type NewAdapter, saveModel } from './engine.ts';
export { castGguf, type GgufFigures, writeGgufModel } from './gguf-export.ts';
export { parameterTensor } from './layout.ts';
export { demandBase, LINEAGE_FILE, lineageOf, lineageSentence } from './lineage.ts';
export { MERGE_TOLERANCE, type MergeFigures, mergeAdapter } from './merge.ts';
export {
  hashModelDirectory,
  hashModelFiles,
  type ModelFiles,
  type ModelToSave,
  modelIdentity,
  readModelConfig,
  saveModelDirectory,
} from './modeldir.ts';
export { baseDirectory, companionDirectory, isAdapterDirectory } from './peft.ts';
export { modelRevision } from './revision.ts';
export {
  checkpointName,
  dropOlder,
  loadTrainerState,
  newestVerified,
  saveTrainerState,
  type TrainerState,
  type VerifiedCheckpoint,
} from './trainer.ts';
export { checkWeights, openWeights, type WeightSource } from './weights.ts';
export {
  type Cast,
  castAll,
  mixedModel,
  openWholeModel,
  swallowedUpdates,
  type Updates,
  type WholeModel,
  writeStates,
} from './whole.ts';
