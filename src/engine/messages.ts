/** What an engine's main thread and its worker say to each other. P: what the worker is told about a program. */
import type { ErrorCode } from '../util/index.ts';
import type { MemoryNow, StateOptions, Tensor } from './contract.ts';

export type Request<P> =
  | {
      readonly kind: 'createState';
      readonly name: string;
      readonly shape: readonly number[];
      readonly options: StateOptions;
    }
  | { readonly kind: 'resizeState'; readonly name: string; readonly axis: number; readonly size: number }
  | { readonly kind: 'writeState'; readonly name: string; readonly data: Float32Array }
  | { readonly kind: 'readState'; readonly name: string }
  | { readonly kind: 'dropState'; readonly name: string }
  | { readonly kind: 'compile'; readonly program: number; readonly plan: P }
  | {
      readonly kind: 'run';
      readonly program: number;
      readonly inputs: Readonly<Record<string, Tensor>>;
      readonly bindings: ReadonlyMap<string, number>;
    }
  | { readonly kind: 'disposeProgram'; readonly program: number }
  | { readonly kind: 'memory' }
  | { readonly kind: 'ping' }
  | { readonly kind: 'close' };

/** What each kind of request returns. */
export interface Results {
  createState: undefined;
  resizeState: undefined;
  writeState: undefined;
  readState: Float32Array;
  dropState: undefined;
  compile: undefined;
  run: Record<string, Tensor>;
  disposeProgram: undefined;
  memory: MemoryNow | undefined;
  ping: undefined;
  close: undefined;
}

/** An error that crosses threads. */
export interface Problem {
  readonly what: string;
  readonly fix?: string | undefined;
  readonly code?: ErrorCode | undefined;
}

/** The answer to a request, or why there is none. The worker first says `hello`: what it found when it opened. */
export type Reply<H> =
  | { readonly kind: 'hello'; readonly hello: H }
  | { readonly kind: 'stillborn'; readonly problem: Problem }
  | { readonly kind: 'result'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'problem'; readonly id: number; readonly problem: Problem };
