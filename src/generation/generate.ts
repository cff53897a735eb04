/**
 * Continuous batching: rows of different lengths decode together, and a finished row makes room for the next prompt.
 *
 * An answer depends only on its prompt, its id and sample, the seed and the iteration, never on its neighbours: random
 * numbers are addressed (sampling.ts), a prompt attends to itself only, and a decoding row to its own cache slot. The
 * log-probs share this as far as the engine's products do not depend on the number of rows.
 */
import { type Engine, floats, ints, type Program, type Tensor } from '../engine/index.ts';
import type { LanguageModel } from '../models/index.ts';
import { failure, usageError } from '../util/index.ts';
import { openCache } from './cache.ts';
import { decodeGraph, moveGraph, prefillGraph } from './programs.ts';
import { type Completion, type GenerationRequest, type GenerationSettings, openRows, type Row } from './requests.ts';
import { checkSampling, type Sampling, tokenUniforms } from './sampling.ts';
import { compact, type Slots, seatNext, shouldRefill } from './slots.ts';

export interface GeneratorOptions {
  /** Most rows that decode together. It changes the speed and the memory, not the answers. */
  readonly batchSize: number;
  readonly sampling: Sampling;
  /** Name of its KV cache: two generators that live on an engine at the same time need two. */
  readonly cache?: string;
}

/** Running totals of a generator, over all of its calls. */
export interface GenerationStats {
  promptTokens: number;
  generatedTokens: number;
  prefillRuns: number;
  decodeSteps: number;
  prefillSeconds: number;
  /** Includes moving and growing the cache. */
  decodeSeconds: number;
}

/** Compiled programs and a KV cache, kept between calls. */
export interface CompletionGenerator {
  readonly stats: Readonly<GenerationStats>;
  /**
   * One completion per request, in request order. Throws a usage error naming the row or setting before anything runs,
   * and the reason of an aborted signal. One call at a time. Requests with the same id, sample and prompt get the same
   * answer.
   */
  generate(requests: readonly GenerationRequest[], settings: GenerationSettings): Promise<Completion[]>;
  /** Releases programs and cache. The weights stay, and may be written again. */
  dispose(): Promise<void>;
}

/** Compiles generation for weights that are states of the engine already; they must not change until `dispose`. */
export async function openGenerator(
  engine: Engine,
  model: LanguageModel,
  { batchSize, sampling, cache: cacheName = 'cache' }: GeneratorOptions,
): Promise<CompletionGenerator> {
  checkSampling(sampling);
  if (!Number.isInteger(batchSize) || batchSize < 1) {
    throw usageError({ what: `batchSize is ${batchSize}, expected a whole number from 1` });
  }
  const cache = await openCache(engine, model, cacheName);
  const programs: Program[] = [];
  async function dispose(): Promise<void> {
    for (const program of programs.splice(0)) await program.dispose();
    await cache.drop();
  }
  async function compile(graph: ReturnType<typeof moveGraph>): Promise<Program> {
    const program = await engine.compile(graph, { freeze: true });
    programs.push(program);
    return program;
  }
  const stats: GenerationStats = {
    promptTokens: 0,
    generatedTokens: 0,
    prefillRuns: 0,
    decodeSteps: 0,
    prefillSeconds: 0,
    decodeSeconds: 0,
  };
  try {
    const prefill = await compile(prefillGraph(model, sampling, cacheName));
    const decode = await compile(decodeGraph(model, sampling, cacheName));
    const move = await compile(moveGraph(model, cacheName));
    let busy = false;
    return {
      stats,
      dispose,
      generate: async (requests, settings) => {
        if (busy) throw failure({ what: 'this generator is generating already; its calls share one cache' });
        busy = true;
        try {
          const machine = { model, cache, prefill, decode, move, batchSize, stats };
          return await run(machine, openRows(requests, settings, model), settings);
        } finally {
          busy = false;
        }
      },
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** `openGenerator`, one call, `dispose`. */
export async function generate(
  engine: Engine,
  model: LanguageModel,
  requests: readonly GenerationRequest[],
  settings: GeneratorOptions & GenerationSettings,
): Promise<Completion[]> {
  const generator = await openGenerator(engine, model, settings);
  try {
    return await generator.generate(requests, settings);
  } finally {
    await generator.dispose();
  }
}

interface Machine {
  readonly model: LanguageModel;
  readonly cache: Awaited<ReturnType<typeof openCache>>;
  readonly prefill: Program;
  readonly decode: Program;
  readonly move: Program;
  readonly batchSize: number;
  readonly stats: GenerationStats;
}

async function run(machine: Machine, rows: readonly Row[], settings: GenerationSettings): Promise<Completion[]> {
  const { cache, stats } = machine;
  const { endIds, signal, onToken, onProgress, onCompletion } = settings;
  const uniformOf = tokenUniforms(settings.seed, settings.iteration);
  const nextUniform = (row: Row) => uniformOf(row.key, row.sample, row.ids.length);
  const completions: Completion[] = new Array(rows.length);
  const waiting = [...rows];
  const slotCount = Math.min(machine.batchSize, rows.length);
  const slots: Slots = [];
  const progress = { rows: 0, tokens: 0 };

  /** Appends what a run sampled for the rows in `seats`; finished rows leave their slots. */
  async function append(seats: readonly number[], sampled: Readonly<Record<string, Tensor>>): Promise<void> {
    const ids = sampled['ids']!.data;
    const logProbs = sampled['logProbs']!.data;
    progress.tokens += seats.length;
    stats.generatedTokens += seats.length;
    for (const [i, slot] of seats.entries()) {
      const row = slots[slot]!;
      const id = ids[i]!;
      if (!Number.isFinite(logProbs[i])) {
        throw failure({
          what: `row "${row.id}": the model gives token ${id} the log-probability ${logProbs[i]}`,
          fix: 'the weights hold infinite or undefined numbers: training diverged, or the file is damaged',
        });
      }
      row.ids.push(id);
      row.logProbs.push(logProbs[i]!);
      onToken?.(id, row.id);
      const ended = endIds.has(id);
      if (!ended && row.ids.length < row.limit) continue;
      slots[slot] = undefined;
      progress.rows++;
      const completion: Completion = {
        id: row.id,
        sample: row.sample,
        ids: Int32Array.from(row.ids),
        logProbs: Float32Array.from(row.logProbs),
        finish: ended ? 'end' : 'length',
      };
      completions[row.index] = completion;
      await onCompletion?.(completion);
    }
    onProgress?.({ ...progress });
  }

  async function prefillNext(): Promise<void> {
    const start = performance.now();
    const seated = seatNext(slots, slotCount, waiting);
    await cache.reserve(slotCount, Math.max(...seated.map(({ row }) => row.promptIds.length)));
    const sampled = await machine.prefill.run(packPrompts(seated, nextUniform));
    for (const { row } of seated) stats.promptTokens += row.promptIds.length;
    stats.prefillRuns++;
    stats.prefillSeconds += (performance.now() - start) / 1000;
    await append(
      seated.map(({ slot }) => slot),
      sampled,
    );
  }

  async function decodeStep(): Promise<void> {
    const start = performance.now();
    const { from, to } = compact(slots);
    if (from.length > 0) await machine.move.run({ from: ints(from), to: ints(to) });
    const active = slots as Row[]; // dense after compact()
    const seats = active.map((_, slot) => slot);
    // The newest token of a row is not cached yet: its position is the number of tokens before it.
    const positions = Int32Array.from(active, (row) => row.promptIds.length + row.ids.length - 1);
    await cache.reserve(slotCount, Math.max(...positions) + 1);
    const sampled = await machine.decode.run({
      ids: ints(active.map((row) => row.ids[row.ids.length - 1]!)),
      positions: ints(positions),
      slots: ints(seats),
      uniforms: floats(Float32Array.from(active, nextUniform)),
    });
    stats.decodeSteps++;
    stats.decodeSeconds += (performance.now() - start) / 1000;
    await append(seats, sampled);
  }

  await cache.clear();
  while (progress.rows < rows.length) {
    signal?.throwIfAborted();
    if (shouldRefill(slots, slotCount, waiting.length)) await prefillNext();
    else await decodeStep();
  }
  return completions;
}

/** Prompts back to back, one segment each: the inputs of `prefillGraph`. */
function packPrompts(
  seated: readonly { row: Row; slot: number }[],
  uniformOf: (row: Row) => number,
): Record<string, Tensor> {
  const tokens = seated.reduce((sum, { row }) => sum + row.promptIds.length, 0);
  const ids = new Int32Array(tokens);
  const positions = new Int32Array(tokens);
  const slots = new Int32Array(tokens);
  const segments = new Int32Array(seated.length * 6);
  const lastRows = new Int32Array(seated.length);
  let start = 0;
  for (const [i, { row, slot }] of seated.entries()) {
    const end = start + row.promptIds.length;
    ids.set(row.promptIds, start);
    for (let t = start; t < end; t++) positions[t] = t - start;
    slots.fill(slot, start, end);
    segments.set([start, end, start, end, 0, 0], i * 6);
    lastRows[i] = end - 1;
    start = end;
  }
  return {
    ids: ints(ids),
    positions: ints(positions),
    slots: ints(slots),
    segments: ints(segments, [seated.length, 6]),
    lastRows: ints(lastRows),
    uniforms: floats(Float32Array.from(seated, ({ row }) => uniformOf(row))),
  };
}
