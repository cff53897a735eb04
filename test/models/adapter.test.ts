// Adapters as a transformation of a model: gradients of A and B, what is computed and what is not, which layers, refusals.
import { describe, expect, it } from 'vitest';
import { type Graph, graphBuilder } from '../../src/graph/index.ts';
import { type LoraConfig, trainable, withAdapter } from '../../src/models/index.ts';
import { gradientName, trainGraph } from '../../src/training/index.ts';
import { checkGradients } from '../autodiff/finite-differences.ts';
import { array } from '../reference/array.ts';
import { evaluateOn } from '../reference/differentiate.ts';
import { randomArray } from '../reference/random.ts';
import { pairInputs, pairLoss, tinyLlama, tinyWeights } from '../reference/tiny-llama.ts';

const lora = (changes: Partial<LoraConfig> = {}): LoraConfig => ({
  rank: 2,
  alpha: 3,
  rankStabilized: false,
  dropout: 0,
  targets: 'all-linear',
  rankPattern: {},
  alphaPattern: {},
  ...changes,
});
const sft = { kind: 'sft' } as const;
const statesOf = ({ nodes }: Graph) =>
  nodes.flatMap(({ op, attributes }) => (op === 'state' ? [(attributes as { name: string }).name] : []));
const learnedOf = (targets: LoraConfig['targets'], tied = false) =>
  trainable(withAdapter(tinyLlama(tied), lora({ targets })))
    .filter(({ name }) => name.endsWith('.lora_A.weight'))
    .map(({ name }) => name.slice(0, -'.lora_A.weight'.length));

describe('an adapter', () => {
  it.each([
    ['with dropout', lora({ dropout: 0.4 })],
    ['on some layers, rank-stabilised', lora({ targets: ['q_proj', 'mlp.*'], rankStabilized: true })],
  ])('%s: the gradient of every A and B', (_, config) => {
    const model = withAdapter(tinyLlama(true), config);
    const inputs = pairInputs(model);
    const keys = randomArray('keys', inputs['ids']!.shape, 2 ** 30);
    const values = {
      ...inputs,
      ...tinyWeights(model),
      keys: array(
        keys.data.map((key) => Math.round(key) | 0),
        keys.shape,
      ),
    };
    checkGradients(
      (b) => {
        const dropoutKeys = config.dropout > 0 ? b.input('keys', ['tokens'], 'i32') : undefined;
        const hidden: typeof model.hidden = (builder, ids, positions, attend) =>
          model.hidden(builder, ids, positions, attend, dropoutKeys);
        const parameters = trainable(model);
        return pairLoss(b, { ...model, hidden, parameters });
      },
      values,
      6,
    );
  });

  it('begins as the model that it adapts, whatever A is', () => {
    const plain = tinyLlama(false);
    const model = withAdapter(plain, lora());
    const values = { ...pairInputs(model), ...tinyWeights(model) };
    for (const { name, shape, initial } of model.parameters) {
      if (initial === 'zeros') values[name] = array(new Float64Array(shape[0]! * shape[1]!), shape);
    }
    const lossOf = (of: typeof model) => {
      const b = graphBuilder();
      b.output('loss', pairLoss(b, of).loss);
      return evaluateOn(b.build(), values).outputs['loss']!.data[0];
    };
    expect(lossOf(model)).toBe(lossOf(plain));
  });

  it('counts its product α/r times, or α/√r times; by module where a pattern says so', () => {
    const scales = (changes: Partial<LoraConfig>) => {
      const b = graphBuilder();
      const model = withAdapter(tinyLlama(false), lora(changes));
      model.hidden(b, b.input('ids', ['t'], 'i32'), b.input('positions', ['t'], 'i32'), (_, q) => q);
      return b
        .build()
        .nodes.flatMap(({ op, attributes }) => (op === 'affine' ? [(attributes as { scale: number }).scale] : []));
    };
    const targets = ['q_proj'];
    expect(scales({ targets })).toEqual([1.5, 1.5]);
    expect(scales({ targets, rankStabilized: true })).toEqual([3 / Math.sqrt(2), 3 / Math.sqrt(2)]);
    expect(
      scales({ targets, rankPattern: { 'layers\\.1\\..*': 5 }, alphaPattern: { 'layers.0.self_attn.q_proj': 8 } }),
    ).toEqual([4, 3 / 5]);
  });

  it('is all that training changes: no gradient, no moment and no product for a frozen weight', () => {
    const model = withAdapter(tinyLlama(true), lora());
    const { nodes } = trainGraph(model, sft);
    const graph = { nodes, outputs: new Map() };
    const learned = trainable(model).map(({ name }) => name);
    const collected = statesOf(graph).filter((name) => name.startsWith('gradient/'));
    expect(collected.sort()).toEqual(learned.map(gradientName).sort());
    // Products of weights' gradients: one for each A and each B, and none with the head or the embedding.
    expect(nodes.filter(({ op }) => op === 'matmul')).toHaveLength(learned.length);
    for (const { op, attributes, values } of nodes) {
      // Of the hidden rows, not of the embedding.
      if (op === 'scatterRows') expect(attributes).toEqual({ count: 'tokens' });
      if (op === 'tokenLogProbsGrad' || op === 'rmsNormGrad') {
        expect([attributes, values.length]).toEqual([{ forWeight: false }, 1]);
      }
    }
  });

  it('asks for keys only where something is dropped, and only in training', () => {
    const inputs = (dropout: number) =>
      trainGraph(withAdapter(tinyLlama(false), lora({ dropout })), sft).nodes.filter(
        ({ op, attributes }) => op === 'input' && (attributes as { name: string }).name === 'dropoutKeys',
      ).length;
    expect([inputs(0), inputs(0.1)]).toEqual([0, 1]);
  });
});

describe('targets', () => {
  it('are ends of names, whole names, patterns, a regular expression, or all', () => {
    expect(learnedOf(['v_proj'])).toEqual([0, 1].map((i) => `model.layers.${i}.self_attn.v_proj`));
    expect(learnedOf(['model.layers.1.mlp.up_proj'])).toEqual(['model.layers.1.mlp.up_proj']);
    expect(learnedOf(['layers.1*.mlp.*'])).toEqual(
      ['gate', 'up', 'down'].map((part) => `model.layers.1.mlp.${part}_proj`),
    );
    expect(learnedOf({ regex: '.*\\.0\\..*(q|o)_proj' })).toEqual(
      ['q', 'o'].map((part) => `model.layers.0.self_attn.${part}_proj`),
    );
    expect(learnedOf('all-linear')).toHaveLength(14);
  });

  it.each([
    ['embed_tokens', true, /adapter on model\.embed_tokens: embedding and head are one matrix/],
    ['lm_head', true, /adapter on lm_head: embedding and head are one matrix/],
    ['lm_head', false, /adapter on lm_head: it is a table of tokens/],
    ['q_prjo', false, /"q_prjo" names no linear layer.*\n.*q_proj, k_proj/s],
    ['norm', false, /"norm" names no linear layer/],
  ])('%s is refused with the reason (tied: %s)', (target, tied, message) => {
    expect(() => learnedOf(['q_proj', target], tied)).toThrow(message);
  });
});
