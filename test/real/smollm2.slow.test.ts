// The real model (SmolLM2-135M-Instruct from its GGUF file) against transformers: per-token log-probs and top-5 of
// twenty prompts, greedy answers of 64 tokens. Expected values: scripts/fixtures/real-model.py.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LoadedModel, loadModel } from '../../src/checkpoint/index.ts';
import { type Engine, ints, onnxEngine } from '../../src/engine/index.ts';
import { generate, greedySampling } from '../../src/generation/index.ts';
import { graphBuilder } from '../../src/graph/index.ts';
import { type ChatTokenizer, loadTokenizer } from '../../src/tokens/index.ts';
import { openScorer } from '../../src/training/index.ts';
import { torchForTests } from '../engine/torchForTests.ts';

interface Greedy {
  ids: number[];
  gaps: number[];
  finish: 'stop' | 'length';
}
interface Expected {
  newTokens: number;
  endId: number;
  capital: { question: string; promptIds: number[]; greedy: Greedy; text: string };
  prompts: {
    promptIds: number[];
    answerIds: number[];
    answerLogprobs: number[];
    top: { ids: number[]; logprobs: number[] };
    greedy: Greedy;
  }[];
}

const root = new URL('../../', import.meta.url).pathname;
const data = process.env['SELFPLAY_DATA'] ?? join(root, '../shared/data');
const dir = join(data, 'smollm2-135m-instruct');
const present = existsSync(join(dir, 'config.json'));
if (!present) console.warn(`SKIPPED: no real model below ${data}; set SELFPLAY_DATA`);
const expected = JSON.parse(readFileSync(join(root, 'test/fixtures/real/smollm2.json'), 'utf8')) as Expected;

const torch = await torchForTests('the real model on the torch engine');
const engines: [string, () => Promise<Engine>][] = [
  ['onnx', () => onnxEngine({ threads: 2 })],
  ...(torch ? [['torch', () => torch('f32')] as [string, () => Promise<Engine>]] : []),
];

const answerGroups = () =>
  expected.prompts.map(({ promptIds, answerIds }) => ({
    promptIds: Int32Array.from(promptIds),
    responses: [{ ids: Int32Array.from(answerIds) }],
  }));

describe.skipIf(!present).each(engines)('SmolLM2-135M-Instruct on the %s engine', (_, open) => {
  let engine: Engine;
  let loaded: LoadedModel;
  let tokenizer: ChatTokenizer;

  beforeAll(async () => {
    engine = await open();
    loaded = await loadModel(engine, dir);
    tokenizer = await loadTokenizer(dir);
  });
  afterAll(() => engine.dispose());

  it('gives the log-probs of transformers for twenty human answers', async () => {
    const scorer = await openScorer(engine, loaded.model);
    const scores = await scorer.score(answerGroups(), 2048);
    expected.prompts.forEach(({ answerLogprobs }, i) => {
      answerLogprobs.forEach((logProb, t) => {
        expect(Math.abs(scores[i]![0]![t]! - logProb), `prompt ${i}, token ${t}`).toBeLessThan(1e-3);
      });
    });
    await scorer.dispose();
  });

  it('gives the top five of transformers after twenty prompts', async () => {
    const { model } = loaded;
    const b = graphBuilder();
    const inputs = ['ids', 'positions', 'row'].map((name) => b.input(name, [name === 'row' ? 'one' : 'tokens'], 'i32'));
    const segments = b.input('segments', ['segments', 6], 'i32');
    const hidden = model.hidden(b, inputs[0]!, inputs[1]!, (_, q, k, v, heads) =>
      b.attention(q, k, v, segments, heads),
    );
    b.output('logits', b.matmul(b.gatherRows(hidden, inputs[2]!), model.head(b), { transposeB: true }));
    const program = await engine.compile(b.build());
    for (const { promptIds, top } of expected.prompts) {
      const n = promptIds.length;
      const { logits } = await program.run({
        ids: ints(promptIds),
        positions: ints(promptIds.map((_, i) => i)),
        segments: ints([0, n, 0, n, 0, 0], [1, 6]),
        row: ints([n - 1]),
      });
      const row = logits!.data as Float32Array;
      const largest = row.reduce((a, x) => Math.max(a, x), Number.NEGATIVE_INFINITY);
      const total = largest + Math.log(row.reduce((sum, x) => sum + Math.exp(x - largest), 0));
      const best = [...row.keys()].sort((x, y) => row[y]! - row[x]!).slice(0, 5);
      expect(best).toEqual(top.ids);
      best.forEach((id, i) => {
        expect(Math.abs(row[id]! - total - top.logprobs[i]!)).toBeLessThan(1e-3);
      });
    }
    await program.dispose();
  });

  it('answers greedily as transformers does', async () => {
    const cases = [expected.capital, ...expected.prompts];
    const answers = await generate(
      engine,
      loaded.model,
      cases.map(({ promptIds }, i) => ({ id: String(i), promptIds: Int32Array.from(promptIds) })),
      {
        batchSize: 21,
        sampling: greedySampling,
        maxNewTokens: expected.newTokens,
        endIds: tokenizer.endIds,
        seed: 0,
        iteration: 0,
      },
    );
    cases.forEach(({ greedy }, i) => {
      const ids = [...answers[i]!.ids];
      const first = greedy.ids.findIndex((id, t) => id !== ids[t]);
      if (first >= 0) expect(greedy.gaps[first], `prompt ${i} differs at token ${first}`).toBeLessThan(1e-4);
      else expect(ids).toEqual(greedy.ids);
    });
    expect(tokenizer.decode(answers[0]!.ids)).toBe(expected.capital.text);
  });

  it('encodes the question as transformers does', () => {
    const ids = tokenizer.encodePrompt([{ role: 'user', content: expected.capital.question }]);
    expect([...ids]).toEqual(expected.capital.promptIds);
  });
});

describe.skipIf(!present || !torch)('SmolLM2-135M-Instruct in bf16', () => {
  it('gives answers the log-prob of fp32 to 0.05 nat a token, in the mean over a response', async () => {
    const engine = await torch!('bf16');
    const { model } = await loadModel(engine, dir);
    const scorer = await openScorer(engine, model);
    const scores = await scorer.score(answerGroups(), 2048);
    expected.prompts.forEach(({ answerLogprobs }, i) => {
      const differences = answerLogprobs.map((logProb, t) => scores[i]![0]![t]! - logProb);
      const mean = differences.reduce((a, b) => a + b, 0) / differences.length;
      expect(Math.abs(mean), `prompt ${i}`).toBeLessThan(0.05);
    });
    await engine.dispose();
  });
});
