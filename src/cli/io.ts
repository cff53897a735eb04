// What the command line needs of its process, so that a test can put its own in place.
import type { ProgressStream } from '../report/index.ts';

export interface CliIo {
  /** What is typed, or comes through a pipe; only commands that talk read it. */
  readonly stdin: NodeJS.ReadableStream & { isTTY?: boolean };
  /** Data, and nothing else. */
  readonly stdout: { write(text: string): unknown; isTTY?: boolean; columns?: number };
  /** Progress and sentences. */
  readonly stderr: ProgressStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Current directory, to which relative paths are relative. */
  readonly directory: string;
  /** Executable and first arguments that run this command line in a process of its own. */
  readonly command: readonly [string, ...string[]];
  readonly signals: {
    on(signal: StopSignal, listener: () => void): unknown;
    off(signal: StopSignal, listener: () => void): unknown;
  };
  /** Ends the process at once. */
  readonly exit: (code: number) => void;
}

export type StopSignal = 'SIGINT' | 'SIGTERM';
