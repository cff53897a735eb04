// A game without an engine: the recipe's own loop with its files, log and decisions, in which training, saving and judging only
// pretend. A simulated model is a config file that says how it was trained; what its dev rows show is a function of that.

import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LoadedModel } from '../../src/checkpoint/index.ts';
import type { Engine } from '../../src/engine/index.ts';
import type { Judged } from '../../src/recipes/game/judge.ts';
import type { RunOutcome } from '../../src/recipes/game/outcome.ts';
import { type SpinInput, spinSchema } from '../../src/recipes/index.ts';
import type { Row } from '../../src/recipes/run/rows.ts';
import { reopenRun, startRun } from '../../src/recipes/run/run.ts';
import { type Moves, play } from '../../src/recipes/spin.ts';
import { listener, writeTinyTokenizer } from './tiny-game.ts';

/** Of 80 rows: enough to see an accuracy of 60 %. */
export const DEV = 80;

/** What the dev rows of a model show, in counts of rows where it does not say otherwise. */
export interface Figures {
  /** Greedy answers that are right. */
  readonly right: number;
  /** Per token of human answers. */
  readonly nats: number;
  /** Nats per token. */
  readonly klToOpponent: number;
  /** Human answers told from the opponent's. */
  readonly told: number;
  /** Greedy answers that repeat one token. */
  readonly looping: number;
  readonly cut: number;
  /** Tokens of every greedy answer. */
  readonly length: number;
  /** Samples that are the human answer. */
  readonly recited: number;
}

/** The SFT model, and every later one unless its world says otherwise. */
const GOOD: Figures = {
  right: 40,
  nats: 1,
  klToOpponent: 0.05,
  told: 70,
  looping: 0,
  cut: 0,
  length: 23,
  recited: 0,
};

/** How a simulated model was trained: θ_{t+1} by an attempt at iteration t. */
export interface Training {
  readonly iteration: number;
  readonly attempt: number;
  readonly learningRate: number;
  readonly beta: number;
}

/** Nature: what training leads to. */
export type World = (training: Training) => Partial<Figures>;

/** What rows are scored by. */
export type Metric = 'score' | 'number' | 'nats/token';

export interface Simulation {
  readonly world: World;
  readonly metric?: Metric;
  /** Called before every move; may throw. */
  readonly before?: (move: keyof Moves) => void;
}

/** Writes data and the SFT model. */
export async function makeSimulation(home: string): Promise<void> {
  const rows = Array.from({ length: DEV + 10 }, (_, i) => ({ question: `row ${i}`, answer: `${i}` }));
  await writeFile(join(home, 'data.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  await writeTinyTokenizer(join(home, 'sft'), rows);
  await writeModel(join(home, 'sft'), null);
}

async function writeModel(dir: string, training: Training | null): Promise<void> {
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, 'model.safetensors'), JSON.stringify(training));
}

const readModel = async (dir: string): Promise<Training | null> =>
  JSON.parse(await readFile(join(dir, 'model.safetensors'), 'utf8'));

/** Plays a game in `home`/`name`, or goes on with it. `trained` lists every training of these processes. */
export async function simulate(
  home: string,
  name: string,
  simulation: Simulation,
  changes: Partial<SpinInput> = {},
): Promise<{ outcome: RunOutcome; said: string[]; trained: Training[] }> {
  const out = join(home, name);
  const settings = spinSchema.parse({
    model: join(home, 'sft'),
    data: join(home, 'data.jsonl'),
    out,
    dev_size: DEV,
    test_size: 4,
    iterations: 2,
    learning_rate: 0.9,
    beta: 0.1,
    preflight: false,
    ...changes,
  } satisfies SpinInput);
  const { context, said } = listener();
  const nothing = { info: { name: 'onnx', version: '0', device: 'cpu', dtype: 'f32', threads: 1 } as const };
  const engine = { ...nothing, dispose: async () => undefined } as unknown as Engine;
  const openEngine = async () => ({ engine, choice: { reasons: [] } });
  const trained: Training[] = [];
  const moves = pretend(simulation, trained);
  const unplayed = () => Promise.reject(new Error('the run is a game'));
  const outcome = existsSync(join(out, 'manifest.json'))
    ? await reopenRun(
        out,
        { ...context, openEngine },
        {},
        { run: (run) => play(run, { moves }), sft: unplayed, dpo: unplayed, probe: unplayed },
      )
    : await startRun('run', settings, { ...context, openEngine }, (run) => play(run, { moves }));
  return { outcome, said, trained };
}

function pretend({ world, metric = 'number', before = () => undefined }: Simulation, trained: Training[]): Moves {
  /** What is in the engine. */
  let current: Training | null = null;
  return {
    load: async (dir) => {
      before('load');
      current = await readModel(dir);
      return {
        model: { modelType: 'simulated', parameters: [], contextLength: 64 },
        config: {},
        dir,
      } as unknown as LoadedModel;
    },
    plan: async () => undefined,
    train: async ({ loaded }, _, t, { number, learningRate, beta }) => {
      before('train');
      // Every attempt starts from the opponent, not from the attempt before.
      if (JSON.stringify(current) !== JSON.stringify(await readModel(loaded.dir))) throw new Error('not the opponent');
      current = { iteration: t, attempt: number, learningRate, beta };
      trained.push(current);
      return true;
    },
    save: async (loaded, dir) => {
      before('save');
      await writeModel(dir, current);
      for (const name of ['tokenizer.json', 'tokenizer_config.json']) await cp(join(loaded.dir, name), join(dir, name));
    },
    judge: async (_, rows, __, { before: opponents }) => {
      before('judge');
      const figures = { ...GOOD, ...(current ? world(current) : {}) };
      return rows.map((row, i) => judged(row, i, figures, metric, opponents !== undefined));
    },
  };
}

function judged({ id, response }: Row, i: number, figures: Figures, metric: Metric, hasOpponent: boolean): Judged {
  const { right, nats, klToOpponent, told, looping, cut, length, recited } = figures;
  const answer = (text: string, ids: Int32Array, isCut: boolean) => ({
    ...{ id, sample: 0, text, ids, logProbs: new Float32Array(ids.length).fill(-nats) },
    finish: isCut ? ('length' as const) : ('end' as const),
  });
  const ids = Int32Array.from({ length }, (_, token) => (i < looping ? 7 : token));
  const scores = metric === 'nats/token' ? {} : { [metric]: i < right ? 1 : 0 };
  const margin = i < told ? 1 : -1;
  return {
    id,
    greedy: answer('greedy', ids, i < cut),
    sample: answer(i < recited ? response : 'sampled', Int32Array.of(1, 2), false),
    human: new Float32Array(4).fill(-nats),
    own: new Float32Array(2).fill(-nats),
    scores: { ...scores, 'nats/token': nats, ...(hasOpponent ? { 'real-vs-generated': margin > 0 ? 1 : 0 } : {}) },
    ...(hasOpponent ? { against: { margin, klToOpponent, klToBase: klToOpponent } } : {}),
  };
}
