/**
 * Recorded calls. What a kernel asks of the library is the same in every decoding step but for the handles of its
 * tensors: the calls are taken down once and repeated without the checks, objects and scopes around them. A tape knows
 * handles by slots: first those that it is given, then those that its calls make. All other handles in it are borrowed:
 * when one of them is released, or what it holds is out of date, tapes are not valid any more (`epoch`). Small memory
 * that a kernel takes and gives back stays with the tape, and so do views of it and of what is borrowed.
 */
import type { Call, Library, Memory, Slot } from './binding.ts';

export interface Tape {
  readonly steps: readonly Step[];
  /** How many handles it is given. */
  readonly given: number;
  /** Handles while it plays, and those that it keeps. */
  readonly slots: number[];
  readonly kept: readonly number[];
  /** The slots of what the kernel returned. */
  readonly results: readonly number[];
}

/** Places for handles: where, and the slot, one after another. */
type Patches = number[];

/** Numbers in memory to which arguments point, and where handles are written into it before the call. */
interface Numbers {
  readonly memory: Memory;
  readonly values: readonly number[];
  readonly patches: Patches;
}

/** A call of a function, or of the dispatcher. */
interface Step {
  readonly name: string;
  readonly call: Call;
  readonly args: number[];
  /** Indices into `args` and slots. */
  readonly patches: Patches;
  readonly memories: readonly Numbers[];
  readonly dispatch: (() => readonly number[]) | undefined;
  /** Results of the library and the slots for them. */
  readonly made: Patches;
  /** Slots whose handles the library takes over or releases. */
  readonly gone: number[];
}

export interface Recorder {
  /** The library, listened to. */
  readonly library: Library;
  /** Changes when tapes are not valid any more. */
  epoch(): number;
  /** Whatever tapes assume of the contents of tensors may not hold any more. */
  outdate(): void;
  /** What is called from here on cannot be repeated. */
  spoil(): void;
  /**
   * Runs `body`, which returns the handles of what it made, and takes down its calls.
   * @param given handles that the tape will be given anew
   * @returns nothing when the calls cannot be repeated
   */
  record(given: readonly number[], body: () => readonly number[]): Tape | undefined;
}

interface Recording {
  readonly slotOf: Map<number, number>;
  readonly slots: number[];
  readonly steps: Step[];
  readonly borrowed: Set<number>;
  isSpoiled: boolean;
}

const DELETE = 'aoti_torch_delete_tensor_object';
const VIEW = 'aoti_torch__reinterpret_tensor';
const EMPTY = 'aoti_torch_empty_strided';
/** The most elements of memory that a tape keeps. */
const MOST_KEPT = 2 ** 18;
/** Sizes and strides are smaller, handles are larger. */
const LEAST_HANDLE = 2 ** 32;

export function recorderOf(library: Library): Recorder {
  let epoch = 0;
  /** Handles that tapes of this epoch borrow. */
  const pinned = new Set<number>();
  let recording: Recording | undefined;
  const outdate = () => {
    epoch++;
    pinned.clear();
  };
  const spoil = () => {
    if (recording) recording.isSpoiled = true;
  };

  /** Copies of what was last written for an argument, by the address that the library gave it. */
  const copies = new Map<number, Numbers>();
  /** The same numbers in memory of the tape, with handles filled in before each call. */
  function copied(address: number, values: readonly number[], isDouble: boolean): number {
    if (!recording) return address;
    const memory = library.memory(Math.max(1, values.length));
    values.forEach((value, i) => {
      if (isDouble) memory.writeDouble(i, value);
      else memory.write(i, value);
    });
    copies.set(address, { memory, patches: isDouble ? [] : patchesOf(values, () => true), values });
    return address;
  }
  /** Where slots belong among the arguments; other handles are borrowed. */
  function patchesOf(values: readonly unknown[], isHandle: (i: number) => boolean): Patches {
    const { slotOf, borrowed } = recording!;
    return values.flatMap((value, i) => {
      if (typeof value !== 'number' || !isHandle(i)) return [];
      const slot = slotOf.get(value);
      if (slot === undefined && value >= LEAST_HANDLE) borrowed.add(value);
      return slot === undefined ? [] : [i, slot];
    });
  }
  /** The handles leave us. */
  const parted = (handles: readonly number[]): number[] =>
    handles.flatMap((handle) => {
      const slot = recording!.slotOf.get(handle);
      recording!.slotOf.delete(handle);
      return slot ?? [];
    });
  const received = (handle: number): number => {
    const slot = recording!.slots.push(handle) - 1;
    recording!.slotOf.set(handle, slot);
    return slot;
  };

  function takeDownCall(name: string, types: string, values: readonly number[]): void {
    const isPointer = (i: number) => types[i] === 'p';
    const patches = patchesOf(values, isPointer);
    const memories = values.flatMap((value, i) => (isPointer(i) ? (copies.get(value) ?? []) : []));
    const args = values.map((value, i) => (isPointer(i) ? (copies.get(value)?.memory.address ?? value) : value));
    const gone = name === DELETE ? parted(values) : [];
    const call = library.raw(name, types);
    recording!.steps.push({ name, call, args, patches, memories, dispatch: undefined, made: [], gone });
  }

  function takeDownDispatch(name: string, overload: string, values: readonly Slot[], handles: readonly number[]): void {
    const { slots, steps } = recording!;
    const args = values.map((value) =>
      value && typeof value === 'object' && 'list' in value ? { list: [...value.list] } : value,
    );
    const lists = [
      args,
      ...args.flatMap((value) => (value && typeof value === 'object' && 'list' in value ? [value.list] : [])),
    ];
    const patched = lists.map((list) => ({ list: list as unknown[], patches: patchesOf(list, () => true) }));
    const gone = parted(lists.flatMap((list) => list.filter((value) => typeof value === 'number')));
    const made = handles.map(received);
    const dispatch = () => {
      for (const { list, patches } of patched) {
        for (let i = 0; i < patches.length; i += 2) list[patches[i]!] = slots[patches[i + 1]!]!;
      }
      const got = library.dispatch(name, overload, args, made.length);
      for (let i = 0; i < made.length; i++) slots[made[i]!] = got[i]!;
      return got;
    };
    steps.push({ name, call: () => 0, args: [], patches: [], memories: [], dispatch, made: [], gone });
  }

  const listened: Library = {
    ...library,
    invoke: (...args) => {
      spoil();
      library.invoke(...args);
    },
    call: (name, types, ...values) => {
      if (name === DELETE && pinned.has(values[0]!)) outdate();
      library.call(name, types, ...values);
      if (recording) takeDownCall(name, types, values);
    },
    dispatch: (name, overload, slots, results) => {
      const handles = library.dispatch(name, overload, slots, results);
      if (recording) takeDownDispatch(name, overload, slots, handles);
      return handles;
    },
    sizes: (place, values) => copied(library.sizes(place, values), values, false),
    double: (value) => copied(library.double(value), [value], true),
    written: (index = 0) => {
      const handle = library.written(index);
      recording?.steps.at(-1)?.made.push(index, received(handle));
      return handle;
    },
    copyIn: (...args) => {
      spoil();
      library.copyIn(...args);
    },
    copyOut: (...args) => {
      spoil();
      library.copyOut(...args);
    },
  };

  return {
    library: listened,
    epoch: () => epoch,
    outdate,
    spoil,
    record: (given, body) => {
      const slotOf = new Map(given.map((handle, slot) => [handle, slot]));
      const current: Recording = { slotOf, slots: [...given], steps: [], borrowed: new Set(), isSpoiled: false };
      const before = epoch;
      recording = current;
      copies.clear();
      try {
        const handles = body();
        const results = handles.flatMap((handle) => slotOf.get(handle) ?? []);
        if (current.isSpoiled || epoch !== before || results.length < handles.length) return undefined;
        for (const handle of current.borrowed) pinned.add(handle);
        return settled(current, given.length, results, library);
      } finally {
        recording = undefined;
      }
    },
  };
}

/** The tape, with what it can keep made once and for all. */
function settled({ steps, slots }: Recording, given: number, results: readonly number[], library: Library): Tape {
  const released = new Map(
    steps.flatMap((step) => (step.name === DELETE ? step.gone.map((slot) => [slot, step]) : [])),
  );
  const kept: number[] = [];
  const dropped = new Set<Step>();
  slots.fill(0);
  for (const step of steps) {
    const [, slot] = step.made;
    const end = slot === undefined ? undefined : released.get(slot);
    const isSmall = step.name === EMPTY && step.memories[0]!.values.reduce((size, dim) => size * dim, 1) <= MOST_KEPT;
    const isFixed = step.patches.every((at, i) => i % 2 === 0 || kept.includes(at));
    if (!end || !(isSmall || (step.name === VIEW && isFixed))) continue;
    perform(step, slots, library);
    kept.push(slot!);
    dropped.add(step).add(end);
  }
  return { steps: steps.filter((step) => !dropped.has(step)), given, slots, kept, results };
}

function perform(step: Step, slots: number[], library: Library): void {
  const { call, args, patches, memories, dispatch, made, gone } = step;
  if (dispatch) dispatch();
  else {
    for (const { memory, patches: places } of memories) {
      for (let i = 0; i < places.length; i += 2) memory.write(places[i]!, slots[places[i + 1]!]!);
    }
    for (let i = 0; i < patches.length; i += 2) args[patches[i]!] = slots[patches[i + 1]!]!;
    library.check(call(...args));
    for (let i = 0; i < made.length; i += 2) slots[made[i + 1]!] = library.written(made[i]!);
  }
  for (const slot of gone) slots[slot] = 0;
}

/**
 * Repeats the calls with other handles.
 * @returns the handles of what the kernel returns, which are the caller's
 * When a call fails, what the calls before it made is released.
 */
export function play({ steps, given, slots, kept, results }: Tape, handles: readonly number[], library: Library) {
  for (let i = 0; i < given; i++) slots[i] = handles[i]!;
  try {
    for (const step of steps) perform(step, slots, library);
  } catch (error) {
    slots.forEach((handle, slot) => {
      if (slot < given || handle === 0 || kept.includes(slot)) return;
      library.call(DELETE, 'p', handle);
      slots[slot] = 0;
    });
    throw error;
  }
  return results.map((slot) => {
    const handle = slots[slot]!;
    slots[slot] = 0;
    return handle;
  });
}

/** Releases what the tape keeps. */
export function erase({ slots, kept }: Tape, library: Library): void {
  for (const slot of kept) library.call(DELETE, 'p', slots[slot]!);
}
