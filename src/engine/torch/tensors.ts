/**
 * Tensors of libtorch: handles with the shape that we know of them, so that every view is checked here before torch
 * makes it (it would not check), memory that is released in scopes, and the way in and out.
 */
import { failure } from '../../util/index.ts';
import type { DeviceName } from '../choose.ts';
import { KernelError, type Library, loadLibrary, SILENT } from './binding.ts';
import { type Switches, setSwitches, useGpu } from './cuda.ts';
import { type Recorder, recorderOf } from './tape.ts';

/** i64 holds indices, whatever came in as i32; i32 only where an operator or wrapping arithmetic asks for it. */
export type TorchDtype = 'f32' | 'bf16' | 'f16' | 'i64' | 'i32' | 'bool';

/** A tensor, or a view of one: element (i, j, …) lies at offset + i·strides[0] + j·strides[1] + … */
export interface Tensor {
  readonly handle: number;
  readonly dtype: TorchDtype;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
  /** The memory that it is a view of, by a number of its own, and how many elements that holds. */
  readonly memory: number;
  readonly room: number;
}

export interface Device {
  readonly library: Library;
  /** Takes down what is asked of the library. */
  readonly recorder: Recorder;
  readonly name: DeviceName;
  /** The kernels' prefix: "cpu", "cuda", "mps". */
  readonly kind: string;
  /** Which GPU, as torch counts. */
  readonly index: number;
  /** Of the arithmetic on the CPU. */
  readonly threads: number;
  /** Runs `body`; every tensor made within that it does not return is released, also when it throws. */
  scoped<T extends readonly (Tensor | undefined)[]>(body: () => T): T;
  /** Runs `body`; what it made is not released by any scope but handed to the caller. */
  collected<T>(body: () => T): { readonly result: T; readonly tensors: Iterable<Tensor> };
  /** Takes the tensor out of its scope: it stays until it is freed. */
  keep(tensor: Tensor): Tensor;
  /** Releases a tensor that no scope holds. */
  free(tensor: Tensor): void;
  /** Memory with whatever is in it. */
  empty(shape: readonly number[], dtype: TorchDtype): Tensor;
  /** Takes over a handle that torch returned, a dense tensor of this shape. */
  adopt(handle: number, shape: readonly number[], dtype: TorchDtype): Tensor;
  /** Another shape over the same memory; refused when it reaches outside. */
  view(tensor: Tensor, shape: readonly number[], strides?: readonly number[], offset?: number): Tensor;
  /** Rows from..to-1 of the first dimension. */
  rows(tensor: Tensor, from: number, to: number): Tensor;
  /** The first two dimensions exchanged (of a matrix: its transpose), without copying. */
  transposed(tensor: Tensor): Tensor;
  /** to = from, with conversion of the dtype and across devices. */
  copy(to: Tensor, from: Tensor): void;
  /** The tensor itself where it has that dtype and is dense, else a dense copy. */
  dense(tensor: Tensor, dtype?: TorchDtype): Tensor;
  upload(data: Float32Array | BigInt64Array | Int32Array, shape: readonly number[]): Tensor;
  download(tensor: Tensor): Float32Array;
  downloadIndices(tensor: Tensor): Int32Array;
  /** An f32 number as a tensor without dimensions, kept for a while: ask again for each use. */
  scalar(value: number): Tensor;
  /** f32 numbers [n], kept likewise. */
  numbers(values: readonly number[]): Tensor;
  /** Ones [n,1] in f32, kept for good. */
  ones(n: number): Tensor;
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((n, dim) => n * dim, 1);
}

/** Strides of a dense tensor. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i]!;
  }
  return strides;
}

export function isDense({ shape, strides }: Tensor): boolean {
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== stride) return false;
    stride *= shape[i]!;
  }
  return true;
}

/** Whether the elements lie in memory in their order, none twice: a result of elementwise work on it is dense. */
export function isOrdered({ shape, strides }: Tensor): boolean {
  return strides.every(
    (stride, i) => shape[i] === 1 || stride >= (i + 1 < shape.length ? strides[i + 1]! * shape[i + 1]! : 1),
  );
}

/** Whether matrices are neighbouring columns of one, in their order. */
export function areSideBySide(matrices: readonly Tensor[]): boolean {
  const [first] = matrices;
  let next = first!.offset;
  return matrices.every(({ memory, offset, shape, strides }) => {
    const isNext = memory === first!.memory && offset === next && strides[1] === 1;
    next += shape[1]!;
    return isNext && strides[0] === first!.strides[0];
  });
}

/** "float32 [3, 4]", for messages. */
export const describe = ({ dtype, shape }: Pick<Tensor, 'dtype' | 'shape'>) => `${dtype} [${shape}]`;

const DTYPES: Readonly<Record<TorchDtype, string>> = {
  f32: 'float32',
  bf16: 'bfloat16',
  f16: 'float16',
  i64: 'int64',
  i32: 'int32',
  bool: 'bool',
};

const MOST_CONSTANTS = 256;

/** Opens the device. Throws a failure when torch does not have it. */
export async function openDevice(
  directory: string,
  file: string,
  name: DeviceName,
  threads: number,
  switches: Switches,
): Promise<Device> {
  const recorder = recorderOf(await loadLibrary(directory, file, threads));
  const { library } = recorder;
  const [kind, number] = name.split(':') as [string, string | undefined];
  const types = { cpu: library.constant('device_type_cpu'), device: library.constant(`device_type_${kind}`) };
  const index = kind === 'cpu' ? 0 : Number(number ?? 0);
  if (kind === 'cuda') {
    setSwitches(library, switches);
    demand(name, () => useGpu(library, index));
  }
  const dtypes = Object.fromEntries(
    Object.entries(DTYPES).map(([dtype, torchName]) => [dtype, library.constant(`dtype_${torchName}`)]),
  ) as Record<TorchDtype, number>;

  /** The device has given memory before. */
  let isOpen = false;
  let memories = 0;
  /** Tensors to release, innermost scope last. */
  const scopes: Set<Tensor>[] = [];
  const hold = (tensor: Tensor): Tensor => {
    scopes.at(-1)?.add(tensor);
    return tensor;
  };
  const free = ({ handle }: Tensor) => library.call('aoti_torch_delete_tensor_object', 'p', handle);

  function emptyOn(maker: string, shape: readonly number[], dtype: TorchDtype, type: number, at: number): Tensor {
    const strides = stridesOf(shape);
    const [dims, steps] = [library.sizes(0, shape), library.sizes(1, strides)];
    try {
      library.call(maker, 'lppiiip', shape.length, dims, steps, dtypes[dtype], type, at, library.results[0]);
    } catch (error) {
      // There is nothing else for which it would fail.
      const silent = error instanceof KernelError && error.message === SILENT && isOpen;
      throw silent ? new KernelError(`not enough memory for ${describe({ dtype, shape })}`) : error;
    }
    return hold({
      handle: library.written(),
      dtype,
      shape,
      strides,
      offset: 0,
      memory: memories++,
      room: sizeOf(shape),
    });
  }
  const onHost = (shape: readonly number[], dtype: TorchDtype) =>
    emptyOn('aoti_torch_empty_strided', shape, dtype, types.cpu, 0);
  /** Host memory from which a GPU reads while the host goes on; torch keeps it until that is done. */
  const pinned = (shape: readonly number[], dtype: TorchDtype) =>
    emptyOn('aoti_torch_empty_strided_pinned', shape, dtype, types.cpu, 0);
  const empty = (shape: readonly number[], dtype: TorchDtype) =>
    emptyOn('aoti_torch_empty_strided', shape, dtype, types.device, index);

  function address({ handle, shape }: Tensor): number {
    if (sizeOf(shape) === 0) return 0;
    library.call('aoti_torch_get_data_ptr', 'pp', handle, library.results[0]);
    return library.written();
  }
  const copy = (to: Tensor, from: Tensor, asynchronous = false) => {
    if (String(to.shape) !== String(from.shape)) {
      throw failure({ what: `cannot copy ${describe(from)} to ${describe(to)}` });
    }
    library.call('aoti_torch_copy_', 'ppi', to.handle, from.handle, Number(asynchronous));
  };

  function view(
    tensor: Tensor,
    shape: readonly number[],
    strides: readonly number[] = stridesOf(shape),
    offset = 0,
  ): Tensor {
    const start = tensor.offset + offset;
    const last = shape.reduce((at, dim, i) => at + (dim - 1) * strides[i]!, start);
    const isEmpty = shape.some((dim) => dim === 0);
    if (start < 0 || strides.some((stride) => stride < 0) || (!isEmpty && last >= tensor.room)) {
      throw failure({ what: `a view [${shape}] by [${strides}] at ${start} reaches outside of ${describe(tensor)}` });
    }
    library.call(
      'aoti_torch__reinterpret_tensor',
      'plpplp',
      tensor.handle,
      shape.length,
      library.sizes(0, shape),
      library.sizes(1, strides),
      offset, // torch adds it to where the tensor begins
      library.results[0],
    );
    return hold({ ...tensor, handle: library.written(), shape, strides, offset: start });
  }

  /** Host memory of the tensor's values. */
  function fetched<T extends Float32Array | BigInt64Array>(tensor: Tensor, data: T, dtype: TorchDtype): T {
    scoped(() => {
      let source = tensor;
      if (kind !== 'cpu' || tensor.dtype !== dtype || !isDense(tensor)) {
        source = onHost(tensor.shape, dtype);
        copy(source, tensor);
      }
      const from = address(source);
      if (from !== 0) library.copyOut(data, from);
      return [];
    });
    return data;
  }

  function scoped<T extends readonly (Tensor | undefined)[]>(body: () => T): T {
    const scope = new Set<Tensor>();
    scopes.push(scope);
    let kept: T | undefined;
    try {
      kept = body();
      return kept;
    } finally {
      scopes.pop();
      for (const tensor of kept ?? []) {
        if (tensor && scope.delete(tensor)) hold(tensor);
      }
      for (const tensor of scope) free(tensor);
    }
  }

  const keep = (tensor: Tensor): Tensor => {
    for (const scope of scopes) scope.delete(tensor);
    return tensor;
  };

  const constants = new Map<string, Tensor>();
  function remembered(key: string, make: () => Tensor): Tensor {
    let known = constants.get(key);
    if (!known) {
      // Learning rates change with every step: the oldest makes room.
      const [oldest] = constants.size < MOST_CONSTANTS ? [] : constants;
      if (oldest) {
        constants.delete(oldest[0]);
        free(oldest[1]);
      }
      known = keep(make());
      constants.set(key, known);
    }
    return known;
  }
  const ones = new Map<number, Tensor>();
  const device: Device = {
    library,
    recorder,
    name,
    kind,
    index,
    threads: library.threads,
    scoped,
    collected: (body) => {
      const tensors = new Set<Tensor>();
      scopes.push(tensors);
      try {
        return { result: body(), tensors };
      } catch (error) {
        for (const tensor of tensors) free(tensor);
        throw error;
      } finally {
        scopes.pop();
      }
    },
    keep,
    free,
    empty,
    view,
    copy,
    adopt: (handle, shape, dtype) =>
      hold({ handle, dtype, shape, strides: stridesOf(shape), offset: 0, memory: memories++, room: sizeOf(shape) }),
    rows: (tensor, from, to) =>
      view(tensor, tensor.shape.with(0, to - from), tensor.strides, from * tensor.strides[0]!),
    transposed: (tensor) => {
      const [a, b, ...rest] = tensor.shape;
      const [sa, sb, ...more] = tensor.strides;
      return view(tensor, [b!, a!, ...rest], [sb!, sa!, ...more]);
    },
    dense: (tensor, dtype = tensor.dtype) => {
      if (tensor.dtype === dtype && isDense(tensor)) return tensor;
      const result = empty(tensor.shape, dtype);
      copy(result, tensor);
      return result;
    },
    upload: (data, shape) => {
      if (data.length !== sizeOf(shape)) throw failure({ what: `${data.length} values for the shape [${shape}]` });
      const dtype = data instanceof Float32Array ? 'f32' : data instanceof Int32Array ? 'i32' : 'i64';
      const host = kind === 'cuda' ? pinned(shape, dtype) : onHost(shape, dtype);
      const to = address(host);
      if (to !== 0) library.copyIn(to, data);
      if (kind === 'cpu') return host;
      const there = empty(shape, dtype);
      copy(there, host, kind === 'cuda');
      return there;
    },
    download: (tensor) => fetched(tensor, new Float32Array(sizeOf(tensor.shape)), 'f32'),
    downloadIndices: (tensor) =>
      Int32Array.from(fetched(tensor, new BigInt64Array(sizeOf(tensor.shape)), 'i64'), Number),
    scalar: (value) => remembered(`${value}`, () => device.upload(Float32Array.of(value), [])),
    numbers: (values) => remembered(`[${values}]`, () => device.upload(Float32Array.from(values), [values.length])),
    ones: (n) => {
      let known = ones.get(n);
      if (!known) {
        known = keep(device.upload(new Float32Array(n).fill(1), [n, 1]));
        ones.set(n, known);
      }
      return known;
    },
  };
  demand(name, () => scoped(() => [void empty([1], 'f32')]));
  isOpen = true;
  return device;
}

/** Torch says that there is no such device when it is first used. */
function demand(name: DeviceName, use: () => void): void {
  try {
    use();
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    throw failure({ what: `device ${name}: ${error.message}`, fix: 'use --device cpu', cause: error });
  }
}
