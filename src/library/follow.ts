/** Following something that goes on elsewhere, by an async iterator. */

/** Wakes whoever waits. Take `next` before you look: a ring after that is not missed. */
export interface Bell {
  readonly next: () => Promise<void>;
  readonly ring: () => void;
}

export function openBell(): Bell {
  let waiting = deferred<void>();
  return {
    next: () => waiting.promise,
    ring: () => {
      const { resolve } = waiting;
      waiting = deferred();
      resolve();
    },
  };
}

/** A promise with the two functions that settle it. */
export function deferred<T>() {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((fulfil, refuse) => {
    [resolve, reject] = [fulfil, refuse];
  });
  return { promise, resolve, reject };
}

/** What is followed: it tells its news by the bell, and is over when the outcome is there. */
export interface Source<T> {
  readonly bell: Bell;
  /** What is new since the last call, of which something may be left for the next; empty: nothing more so far. */
  readonly read: () => readonly T[];
  readonly outcome: Promise<unknown>;
  /** The reader has left before the end: stops the source, and resolves when it has stopped. */
  readonly leave: () => Promise<void>;
}

/** Everything from the source, in order; then it ends as the outcome does, and so throws what that throws. */
export async function* follow<T>({ bell, read, outcome, leave }: Source<T>): AsyncGenerator<T, void, undefined> {
  let isOver = false;
  const end = () => {
    isOver = true;
    bell.ring();
  };
  outcome.then(end, end);
  try {
    for (;;) {
      const [wasOver, news] = [isOver, bell.next()];
      const items = read();
      yield* items;
      if (items.length > 0) continue;
      if (wasOver) break;
      await news;
    }
    await outcome;
  } finally {
    if (!isOver) await leave();
  }
}
