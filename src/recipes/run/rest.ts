/**
 * Safe points: between two steps, two answers or two shards a run may rest as long as it likes. Nothing is half done
 * there, and whoever makes it rest may compute with the model that is in the engine.
 */
import type { LoadedModel } from '../../checkpoint/index.ts';
import type { Engine } from '../../engine/index.ts';
import type { Stage } from '../../report/index.ts';
import type { ChatTokenizer } from '../../tokens/index.ts';

/** Where a run rests, as its events say it. Iteration null: outside the iterations, or plain SFT. */
export interface Place {
  readonly iteration: number | null;
  /** `train`: the model is half trained; `evaluate`: it is the one that is judged; before: it is the opponent. */
  readonly stage: Stage;
  /** Optimizer steps taken in this iteration; null outside of training. */
  readonly step: number | null;
}

/** The model in the engine at a safe point. A visitor leaves every state of the engine as it was. */
export interface Seat {
  readonly engine: Engine;
  readonly loaded: LoadedModel;
  readonly tokenizer: ChatTokenizer;
  readonly place: Place;
}
