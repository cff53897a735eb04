// What values take at once, by hand; what training takes with and without gradient checkpointing; what memory there is.

import { describe, expect, it } from 'vitest';
import type { Engine } from '../../src/engine/index.ts';
import { type Holding, hostMemory, peakWhile, plannedBytes } from '../../src/engine/memory.ts';
import { holdingIn } from '../../src/engine/torch/engine.ts';
import { planGraph } from '../../src/engine/torch/plan.ts';
import { graphBuilder } from '../../src/graph/index.ts';
import { modelFromConfig } from '../../src/models/index.ts';
import { trainGraph, trainingBytes } from '../../src/training/index.ts';

const MIB = 2 ** 20;
const plain = { addsAtOnce: true, elementBytes: () => 4, keptLogits: 0 };
const sizes = new Map([['n', 10]]);

describe('plannedBytes', () => {
  it('is the most that lives at once: what is read again, and what is being made', () => {
    const b = graphBuilder();
    const x = b.input('x', ['n', 3]);
    const first = b.exp(x); // 120 bytes, read again at the end
    const second = b.reshape(b.sigmoid(first), [3, 'n']); // 120 more, under another shape
    const third = b.softplus(second); // 120 more: 360
    const sum = b.sumTo(third, []); // second is dead: 240 + 4
    b.output('y', b.mul(first, sum)); // 120 + 4 + 120
    expect(plannedBytes(b.build(), sizes, plain)).toBe(360);
  });

  it('counts a gradient until it is added: at once, or when the run ends', () => {
    const b = graphBuilder();
    const x = b.input('x', ['n']);
    for (const name of ['v', 'w']) b.accumulate(b.state(name, ['n']), b.exp(x));
    b.output('y', b.sumTo(x, []));
    const withStates = new Map([['n', 10]]);
    expect(plannedBytes(b.build(), withStates, plain)).toBe(40);
    expect(plannedBytes(b.build(), withStates, { ...plain, addsAtOnce: false })).toBe(40 + 40 + 4);
  });

  it('knows the elements of lower precision, and that no chunk of logits is larger than 96 MiB', () => {
    const b = graphBuilder();
    const h = b.input('h', ['n', 4]);
    const [made] = b.linear(h, b.state('w', [4, 4]));
    b.output('y', b.tokenLogProbs(made!, b.state('head', [1000, 4]), b.input('targets', ['n'], 'i32')));
    // [10,4] in bf16, [10] in f32, two chunks of [10,1000] in f32.
    expect(plannedBytes(b.build(), sizes, holdingIn('bf16'))).toBe(80 + 40 + 2 * 40_000);
    const many = new Map([['n', 100_000]]);
    expect(plannedBytes(b.build(), many, holdingIn('bf16'))).toBe(800_000 + 400_000 + 2 * 96 * MIB);
  });
});

describe('training', () => {
  const llama = (layers: number) =>
    modelFromConfig(
      {
        model_type: 'llama',
        vocab_size: 64,
        hidden_size: 64,
        intermediate_size: 192,
        num_hidden_layers: layers,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        rms_norm_eps: 1e-5,
      },
      'config.json',
    );
  const model = llama(12);
  const objective = { kind: 'spin', beta: 0.1, sftWeight: 0 } as const;
  const ids = (count: number) => new Int32Array(count);
  const groups = Array.from({ length: 8 }, () => ({
    promptIds: ids(64),
    responses: [{ ids: ids(32) }, { ids: ids(34) }],
  }));
  const engineOf = (holding: Holding): Pick<Engine, 'plannedBytes'> => ({
    plannedBytes: (graph, given) => plannedBytes(graph, given, holding),
  });
  const tokens = 8 * (64 + 31 + 33);

  it.each([
    ['torch in f32', holdingIn('f32')],
    ['torch in bf16', holdingIn('bf16')],
    ['ONNX', { addsAtOnce: false, elementBytes: () => 4, keptLogits: 0 }],
  ])('%s: takes far less with gradient checkpointing', (_, holding) => {
    const bytes = trainingBytes(engineOf(holding), model, objective);
    const [kept, again] = [bytes(groups, false), bytes(groups, true)];
    expect(kept / again).toBeGreaterThan(3);
    expect(bytes(groups.slice(0, 4), true)).toBeLessThan(0.7 * again);
  });

  it('keeps of each block its input and no more: a layer adds one row of D floats a token', () => {
    const of = (layers: number, checkpointing: boolean) =>
      trainingBytes(engineOf(holdingIn('f32')), llama(layers), objective)(groups, checkpointing);
    expect(of(13, true) - of(12, true)).toBe(4 * 64 * tokens);
    // Norms' results 2·64 and 1/rms 2·1; q, k, v 64+32+32; attention and the sum after it 2·64; gate, up, product 3·192; the input.
    expect(of(13, false) - of(12, false)).toBe(4 * (2 * 64 + 2 + 128 + 2 * 64 + 3 * 192 + 64) * tokens);
  });

  it.each([false, true])('every gradient of a matrix is added as it is made, checkpointing %s', (checkpointing) => {
    const { steps } = planGraph(trainGraph(model, objective, checkpointing), false);
    const sinks = new Set(
      steps.flatMap((step) => (step.kind === 'kernel' ? step.sinks.filter((name) => name !== null) : [])),
    );
    expect(sinks.size).toBe(model.parameters.filter(({ shape }) => shape.length === 2).length);
  });
});

describe('the machine', () => {
  it('has more than this process takes', () => {
    const { used, limit, total } = hostMemory();
    expect(used).toBeGreaterThan(10 * MIB);
    expect(limit).toBeGreaterThan(used);
    expect(limit).toBeLessThanOrEqual(total);
  });

  it('peakWhile sees memory that is gone at the end', async () => {
    const engine = { info: { device: 'cpu' }, memory: async () => ({ used: 5, limit: 9, total: 9 }) } as never;
    const before = process.memoryUsage.rss();
    const peak = await peakWhile(engine, async () => {
      let block: Uint8Array | undefined = new Uint8Array(200 * MIB).fill(1);
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(block[7]).toBe(1);
      block = undefined;
    });
    expect(peak - before).toBeGreaterThan(150 * MIB);
    const gpu = { info: { device: 'cuda' }, memory: async () => ({ used: 5, limit: 9, total: 9 }) } as never;
    expect(await peakWhile(gpu, async () => undefined)).toBe(5);
  });
});
