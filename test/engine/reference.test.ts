// The conformance suite on the reference engine itself, and values of the reference kernels worked out by hand.
import { describe, expect, it } from 'vitest';
import { array, zeros } from '../reference/array.ts';
import { referenceEngine } from '../reference/engine.ts';
import { evaluate } from '../reference/evaluate.ts';
import { sampleOne, samplingDistribution } from '../reference/generation.ts';
import { randomArray } from '../reference/random.ts';
import { packedSegments } from '../reference/segments.ts';
import { visibleKeys } from '../reference/transformer.ts';
import { graphOf } from './bench.ts';
import { conformance } from './conformance.ts';

conformance('reference', async () => referenceEngine());

/** Without the last bits. */
const rounded = (values: Float64Array) => Array.from(values, (value) => Number(value.toFixed(12)));

describe('the reference kernels, by hand', () => {
  it('a pair: the generated response sees the prompt and itself, not the real response', () => {
    const { segments, positions } = packedSegments([[2, 2, 2]]);
    expect(Array.from(segments.data)).toEqual([0, 4, 0, 4, 0, 0, 4, 6, 0, 2, 4, 6]);
    expect(Array.from(positions.data)).toEqual([0, 1, 2, 3, 2, 3]);
    expect(visibleKeys(segments, 6)).toEqual([[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [0, 1, 4, 5]]);
  });

  it('attention over keys of equal score is the mean of the values, per key head', () => {
    const { outputs } = evaluate(
      graphOf((b) => {
        const [q, k, v] = [b.input('q', ['t', 4]), b.input('k', ['t', 2]), b.input('v', ['t', 2])];
        b.output('y', b.attention(q, k, v, b.input('s', ['n', 6], 'i32'), { headDim: 1, scale: 1 }));
      }),
      {
        q: zeros(3, 4),
        k: randomArray('k', [3, 2]),
        v: array([1, 10, 3, 30, 8, 80], [3, 2]),
        s: packedSegments([[3]]).segments,
      },
    );
    expect(rounded(outputs['y']!.data)).toEqual([1, 1, 10, 10, 2, 2, 20, 20, 4, 4, 40, 40]);
  });

  it('attention of weights 1/4 and 3/4', () => {
    const { outputs } = evaluate(
      graphOf((b) => {
        const [q, k, v] = [b.input('q', ['t', 1]), b.input('k', ['t', 1]), b.input('v', ['t', 1])];
        b.output('y', b.attention(q, k, v, b.input('s', ['n', 6], 'i32'), { headDim: 1, scale: 0.5 }));
      }),
      {
        q: array([9, 2], [2, 1]),
        k: array([0, Math.log(3)], [2, 1]),
        v: array([4, 8], [2, 1]),
        s: packedSegments([[2]]).segments,
      },
    );
    expect(outputs['y']!.data[0]).toBe(4);
    expect(outputs['y']!.data[1]).toBeCloseTo(7, 12);
  });

  it('decoding step by step is causal attention over the whole sequence', () => {
    const [tokens, width] = [6, 4];
    const heads = { headDim: 2, scale: 0.7 };
    const x = Object.fromEntries(
      ['q', 'k', 'v'].map((name) => [name, randomArray(name, [tokens, name === 'q' ? 3 * width : width])]),
    );
    const whole = evaluate(
      graphOf((b) => {
        const [q, k, v] = [b.input('q', ['t', 12]), b.input('k', ['t', 4]), b.input('v', ['t', 4])];
        b.output('y', b.attention(q, k, v, b.input('s', ['n', 6], 'i32'), heads));
      }),
      { ...(x as Record<'q' | 'k' | 'v', ReturnType<typeof zeros>>), s: packedSegments([[tokens]]).segments },
    ).outputs['y']!;
    const step = graphOf((b) => {
      const [q, k, v] = [b.input('q', [1, 12]), b.input('k', [1, 4]), b.input('v', [1, 4])];
      const [keys, values] = [b.state('keys', [1, 2, 6, 2]), b.state('values', [1, 2, 6, 2])];
      const length = b.input('length', [1], 'i32');
      b.output('y', b.decodeAttention([q, k, v], [keys, values], length, heads));
      b.cacheWrite(keys, b.constant([0], [1], 'i32'), length, k);
      b.cacheWrite(values, b.constant([0], [1], 'i32'), length, v);
    });
    let states = new Map([
      ['keys', zeros(1, 2, 6, 2)],
      ['values', zeros(1, 2, 6, 2)],
    ]);
    for (let t = 0; t < tokens; t++) {
      const part = ([name, { shape, data }]: [string, ReturnType<typeof zeros>]) => {
        const size = shape[1]!;
        return [name, array(data.subarray(t * size, (t + 1) * size), [1, size])] as const;
      };
      const result = evaluate(step, { ...Object.fromEntries(Object.entries(x).map(part)), length: array([t]) }, states);
      states = result.states;
      result.outputs['y']!.data.forEach((value, i) => {
        expect(value).toBeCloseTo(whole.data[t * 12 + i]!, 12);
      });
    }
  });

  it('rope turns the halves of a head by position times frequency', () => {
    const { outputs } = evaluate(
      graphOf((b) => {
        const attributes = { headDim: 4, frequencies: [Math.PI / 2, Math.PI], inverse: false };
        b.output('y', b.rope([b.input('x', ['t', 4])], b.input('p', ['t'], 'i32'), attributes)[0]!);
      }),
      { x: array([1, 2, 3, 4], [1, 4]), p: array([1]) },
    );
    // (1,3) by 90° -> (−3, 1); (2,4) by 180° -> (−2, −4)
    [-3, -2, 1, -4].forEach((value, i) => {
      expect(outputs['y']!.data[i]).toBeCloseTo(value, 12);
    });
  });

  it('rmsNorm, glu and tokenLogProbs', () => {
    const { outputs } = evaluate(
      graphOf((b) => {
        b.output('norm', b.rmsNorm(b.input('x', [1, 2]), b.input('w', [2]), 0)[0]);
        b.output('gated', b.glu('silu', b.input('gate', [1, 1]), b.input('up', [1, 1])));
        b.output('scores', b.tokenLogProbs(b.input('h', [1, 1]), b.input('head', [3, 1]), b.input('t', [1], 'i32')));
      }),
      {
        x: array([1, 7], [1, 2]),
        w: array([10, 1]),
        gate: array([Math.log(3)], [1, 1]),
        up: array([4], [1, 1]),
        h: array([1], [1, 1]),
        head: array([Math.log(1), Math.log(2), Math.log(5)], [3, 1]),
        t: array([1]),
      },
    );
    // mean square 25; σ(ln 3) = 3/4; 2/8
    expect(rounded(outputs['norm']!.data)).toEqual([2, 1.4]);
    expect(outputs['gated']!.data[0]).toBeCloseTo(3 * Math.log(3), 12);
    expect(outputs['scores']!.data[0]).toBeCloseTo(Math.log(1 / 4), 12);
  });

  it('one step of each optimizer', () => {
    const one = (value: number) => array([value]);
    const states = new Map(['p', 'g', 'm', 'v', 'p2', 'v2'].map((name) => [name, one(name.startsWith('p') ? 2 : 0)]));
    states.set('g', one(4));
    const after = evaluate(
      graphOf((b) => {
        const [p, g, m, v, p2, v2] = ['p', 'g', 'm', 'v', 'p2', 'v2'].map((name) => b.state(name, [1]));
        const adamw = { beta1: 0.5, beta2: 0.75, eps: 1, weightDecay: 0.5 };
        b.adamw([p!, g!, m!, v!], b.constant([0.1, 0.5, 0.5, 0.25]), adamw);
        b.rmsprop([p2!, g!, v2!], b.constant([0.1, 0.5]), { alpha: 0.75, eps: 1 });
      }),
      {},
      states,
    ).states;
    const at = (name: string) => after.get(name)!.data[0];
    // g = 2, m = 1, v = 1: decay 2 − 0.1·0.5·2 = 1.9, step 0.1·(1/0.5)/(√(1/0.25) + 1) = 0.2/3
    expect(at('p')).toBeCloseTo(1.9 - 0.2 / 3, 12);
    expect([at('m'), at('v'), at('g'), at('v2')]).toEqual([1, 1, 4, 1]);
    expect(at('p2')).toBeCloseTo(2 - 0.2 / 2, 12);
  });

  it('sampling distributions', () => {
    const logits = Float64Array.from([1, 4, 2, 1], Math.log);
    const drawn = (attributes: Parameters<typeof samplingDistribution>[1]) =>
      rounded(samplingDistribution(logits, attributes));
    expect(drawn({ temperature: 1, topK: 0, topP: 1 })).toEqual([0.125, 0.5, 0.25, 0.125]);
    expect(drawn({ temperature: 0.5, topK: 2, topP: 1 })).toEqual([0, 0.8, 0.2, 0]);
    expect(drawn({ temperature: 1, topK: 3, topP: 1 })).toEqual([0.142857142857, 0.571428571429, 0.285714285714, 0]);
    expect(drawn({ temperature: 1, topK: 0, topP: 0.6 })).toEqual([0, 0.666666666667, 0.333333333333, 0]);
    expect(drawn({ temperature: 1, topK: 0, topP: 0.4 })).toEqual([0, 1, 0, 0]);
    expect(drawn({ temperature: 0, topK: 0, topP: 1 })).toEqual([0, 1, 0, 0]);
  });

  it('samples in the order of ids without a filter, from the most probable with one', () => {
    const logits = Float64Array.from([1, 4, 2, 1], Math.log);
    const ids = (attributes: Parameters<typeof sampleOne>[2]) =>
      [0.1, 0.2, 0.6, 0.7, 0.9].map((u) => sampleOne(logits, u, attributes));
    // Running sums 1/8, 5/8, 7/8, 1 of ids 0, 1, 2, 3
    expect(ids({ temperature: 1, topK: 0, topP: 1 })).toEqual([0, 1, 1, 2, 3]);
    expect(ids({ temperature: 1, topK: 4, topP: 1 })).toEqual([0, 1, 1, 2, 3]);
    // 4/7, 6/7, 1 of ids 1, 2, 0
    expect(ids({ temperature: 1, topK: 3, topP: 1 })).toEqual([1, 1, 2, 2, 0]);
  });

  it('handed-in arrays are gone', async () => {
    const engine = referenceEngine();
    await engine.createState('a', [2]);
    const data = Float32Array.of(1, 2);
    await engine.writeState('a', data);
    expect(data).toHaveLength(0);
  });
});
