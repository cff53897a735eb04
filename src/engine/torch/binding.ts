/**
 * libtorch's C interface, called from JavaScript: the functions of torch ≥ 2.11 that keep their binary interface
 * (torch/csrc/stable/c/shim.h and torch/csrc/inductor/aoti_torch). Nothing here knows tensors.
 *
 * Every pointer is a number; what a call writes goes into one block of memory whose address was taken once. A call
 * returns 0 or has left a message; `Library` turns that into an error.
 */
import { join } from 'node:path';
import { failure } from '../../util/index.ts';

/** Of one argument of a C function: pointer or handle, int64, int32 (flags too), float, double. */
type ArgumentType = 'p' | 'l' | 'i' | 'f' | 'd';
const C_TYPES: Readonly<Record<ArgumentType, string>> = {
  p: 'uint64_t',
  l: 'int64_t',
  i: 'int32_t',
  f: 'float',
  d: 'double',
};

export type Call = (...values: number[]) => number;

/** A 64-bit slot: an integer or a handle, a text, a list of either (handles are taken over), or nothing. */
export type Slot = number | { readonly text: string } | { readonly list: readonly number[] } | null;

/** Memory of ours that the library reads and writes, in 64-bit words. */
export interface Memory {
  readonly address: number;
  /** Whole numbers up to 2^53, negative ones in two's complement. */
  write(word: number, value: number): void;
  writeDouble(word: number, value: number): void;
  read(word: number): number;
}

export interface Library {
  readonly version: string;
  /** Threads of the arithmetic on the CPU. */
  readonly threads: number;
  /** Value of a constant such as "dtype_float32". */
  constant(name: string): number;
  /** Whether a function is there. */
  has(name: string): boolean;
  /** What a function without arguments returns: an address. */
  address(name: string): number;
  /** What a function of one address says, yes or no. */
  flag(name: string, at: number): boolean;
  /** Calls a function that returns nothing. */
  invoke(name: string, types: string, ...values: number[]): void;
  /** Calls a function that returns an error code. `types` as in C, one letter each. */
  call(name: string, types: string, ...values: number[]): void;
  /** The function itself, whose code `check` looks at. */
  raw(name: string, types: string): Call;
  /** Throws what the library complained of when the code is not 0. */
  check(code: number): void;
  /**
   * Calls an operator by its schema, with EVERY argument. Handles are taken over: pass fresh ones.
   * @returns the first `results` results as handles, owned by the caller
   */
  dispatch(name: string, overload: string, slots: readonly Slot[], results: number): readonly number[];
  /** Lives as long as what was returned. */
  memory(words: number): Memory;
  /** Address of integers in memory until the next call of `sizes` with the same place (0 or 1). */
  sizes(place: 0 | 1, values: readonly number[]): number;
  /** Address of a number in memory until the next call of `double`. */
  double(value: number): number;
  /** Address of a zero-terminated text. */
  text(value: string): number;
  /** Where a call may write its results, 64 bits each; `written` reads one. */
  readonly results: readonly [number, number, number, number, number];
  written(index?: number): number;
  copyIn(address: number, data: Float32Array | Int32Array | BigInt64Array): void;
  copyOut(data: Float32Array | Int32Array | BigInt64Array, address: number): void;
}

/** What an operator complained of; the caller says which one it was. */
export class KernelError extends Error {}

/** What torch 2.11 and 2.12 leave of an error: they only print it. */
export const SILENT = 'it failed, and this version of torch does not say why, except perhaps on the screen';

/** The most that koffi allows. */
const STACK_BYTES = 16 * 2 ** 20;
const WORDS = 1024;
/** Places in the block of memory, in 64-bit words. */
const STACK = 0;
const RESULT = 128;
const DOUBLE = 192;
const SIZES = [256, 320] as const;
const LONGEST = 64;

/**
 * Loads the library from the folder that holds it.
 * @param file name of the library within it
 */
export async function loadLibrary(directory: string, file: string, threads: number): Promise<Library> {
  const { default: koffi } = await import('koffi').catch((cause: unknown) => {
    throw failure({
      what: 'the package koffi, through which torch is called, is not installed',
      fix: 'install again without --omit=optional',
      cause,
    });
  });
  // koffi calls on a stack of its own, by default of 2 MB; native code that needs more would write beyond it, without a word.
  koffi.config({ sync_stack_size: STACK_BYTES });
  const path = join(directory, file);
  const open = () => {
    try {
      return koffi.load(path, { lazy: true });
    } catch (cause) {
      throw failure({
        what: `torch cannot be loaded: ${(cause as Error).message}`,
        where: path,
        fix: 'install it again: `selfplay engine install torch`; or choose another: `selfplay engine use DIR`',
        cause,
      });
    }
  };
  const library = open();
  const memory = (count: number): Memory => {
    const bytes = new ArrayBuffer(8 * count);
    const [halves, doubles] = [new Uint32Array(bytes), new Float64Array(bytes)];
    return {
      address: Number(koffi.address(bytes)),
      write: (word, value) => {
        halves[2 * word] = value;
        halves[2 * word + 1] = Math.floor(value / 2 ** 32);
      },
      writeDouble: (word, value) => {
        doubles[word] = value;
      },
      read: (word) => halves[2 * word]! + halves[2 * word + 1]! * 2 ** 32,
    };
  };
  const { address, write, writeDouble, read } = memory(WORDS);

  /** Zero-terminated names, kept for good. */
  const names = new Map<string, { bytes: Uint8Array; address: number }>();
  const nameAt = (name: string): number => {
    let known = names.get(name);
    if (!known) {
      const bytes = new Uint8Array(new TextEncoder().encode(`${name}\0`).buffer.slice(0));
      known = { bytes, address: Number(koffi.address(bytes.buffer)) };
      names.set(name, known);
    }
    return known.address;
  };

  const functions = new Map<string, Call>();
  const bind = (name: string, types: string, result = 'int32_t'): Call => {
    let call = functions.get(name);
    if (!call) {
      const args = [...types].map((letter) => C_TYPES[letter as ArgumentType]).join(', ');
      try {
        call = library.func(`${result} ${name}(${args})`) as Call;
      } catch (cause) {
        throw failure({
          what: `this torch has no function ${name}`,
          where: path,
          fix: 'torch 2.11 or newer is needed: `selfplay engine install torch`',
          cause,
        });
      }
      functions.set(name, call);
    }
    return call;
  };
  const has = (name: string) => {
    try {
      library.func(`void ${name}()`);
      return true;
    } catch {
      return false;
    }
  };

  const lastError = has('torch_exception_get_what_without_backtrace')
    ? (library.func('const char *torch_exception_get_what_without_backtrace()') as () => string)
    : () => SILENT;
  const check = (code: number) => {
    if (code !== 0) throw new KernelError(lastError().split('\n')[0]);
  };

  const memcpyLibrary = koffi.load(process.platform === 'win32' ? 'msvcrt.dll' : null);
  const copyTo = memcpyLibrary.func('void *memcpy(uint64_t to, const void *from, size_t count)');
  const copyFrom = memcpyLibrary.func('void *memcpy(_Out_ void *to, uint64_t from, size_t count)');

  const abi = (library.func('uint64_t aoti_torch_abi_version()') as () => bigint)();
  // From the top, a byte each: major, minor, patch.
  const version = [56n, 48n, 40n].map((shift) => (abi >> shift) & 0xffn).join('.');
  const dispatch = bind('torch_call_dispatcher', 'pppp') as (...values: (number | bigint)[]) => number;
  // at::set_num_threads(int), the only way to have as many threads in each of several engines of a process.
  if (has('_ZN2at15set_num_threadsEi')) bind('_ZN2at15set_num_threadsEi', 'i', 'void')(threads);
  const threadCount = bind('torch_get_num_threads', 'p');
  const newList = bind('torch_new_list_reserve_size', 'pp');
  const pushBack = bind('torch_list_push_back', 'pp');
  const newText = bind('torch_new_string_handle', 'ppp');

  const put = (word: number, slot: Slot) => {
    if (slot === null) write(word, 0);
    else if (typeof slot === 'number') write(word, slot);
    else if ('text' in slot) {
      check(newText(nameAt(slot.text), slot.text.length, address + 8 * RESULT));
      write(word, read(RESULT));
    } else {
      check(newList(slot.list.length, address + 8 * RESULT));
      const list = read(RESULT);
      for (const item of slot.list) check(pushBack(list, item));
      write(word, list);
    }
  };

  check(threadCount(address + 8 * RESULT));
  return {
    version,
    threads: read(RESULT) % 2 ** 32,
    has,
    constant: (name) => bind(`aoti_torch_${name}`, '')(),
    address: (name) => Number(bind(name, '', 'uint64_t')()),
    flag: (name, at) => Number(bind(name, 'p', 'uint8_t')(at)) !== 0,
    invoke: (name, types, ...values) => void bind(name, types, 'void')(...values),
    call: (name, types, ...values) => check(bind(name, types)(...values)),
    raw: bind,
    check,
    memory,
    dispatch: (name, overload, slots, results) => {
      for (let i = 0; i < slots.length; i++) put(STACK + i, slots[i]!);
      check(dispatch(nameAt(name), nameAt(overload), address + 8 * STACK, abi));
      return Array.from({ length: results }, (_, i) => read(STACK + i));
    },
    sizes: (place, values) => {
      if (values.length > LONGEST) throw failure({ what: `a tensor of ${values.length} dimensions` });
      for (let i = 0; i < values.length; i++) write(SIZES[place] + i, values[i]!);
      return address + 8 * SIZES[place];
    },
    double: (value) => {
      writeDouble(DOUBLE, value);
      return address + 8 * DOUBLE;
    },
    text: nameAt,
    results: [0, 1, 2, 3, 4].map((i) => address + 8 * (RESULT + i)) as [number, number, number, number, number],
    written: (index = 0) => read(RESULT + index),
    copyIn: (to, data) => void copyTo(to, data, data.byteLength),
    copyOut: (data, from) => void copyFrom(data, from, data.byteLength),
  };
}
