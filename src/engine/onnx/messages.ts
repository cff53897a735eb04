/** What main thread and worker say to each other. */
import type { Tensor } from '../contract.ts';
import type { Plan } from './plan.ts';

export interface WorkerSettings {
  readonly threads: number;
}

export type Request =
  | { readonly kind: 'createState'; readonly name: string; readonly shape: readonly number[] }
  | { readonly kind: 'resizeState'; readonly name: string; readonly axis: number; readonly size: number }
  | { readonly kind: 'writeState'; readonly name: string; readonly data: Float32Array }
  | { readonly kind: 'readState'; readonly name: string }
  | { readonly kind: 'dropState'; readonly name: string }
  | { readonly kind: 'compile'; readonly program: number; readonly plan: Plan }
  | {
      readonly kind: 'run';
      readonly program: number;
      readonly inputs: Readonly<Record<string, Tensor>>;
      readonly bindings: ReadonlyMap<string, number>;
    }
  | { readonly kind: 'disposeProgram'; readonly program: number }
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
  ping: undefined;
  close: undefined;
}

export interface Reply {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}
