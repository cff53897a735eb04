// Decoding on SmolLM2-135M's shape at several batch sizes, against the roofline: arithmetic at the GEMM peak or one
// reading of weights and cache, whichever takes longer.

import type { Engine } from '../src/engine/index.ts';
import { gameSampling, openGenerator } from '../src/generation/index.ts';
import { lengths, parameterCounts, randomModel, randomPairs } from './shape.ts';

export const NEW_TOKENS = 128;

/**
 * Prints the figures and returns the tokens/s by batch size.
 * @param peaks FLOP/s in the engine's dtype, bytes/s of reading memory, bytes of an element
 */
export async function benchDecoding(
  engine: Engine,
  peaks: { gemm: number; bandwidth: number; bytes: number },
): Promise<Map<number, number>> {
  const rates = new Map<number, number>();
  const { model } = await randomModel(engine);
  const { body, head } = parameterCounts(model);
  for (const batchSize of [1, 16, 32, 64]) {
    const generator = await openGenerator(engine, model, { batchSize, sampling: gameSampling });
    const requests = randomPairs(batchSize).map(({ promptIds }, i) => ({ id: String(i), promptIds }));
    const settings = { maxNewTokens: NEW_TOKENS, endIds: new Set<number>(), seed: 0, iteration: 0 };
    const runs: number[] = [];
    for (let run = 0; run < 3; run++) {
      const before = { ...generator.stats };
      await generator.generate(requests, settings);
      const { generatedTokens, decodeSeconds } = generator.stats;
      // The first token of each row comes from its prefill.
      const decoded = generatedTokens - before.generatedTokens - batchSize;
      runs.push(decoded / (decodeSeconds - before.decodeSeconds));
    }
    runs.sort((a, b) => a - b);
    const rate = runs[1]!;
    const context = lengths.prompt + NEW_TOKENS / 2;
    const attention = 4 * model.layers * 9 * model.headDim * context;
    const flops = batchSize * (2 * (body + head) + attention);
    const cached = batchSize * context * 2 * model.layers * model.keyValueHeads * model.headDim;
    const bytes = peaks.bytes * (body + head + cached);
    const [compute, memory] = [flops / peaks.gemm, bytes / peaks.bandwidth];
    const roof = batchSize / Math.max(compute, memory);
    console.log(
      `decode batch ${batchSize}: median ${rate.toFixed(0)} tokens/s of 3 (${runs[0]!.toFixed(0)} to ${runs[2]!.toFixed(0)}), ` +
        `${((100 * rate) / roof).toFixed(0)} % of the ${compute > memory ? 'compute' : 'bandwidth'} roofline of ${roof.toFixed(0)}`,
    );
    rates.set(batchSize, rate);
    await generator.dispose();
  }
  return rates;
}
