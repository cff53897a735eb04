/** The engine contract and the engines behind it. */

export { chooseEngine, type DeviceName, type EngineAsked, type EngineChoice, type EngineFacts } from './choose.ts';
export {
  type CompileOptions,
  type Engine,
  type EngineInfo,
  floats,
  ints,
  type MemoryNow,
  type Program,
  type StateOptions,
  type Tensor,
} from './contract.ts';
export { type Processor, processor } from './facts.ts';
export { gemmPeak, readBandwidth } from './measure.ts';
export { hostMemory, peakWhile, plannedBytes } from './memory.ts';
export { onnxEngine } from './onnx/engine.ts';
export { engineFacts, type OpenOptions, openChoice, openEngine } from './open.ts';
export { chooseTorch, findTorch, type TorchLibrary, type TorchPlace, torchPlaces } from './torch/library/find.ts';
export { type InstallOptions, installSize, installTorch } from './torch/library/install.ts';
export { TORCH_VERSION } from './torch/library/pins.ts';
