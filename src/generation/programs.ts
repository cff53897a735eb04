/**
 * The three graphs of generation, from one model: `prefill` reads whole prompts and samples their first answer tokens,
 * `decode` adds one token to every active row, `move` copies rows of the cache. All of them write the KV cache, a pair
 * of states per layer, by effects; only ids and log-probs leave the engine.
 */
import { type Graph, type GraphBuilder, graphBuilder, type Value } from '../graph/index.ts';
import { type LanguageModel, logitsOf } from '../models/index.ts';
import type { Sampling } from './sampling.ts';

/** Names of the states of a layer in a cache, each [slots, G, capacity, d]. */
export function cacheNames(cache: string, layer: number): { keys: string; values: string } {
  return { keys: `${cache}.k.${layer}`, values: `${cache}.v.${layer}` };
}

function caches(b: GraphBuilder, model: LanguageModel, cache: string, layer: number): [Value, Value] {
  const shape = ['slots', model.keyValueHeads, 'capacity', model.headDim];
  const { keys, values } = cacheNames(cache, layer);
  return [b.state(keys, shape), b.state(values, shape)];
}

/** hidden [R,D], uniforms [R] -> outputs ids [R], logProbs [R] */
function sampleRows(b: GraphBuilder, model: LanguageModel, hidden: Value, uniforms: Value, sampling: Sampling): void {
  const { temperature, topK, topP } = sampling;
  const [ids, logProbs] = b.sample(logitsOf(b, model, hidden), uniforms, { temperature, topK, topP });
  b.output('ids', ids);
  b.output('logProbs', logProbs);
}

/**
 * Packed prompts: ids, positions and slots [tokens], segments [prompts,6] (one per prompt, over itself), lastRows
 * [prompts] (packed index of each prompt's last token), uniforms [prompts] -> ids, logProbs [prompts]. The head runs
 * on the last rows only.
 */
export function prefillGraph(model: LanguageModel, sampling: Sampling, cache: string): Graph {
  const b = graphBuilder();
  const ids = b.input('ids', ['tokens'], 'i32');
  const positions = b.input('positions', ['tokens'], 'i32');
  const slots = b.input('slots', ['tokens'], 'i32');
  const segments = b.input('segments', ['prompts', 6], 'i32');
  const lastRows = b.input('lastRows', ['prompts'], 'i32');
  const uniforms = b.input('uniforms', ['prompts']);
  const hidden = model.hidden(b, ids, positions, (layer, q, k, v, heads) => {
    const [keys, values] = caches(b, model, cache, layer);
    b.cacheWrite(keys, slots, positions, k);
    b.cacheWrite(values, slots, positions, v);
    return b.attention(q, k, v, segments, heads);
  });
  sampleRows(b, model, b.gatherRows(hidden, lastRows), uniforms, sampling);
  return b.build();
}

/**
 * One step of the rows in slots 0..B-1: ids [rows] (the newest token of each), positions [rows] (its position, which is
 * also the number of cached tokens before it), slots [rows], uniforms [rows] -> ids, logProbs [rows].
 */
export function decodeGraph(model: LanguageModel, sampling: Sampling, cache: string): Graph {
  const b = graphBuilder();
  const ids = b.input('ids', ['rows'], 'i32');
  const positions = b.input('positions', ['rows'], 'i32');
  const slots = b.input('slots', ['rows'], 'i32');
  const uniforms = b.input('uniforms', ['rows']);
  const hidden = model.hidden(b, ids, positions, (layer, q, k, v, heads) => {
    const [keys, values] = caches(b, model, cache, layer);
    b.cacheWrite(keys, slots, positions, k);
    b.cacheWrite(values, slots, positions, v);
    return b.decodeAttention([q, k, v], [keys, values], positions, heads);
  });
  sampleRows(b, model, hidden, uniforms, sampling);
  return b.build();
}

/** from [moves], to [moves]: in every layer, slot to[i] becomes a copy of slot from[i], in order. */
export function moveGraph(model: LanguageModel, cache: string): Graph {
  const b = graphBuilder();
  const from = b.input('from', ['moves'], 'i32');
  const to = b.input('to', ['moves'], 'i32');
  for (let layer = 0; layer < model.layers; layer++) {
    for (const state of caches(b, model, cache, layer)) b.cacheMove(state, from, to);
  }
  return b.build();
}
