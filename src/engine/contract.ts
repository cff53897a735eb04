/**
 * What the rest of the project knows of an engine.
 *
 * An engine owns STATES: named tensors (weights, gradients, optimizer moments, KV caches) that outlive a run. Programs
 * are compiled graphs; a run reads the states as they were when it began, returns the graph's outputs and then applies
 * the graph's effects in order. Nothing outside engine/ holds a weight or a cache. Tensors cross the border by
 * transfer: a typed array that is handed in must not be used again by the caller.
 */
import type { Graph } from '../graph/index.ts';
import type { ComputeDtype } from './choose.ts';

/** A host tensor: row-major, f32 or i32. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** A GPU with its driver, as they call themselves. */
export interface Gpu {
  readonly model: string;
  readonly driver: string;
}

export interface EngineInfo {
  /** Folder name below engine/: "onnx". */
  readonly name: string;
  /** Version of the library that computes. */
  readonly version: string;
  readonly device: string;
  readonly dtype: ComputeDtype;
  readonly threads: number;
  /** Where a GPU of NVIDIA computes. */
  readonly gpu?: Gpu;
}

/** Memory of the kind that an engine computes in, in bytes. */
export interface MemoryNow {
  /** What is taken: by this process in RAM, by all processes on a GPU. */
  readonly used: number;
  /** What `used` may come to before there is none left. */
  readonly limit: number;
  /** All that there is. */
  readonly total: number;
}

export interface CompileOptions {
  /**
   * Promises that the program's states that none of its effects change stay as they are while it lives: an engine may
   * then pack them for speed. Writing to such a state while the program lives is an error.
   */
  readonly freeze?: boolean;
}

export interface StateOptions {
  /**
   * 'compute': the state may be stored in the dtype that the engine computes with, so that reading it gives rounded
   * values (a KV cache). Otherwise it holds f32, whatever the engine computes with.
   */
  readonly precision?: 'f32' | 'compute';
}

export interface Program {
  /**
   * Runs once. Throws a failure naming the input when one is missing, unknown, or has another shape or type than the
   * graph says, and changes no state then. Throws one, with the code 'out-of-memory' where that is why, when the
   * arithmetic fails: then states that `accumulate` would have added to may be lost and must be created or zeroed anew.
   */
  run(inputs: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
  /** Releases what compiling allocated. States stay. */
  dispose(): Promise<void>;
}

export interface Engine {
  readonly info: EngineInfo;
  /** Creates the state, filled with zeros; replaces one of that name. The shape has no symbols here. */
  createState(name: string, shape: readonly number[], options?: StateOptions): Promise<void>;
  /**
   * Gives the state another size along one axis (a KV cache that must grow), keeping the values at the indices that
   * exist in both; new ones are zero.
   */
  resizeState(name: string, axis: number, size: number): Promise<void>;
  /** Replaces the state's values. `data` is transferred. */
  writeState(name: string, data: Float32Array): Promise<void>;
  /** A copy of the state's values. */
  readState(name: string): Promise<Float32Array>;
  dropState(name: string): Promise<void>;
  /** Names and shapes of all states. */
  states(): Promise<ReadonlyMap<string, readonly number[]>>;
  compile(graph: Graph, options?: CompileOptions): Promise<Program>;
  /**
   * The most bytes that the values of one run take at once, states apart: what can be known beforehand. Room to work in
   * within an op, and what an allocator leaves unused, come on top.
   * @param sizes of the graph's named dimensions
   */
  plannedBytes(graph: Graph, sizes: ReadonlyMap<string, number>): number;
  /** The memory that it computes in, as it is now; undefined where the device does not tell. */
  memory(): Promise<MemoryNow | undefined>;
  /** Ends the engine; pending calls fail. */
  dispose(): Promise<void>;
}

/** A float tensor from an array; the array is handed over, not copied. */
export function floats(data: Float32Array, shape: readonly number[] = [data.length]): Tensor {
  return { shape, data };
}

/** An int32 tensor from numbers or an array that is handed over. */
export function ints(data: Int32Array | readonly number[], shape: readonly number[] = [data.length]): Tensor {
  return { shape, data: data instanceof Int32Array ? data : Int32Array.from(data) };
}
