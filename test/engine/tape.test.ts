/** Recorded calls, on a library that only keeps count of its handles. */
import { describe, expect, it } from 'vitest';
import type { Library, Slot } from '../../src/engine/torch/binding.ts';
import { erase, play, recorderOf } from '../../src/engine/torch/tape.ts';

const FIRST = 2 ** 40;
const RESULT = 2 ** 33;
const SIZES = [2 ** 34, 2 ** 35] as const;

/** Every call makes one handle, except deletions; what was called is kept in words. */
function counting() {
  let next = FIRST;
  let failAt: string | undefined;
  const alive = new Set<number>();
  const said: string[] = [];
  const memories = new Map<number, number[]>();
  let written = 0;
  const make = () => {
    alive.add(++next);
    return next;
  };
  const shown = (value: unknown): string =>
    typeof value === 'number' && memories.has(value) ? `[${memories.get(value)!.map(shown)}]` : String(value);
  const raw =
    (name: string) =>
    (...values: number[]) => {
      if (name === failAt) return 1;
      if (name === 'aoti_torch_delete_tensor_object') {
        if (!alive.delete(values[0]!)) throw new Error(`${values[0]} is not alive`);
      } else {
        for (const value of values) if (value > FIRST && !alive.has(value)) throw new Error(`${value} is not alive`);
        written = make();
      }
      said.push(`${name}(${values.map(shown)})`);
      return 0;
    };
  const check = (code: number) => {
    if (code !== 0) throw new Error('it failed');
  };
  const library = {
    raw,
    check,
    call: (name: string, _: string, ...values: number[]) => check(raw(name)(...values)),
    dispatch: (name: string, _: string, slots: readonly Slot[], results: number) => {
      said.push(
        `${name}(${slots.map((slot) => (slot && typeof slot === 'object' && 'list' in slot ? `{${slot.list}}` : slot))})`,
      );
      const flat = slots.flatMap((slot): (number | null)[] => {
        if (slot && typeof slot === 'object') return 'list' in slot ? [...slot.list] : [];
        return [slot];
      });
      for (const slot of flat) {
        if (typeof slot === 'number' && slot > FIRST && !alive.delete(slot)) throw new Error(`${slot} is not alive`);
      }
      return Array.from({ length: results }, make);
    },
    memory: (words: number) => {
      const at = 2 ** 36 + memories.size * 1024;
      const numbers = new Array<number>(words).fill(0);
      memories.set(at, numbers);
      return {
        address: at,
        write: (word: number, value: number) => void (numbers[word] = value),
        writeDouble: (word: number, value: number) => void (numbers[word] = value),
        read: (word: number) => numbers[word]!,
      };
    },
    sizes: (place: 0 | 1, values: readonly number[]) => {
      memories.set(SIZES[place], [...values]);
      return SIZES[place];
    },
    written: () => written,
    copyIn: () => undefined,
  } as unknown as Library;
  return { library, make, alive, said, fail: (name: string | undefined) => (failAt = name) };
}

type Calls = (library: Library, given: number) => number[];

/** A view of what is given, of `borrowed`, a product with a temporary, through a call, a list and the dispatcher. */
const kernel =
  (borrowed: number): Calls =>
  (library, given) => {
    const free = (handle: number) => library.call('aoti_torch_delete_tensor_object', 'p', handle);
    library.call('view', 'ppp', given, library.sizes(0, [2, 3]), RESULT);
    const view = library.written();
    library.call('aoti_torch__reinterpret_tensor', 'ppp', borrowed, library.sizes(1, [7]), RESULT);
    const fixed = library.written();
    library.call('aoti_torch_empty_strided', 'pp', library.sizes(0, [4]), RESULT);
    const room = library.written();
    library.call('put', 'pppp', view, library.sizes(1, [fixed, view]), room, RESULT);
    const put = library.written();
    library.call('new_handle', 'pp', view, RESULT);
    const handedOver = library.written();
    const [result] = library.dispatch('product', '', [handedOver, null, { list: [put] }, 5], 1);
    for (const handle of [view, fixed, room]) free(handle);
    return [result!];
  };

function opened(body: (borrowed: number) => Calls = kernel) {
  const fake = counting();
  const recorder = recorderOf(fake.library);
  const [borrowed, given, other] = [fake.make(), fake.make(), fake.make()];
  const calls = body(borrowed);
  const tape = recorder.record([given], () => calls(recorder.library, given));
  return { ...fake, recorder, calls, tape, borrowed, given, other };
}

describe('a tape', () => {
  it('repeats the calls with the handles of the time, but for what it has kept', () => {
    const { tape, said, other, alive, library } = opened();
    expect(tape).toBeDefined();
    const before = new Set(alive);
    said.length = 0;
    const results = play(tape!, [other], library);
    const [view, put, handed] = [1, 2, 3].map((i) => Math.max(...before) + i);
    expect(said.map((call) => call.replace(/\[2,3\]/, 'sizes'))).toEqual([
      `view(${other},sizes,${RESULT})`,
      expect.stringMatching(new RegExp(`^put\\(${view},\\[\\d+,${view}\\],\\d+,${RESULT}\\)$`)),
      `new_handle(${view},${RESULT})`,
      `product(${handed},,{${put}},5)`,
      `aoti_torch_delete_tensor_object(${view})`,
    ]);
    // Only the result has come.
    expect([...alive].filter((handle) => !before.has(handle))).toEqual(results);
    play(tape!, [other], library);
    expect(alive.size).toBe(before.size + 2);
  });

  it('gives back what it keeps', () => {
    const { tape, alive, library } = opened();
    const before = alive.size;
    erase(tape!, library);
    expect(alive.size).toBe(before - 2);
  });

  it('releases what a call that fails leaves behind, and can be played again', () => {
    const { tape, alive, library, other, fail } = opened();
    const before = alive.size;
    fail('new_handle');
    expect(() => play(tape!, [other], library)).toThrow('it failed');
    // What `put` made too.
    expect(alive.size).toBe(before);
    fail(undefined);
    expect(play(tape!, [other], library)).toHaveLength(1);
  });

  it.each([
    ['data comes in from the host', (library: Library) => library.copyIn(0, new Float32Array())],
    ['a result is none of its own', undefined],
  ])('is not made when %s', (_, spoil) => {
    const { tape } = opened((borrowed) => (library, given) => {
      spoil?.(library);
      return spoil ? kernel(borrowed)(library, given) : [borrowed];
    });
    expect(tape).toBeUndefined();
  });

  it('is not made when the kernel says that it varies', () => {
    const { recorder, calls, given } = opened();
    const tape = recorder.record([given], () => {
      recorder.spoil();
      return calls(recorder.library, given);
    });
    expect(tape).toBeUndefined();
  });

  it('is not valid any more once something that it borrows is released, or by decree', () => {
    const { recorder, borrowed, other } = opened();
    const epoch = recorder.epoch();
    recorder.library.call('aoti_torch_delete_tensor_object', 'p', other);
    expect(recorder.epoch()).toBe(epoch);
    recorder.library.call('aoti_torch_delete_tensor_object', 'p', borrowed);
    expect(recorder.epoch()).toBe(epoch + 1);
    recorder.outdate();
    expect(recorder.epoch()).toBe(epoch + 2);
  });
});
