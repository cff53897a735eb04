// checkpoint: weights and trainer state <-> disk, atomically; model directories in the layout of Hugging Face.

export { createModel, type LoadedModel, loadModel, saveModel } from './engine.ts';
export {
  hashModelDirectory,
  hashModelFiles,
  type ModelFiles,
  type ModelToSave,
  modelIdentity,
  readModelConfig,
  saveModelDirectory,
} from './modeldir.ts';
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
