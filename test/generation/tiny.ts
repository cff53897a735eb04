/**
 * A tiny random Llama in an engine, an engine that records what runs, and a generator without cache or batch to compare
 * with.
 */
import { type Engine, floats, ints, type Tensor } from '../../src/engine/index.ts';
import { GENERATION_STREAM, type GenerationRequest, type Sampling } from '../../src/generation/index.ts';
import { type GraphBuilder, graphBuilder, type Value } from '../../src/graph/index.ts';
import { type LanguageModel, modelFromConfig } from '../../src/models/index.ts';
import { normals, rowKey, uniform } from '../../src/util/index.ts';

export const VOCABULARY = 40;
export const CONTEXT = 160;

export const tinyModel: LanguageModel = modelFromConfig(
  {
    model_type: 'llama',
    vocab_size: VOCABULARY,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: CONTEXT,
    rms_norm_eps: 1e-5,
  },
  'tiny/config.json',
);

/** Random weights, scaled so that logits have a standard deviation of about 2: neither flat nor certain. */
export async function writeWeights(engine: Engine, seed = 7): Promise<void> {
  for (const { name, shape, initial } of tinyModel.parameters) {
    const count = shape.reduce((n, dim) => n * dim, 1);
    const scale = name === 'model.embed_tokens.weight' ? 1 : 2 / Math.sqrt(shape[1] ?? 1);
    await engine.createState(name, shape);
    const values = initial === 'ones' ? new Float32Array(count).fill(1) : normals(count, seed, name);
    if (initial !== 'ones') for (let i = 0; i < count; i++) values[i]! *= scale;
    await engine.writeState(name, values);
  }
}

/** `count` requests with prompts of 1 to 17 tokens, all different. */
export function tinyRequests(count: number): GenerationRequest[] {
  return Array.from({ length: count }, (_, i) => ({
    id: `row-${i}`,
    promptIds: promptOf(1 + ((i * 5) % 17), i),
  }));
}

/** A prompt of `length` ids that depends on `salt`. */
export function promptOf(length: number, salt = 0): Int32Array {
  return Int32Array.from({ length }, (_, t) => (t * t * 7 + t * (salt + 3) + salt * 11) % VOCABULARY);
}

export interface RecordedRun {
  kind: 'prefill' | 'decode' | 'move';
  inputs: Record<string, number[]>;
}

/** The same engine, which notes every run of the programs compiled through it and every resize of a state. */
export function recording(engine: Engine) {
  const runs: RecordedRun[] = [];
  const resizes: { name: string; axis: number; size: number }[] = [];
  let live = 0;
  let compiled = 0;
  const recorder: Engine = {
    info: engine.info,
    createState: (name, shape) => engine.createState(name, shape),
    writeState: (name, data) => engine.writeState(name, data),
    readState: (name) => engine.readState(name),
    dropState: (name) => engine.dropState(name),
    states: () => engine.states(),
    dispose: () => engine.dispose(),
    plannedBytes: (graph, sizes) => engine.plannedBytes(graph, sizes),
    memory: () => engine.memory(),
    resizeState: (name, axis, size) => {
      resizes.push({ name, axis, size });
      return engine.resizeState(name, axis, size);
    },
    compile: async (graph, options) => {
      const program = await engine.compile(graph, options);
      live++;
      compiled++;
      return {
        run: (inputs) => {
          const kind = 'segments' in inputs ? 'prefill' : 'from' in inputs ? 'move' : 'decode';
          const copies = Object.entries(inputs).map(([name, { data }]) => [name, Array.from(data)] as const);
          runs.push({ kind, inputs: Object.fromEntries(copies) });
          return program.run(inputs);
        },
        dispose: () => {
          live--;
          return program.dispose();
        },
      };
    },
  };
  return { engine: recorder, runs, resizes, live: () => live, compiled: () => compiled };
}

/** Hidden states of one packed sequence: inputs ids and positions [tokens], segments [segments,6]. */
function hiddenStates(b: GraphBuilder): Value {
  const segments = b.input('segments', ['segments', 6], 'i32');
  const [ids, positions] = [b.input('ids', ['tokens'], 'i32'), b.input('positions', ['tokens'], 'i32')];
  return tinyModel.hidden(b, ids, positions, (_, q, k, v, heads) => b.attention(q, k, v, segments, heads));
}

function sequence(ids: readonly number[]): Record<string, Tensor> {
  const T = ids.length;
  return { ids: ints(ids), positions: ints(ids.map((_, t) => t)), segments: ints([0, T, 0, T, 0, 0], [1, 6]) };
}

/** One forward pass over `ids`: logits [T][V], and the scored log-prob of each id after the first. */
export async function forward(engine: Engine, ids: readonly number[]) {
  const b = graphBuilder();
  const hidden = hiddenStates(b);
  b.output('logits', b.matmul(hidden, tinyModel.head(b), { transposeB: true }));
  const scored = b.gatherRows(hidden, b.input('rows', ['scored'], 'i32'));
  b.output('logProbs', b.tokenLogProbs(scored, tinyModel.head(b), b.input('targets', ['scored'], 'i32')));
  const program = await engine.compile(b.build());
  const T = ids.length;
  const out = await program.run({
    ...sequence(ids),
    rows: ints(Array.from({ length: T - 1 }, (_, t) => t)),
    targets: ints(ids.slice(1)),
  });
  await program.dispose();
  const flat = out['logits']!.data;
  const logits = Array.from({ length: T }, (_, t) => Array.from(flat.subarray(t * VOCABULARY, (t + 1) * VOCABULARY)));
  return { logits, logProbs: Array.from(out['logProbs']!.data) };
}

/** Generates one row without cache or batch: the whole sequence runs again for every token. */
export async function naive(
  engine: Engine,
  { id, sample = 0, promptIds }: GenerationRequest,
  { sampling, seed, iteration, count }: { sampling: Sampling; seed: number; iteration: number; count: number },
): Promise<{ ids: number[]; logProbs: number[] }> {
  const b = graphBuilder();
  const hidden = hiddenStates(b);
  const last = b.gatherRows(hidden, b.input('last', ['one'], 'i32'));
  const logits = b.matmul(last, tinyModel.head(b), { transposeB: true });
  const [chosen, logProb] = b.sample(logits, b.input('uniforms', ['one']), { ...sampling });
  b.output('id', chosen);
  b.output('logProb', logProb);
  const program = await engine.compile(b.build());
  const ids = Array.from(promptIds);
  const logProbs: number[] = [];
  for (let n = 0; n < count; n++) {
    const out: Record<string, Tensor> = await program.run({
      ...sequence(ids),
      last: ints([ids.length - 1]),
      uniforms: floats(Float32Array.of(uniform(seed, GENERATION_STREAM, iteration, rowKey(id), sample, n))),
    });
    ids.push(out['id']!.data[0]!);
    logProbs.push(out['logProb']!.data[0]!);
  }
  await program.dispose();
  return { ids: ids.slice(promptIds.length), logProbs };
}
