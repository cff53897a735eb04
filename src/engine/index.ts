/** The engine contract and the engines behind it. */
export {
  type CompileOptions,
  type Engine,
  type EngineInfo,
  floats,
  ints,
  type Program,
  type Tensor,
} from './contract.ts';
export { onnxEngine } from './onnx/engine.ts';
