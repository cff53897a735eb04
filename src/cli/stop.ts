// Ctrl-C and SIGTERM: the first asks the recipe to stop where it can go on later, the second ends the process at once.
import type { CliIo, StopSignal } from './io.ts';

/** Exit statuses as shells count them: 128 + number of the signal. */
const STATUS: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143 };

export interface Stop {
  /** Aborted by the first signal. */
  readonly signal: AbortSignal;
  /** Exit status of the first signal, undefined without one. */
  status(): number | undefined;
  /** Signals have their usual effect again. */
  release(): void;
}

/** Listens until `release`; `onFirst` tells the user what happens. */
export function listenForStop(io: Pick<CliIo, 'signals' | 'exit'>, onFirst: () => void): Stop {
  const controller = new AbortController();
  let status: number | undefined;
  const received = (signal: StopSignal) => {
    if (status !== undefined) return io.exit(STATUS[signal]);
    status = STATUS[signal];
    onFirst();
    controller.abort();
  };
  const listeners = (['SIGINT', 'SIGTERM'] as const).map((signal) => {
    const listener = () => received(signal);
    io.signals.on(signal, listener);
    return { signal, listener };
  });
  return {
    signal: controller.signal,
    status: () => status,
    release: () => {
      for (const { signal, listener } of listeners) io.signals.off(signal, listener);
    },
  };
}
