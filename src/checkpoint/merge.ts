// An adapter multiplied into its base: W' = W + s·B·A for every adapted layer, saved as a whole Hugging Face directory. The merged
// model takes its name only after its logits were compared with those of base and adapter.

import { type Engine, floats, ints } from '../engine/index.ts';
import { graphBuilder } from '../graph/index.ts';
import { type AdaptedModule, adapterNames, type LanguageModel } from '../models/index.ts';
import { failure, shuffled, usageError } from '../util/index.ts';
import { openAdapter } from './adapter.ts';
import { loadModel } from './engine.ts';
import { parameterTensor } from './layout.ts';
import { demandBase } from './lineage.ts';
import { logitsGraph } from './logits.ts';
import { saveModelDirectory } from './modeldir.ts';
import { companionDirectory, isAdapterDirectory } from './peft.ts';
import { openWholeModel } from './whole.ts';

/** Largest difference of a logit, as a share of the largest logit: in f32 the order of sums makes about 1e-5 of it. */
export const MERGE_TOLERANCE = 1e-3;
const PROMPTS = 4;
const PROMPT_TOKENS = 32;

export interface MergeFigures {
  /** Layers that were changed. */
  readonly layers: number;
  /** Largest difference of a logit between merged and adapter, and the largest logit, over all positions of the prompts. */
  readonly difference: number;
  readonly largest: number;
  /** Positions compared. */
  readonly positions: number;
}

/**
 * Merges the adapter of `dir` into its base and saves the result as `out` (f32).
 * @param engine computes in f32
 * @throws failure when the logits of the merged model differ by more than MERGE_TOLERANCE; then there is no `out`
 */
export async function mergeAdapter(engine: Engine, dir: string, out: string): Promise<MergeFigures> {
  if (!(await isAdapterDirectory(dir))) {
    throw usageError({ what: 'this is no adapter: there is nothing to merge', where: dir });
  }
  await demandBase(dir);
  const { model, adapter, config } = await loadModel(engine, dir);
  const prompts = probes(model);
  const expected = await logits(engine, model, prompts);
  const { base, modules } = adapter!;
  const { source } = await openAdapter(dir);
  const byWeight = new Map(modules.map((module) => [`${module.name}.weight`, module]));
  const { model: plain, weights } = await openWholeModel(base);
  let compared = { difference: 0, largest: 0 };
  await saveModelDirectory(out, {
    sourceDir: await companionDirectory(dir),
    config,
    tensors: plain.parameters.map((parameter) =>
      parameterTensor(parameter, async () => {
        const weight = await weights.read(parameter.name);
        const module = byWeight.get(parameter.name);
        if (!module) return weight;
        const { a, b } = adapterNames(module.name);
        return merged(engine, module, weight, await source.read(a), await source.read(b));
      }),
    ),
    check: async (temporary) => {
      const whole = await loadModel(engine, temporary);
      compared = compare(expected, await logits(engine, whole.model, prompts));
      const { difference, largest } = compared;
      if (difference <= MERGE_TOLERANCE * largest) return;
      throw failure({
        what:
          `the merged model is not the adapter's: a logit differs by ${difference.toPrecision(3)}, ` +
          `and ${(MERGE_TOLERANCE * largest).toPrecision(3)} is allowed (largest logit ${largest.toPrecision(3)})`,
        where: dir,
        fix: 'nothing was saved; use base and adapter as they are',
      });
    },
  });
  return { layers: modules.length, ...compared, positions: prompts.reduce((n, { length }) => n + length, 0) };
}

/** W + s·B·A */
async function merged(
  engine: Engine,
  { shape: [N, K], rank, scale }: AdaptedModule,
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
): Promise<Float32Array> {
  const g = graphBuilder();
  const product = g.matmul(g.input('B', [N, rank]), g.input('A', [rank, K]));
  g.output('merged', g.add(g.input('W', [N, K]), g.affine(product, scale)));
  const program = await engine.compile(g.build());
  const result = await program.run({
    W: floats(weight, [N, K]),
    A: floats(a, [rank, K]),
    B: floats(b, [N, rank]),
  });
  await program.dispose();
  return result['merged']!.data as Float32Array;
}

/** Prompts of ids drawn from the whole vocabulary. */
function probes({ vocabSize, contextLength }: LanguageModel): Int32Array[] {
  const length = Math.min(PROMPT_TOKENS, contextLength);
  const ids = Array.from({ length: vocabSize }, (_, id) => id);
  return Array.from({ length: PROMPTS }, (_, i) => {
    const order = shuffled(ids, i, 'merge');
    return Int32Array.from({ length }, (_, at) => order[at % vocabSize]!);
  });
}

/** Logits of every position of every prompt. */
async function logits(engine: Engine, model: LanguageModel, prompts: readonly Int32Array[]): Promise<Float32Array[]> {
  const program = await engine.compile(logitsGraph(model));
  const found: Float32Array[] = [];
  for (const prompt of prompts) {
    const T = prompt.length;
    const result = await program.run({
      ids: ints(prompt.slice()),
      positions: ints(prompt.map((_, i) => i)),
      segments: ints([0, T, 0, T, 0, 0], [1, 6]),
    });
    found.push(result['logits']!.data as Float32Array);
  }
  await program.dispose();
  return found;
}

function compare(expected: readonly Float32Array[], got: readonly Float32Array[]) {
  let [difference, largest] = [0, 0];
  expected.forEach((row, p) => {
    row.forEach((logit, i) => {
      const apart = Math.abs(logit - got[p]![i]!);
      // NaN compares with nothing: it must not pass for equal.
      if (!(apart <= difference)) difference = Number.isNaN(apart) ? Number.POSITIVE_INFINITY : apart;
      largest = Math.max(largest, Math.abs(logit));
    });
  });
  return { difference, largest };
}
