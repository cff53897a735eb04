/** Log-probs per token of given answers under the engine's weights. */
import type { Engine } from '../engine/index.ts';
import type { LanguageModel } from '../models/index.ts';
import { type Group, packedLength, packGroups, splitByTokens } from '../pairs/index.ts';
import { scoreGraph, scoreInputs } from './programs.ts';

export interface Scorer {
  /**
   * @param budget tokens computed at once
   * @param onBatch called after each batch with the number of groups done
   * @returns for each group and each of its responses, one log-prob (nats) per token
   */
  score(groups: readonly Group[], budget: number, onBatch?: (groups: number) => void): Promise<Float32Array[][]>;
  dispose(): Promise<void>;
}

export async function openScorer(engine: Engine, model: LanguageModel): Promise<Scorer> {
  const program = await engine.compile(scoreGraph(model));
  return {
    score: async (groups, budget, onBatch) => {
      const scores: Float32Array[][] = [];
      for (const batch of splitByTokens(groups, packedLength, budget)) {
        const { logProbs } = await program.run(scoreInputs(packGroups(batch)));
        let at = 0;
        for (const { responses } of batch) {
          scores.push(
            responses.map(({ ids }) => {
              at += ids.length;
              return (logProbs!.data as Float32Array).slice(at - ids.length, at);
            }),
          );
        }
        onBatch?.(batch.length);
      }
      return scores;
    },
    dispose: () => program.dispose(),
  };
}
