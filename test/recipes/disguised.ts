// The ONNX engine under other names and with other weaknesses: to see what recipes do when engines differ.

import { type Engine, type EngineInfo, onnxEngine, type Tensor } from '../../src/engine/index.ts';

type Inputs = Readonly<Record<string, Tensor>>;

export interface Disguise {
  readonly info?: Partial<EngineInfo>;
  /** Called before every micro-batch of training with its tokens; may throw. */
  readonly beforeTraining?: (tokens: number) => void;
  /** Called before every micro-batch of training with the weights of its pairs. */
  readonly onWeights?: (weights: ArrayLike<number> & Iterable<number>) => void;
  /** Log-probs off by up to 0.1 nat, depending on everything that is computed together, as in reduced precision. */
  readonly rough?: boolean;
}

/** How far off row i of a micro-batch is. */
function roughness({ ids }: Inputs): (row: number) => number {
  let hash = 0;
  for (const id of ids!.data) hash = (hash * 31 + id) % 65_521;
  return (row) => ((hash + row * 7919) % 101) / 1000;
}

/** Programs that train have a weight per pair, those that score have targets and none. */
export async function disguised({ info = {}, beforeTraining, onWeights, rough = false }: Disguise): Promise<Engine> {
  const engine = await onnxEngine({ threads: 1 });
  return {
    ...engine,
    info: { ...engine.info, ...info },
    compile: async (graph, options) => {
      const program = await engine.compile(graph, options);
      return {
        ...program,
        run: async (inputs) => {
          const trains = 'pairWeight' in inputs;
          if (trains) beforeTraining?.(inputs['ids']!.data.length);
          if (trains) onWeights?.(inputs['pairWeight']!.data);
          const isSft = 'tokenWeights' in inputs && !trains;
          if (!rough || !('targets' in inputs) || isSft) return program.run(inputs);
          const off = roughness(inputs);
          if (trains) {
            // A forward pass that is off by so much is the exact one against a reference that is off the other way.
            const reference = (inputs['reference']!.data as Float32Array).map((x, row) => x - off(row));
            return program.run({ ...inputs, reference: { ...inputs['reference']!, data: reference } });
          }
          const { logProbs, ...others } = await program.run(inputs);
          return { ...others, logProbs: { ...logProbs!, data: logProbs!.data.map((x, row) => x + off(row)) } };
        },
      };
    },
  };
}
