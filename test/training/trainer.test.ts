// One step: the arithmetic of the optimizers, figures, partial batches, and numbers that are not finite.

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Engine, onnxEngine } from '../../src/engine/index.ts';
import { gradientName, openTrainer, type TrainerSettings } from '../../src/training/index.ts';
import { failure, isOutOfMemory, SelfplayError } from '../../src/util/index.ts';
import { tinyModel, writeWeights } from '../generation/tiny.ts';
import { gradientOf, relativeError, tinyPairs } from './tiny-pairs.ts';

const objective = { kind: 'spin', beta: 0.5, sftWeight: 0 } as const;
const rmsprop: TrainerSettings = {
  objective,
  optimizer: { kind: 'rmsprop', alpha: 0.9, eps: 1e-6 },
  maxGradNorm: 0.01,
  microBatchTokens: 25,
};
const adamw: TrainerSettings = {
  ...rmsprop,
  optimizer: { kind: 'adamw', beta1: 0.8, beta2: 0.9, eps: 1e-6, weightDecay: 0.1 },
};
const names = tinyModel.parameters.map(({ name }) => name);
let engine: Engine;

beforeAll(async () => {
  engine = await onnxEngine({ threads: 1 });
});
beforeEach(() => writeWeights(engine));
afterAll(() => engine.dispose());

async function weights(): Promise<Map<string, Float32Array>> {
  const read = new Map<string, Float32Array>();
  for (const name of names) read.set(name, await engine.readState(name));
  return read;
}

/** The gradient of the tiny batch, and clipped to the norm 0.01 as torch does it. */
async function clippedGradient() {
  const { gradients, loss } = await gradientOf(engine, objective, tinyPairs, { budget: 25 });
  const norm = Math.hypot(...[...gradients.values()].map((g) => Math.hypot(...g)));
  const factor = 0.01 / (norm + 1e-6);
  return { loss, norm, clipped: new Map([...gradients].map(([name, g]) => [name, g.map((x) => x * factor)])) };
}

describe('a step', () => {
  it('of RMSProp: v = (1 − α)g², w − rate·g / (√v + ε)', async () => {
    const { clipped, norm, loss } = await clippedGradient();
    const before = await weights();
    const trainer = await openTrainer(engine, tinyModel, rmsprop);
    const figures = await trainer.step(tinyPairs, 1, 0.01);
    expect(figures.loss).toBeCloseTo(loss, 6);
    expect(figures.gradNorm / norm).toBeCloseTo(1, 5);
    for (const name of names) {
      const g = clipped.get(name)!;
      const v = g.map((x) => 0.1 * x * x);
      const w = before.get(name)!.map((x, i) => x - (0.01 * g[i]!) / (Math.sqrt(v[i]!) + 1e-6));
      expect(relativeError(await engine.readState(`rmsprop.v/${name}`), v), name).toBeLessThan(1e-5);
      expect(relativeError(await engine.readState(name), w), name).toBeLessThan(1e-5);
    }
    await trainer.dispose();
  });

  it('of AdamW: both moments, bias correction at step 3, decay of the weights by rate·decay', async () => {
    const { clipped } = await clippedGradient();
    const before = await weights();
    const trainer = await openTrainer(engine, tinyModel, adamw);
    await trainer.step(tinyPairs, 3, 0.01);
    for (const name of names) {
      const g = clipped.get(name)!;
      const m = g.map((x) => 0.2 * x);
      const v = g.map((x) => 0.1 * x * x);
      const w = before.get(name)!.map((x, i) => {
        const mean = m[i]! / (1 - 0.8 ** 3);
        const root = Math.sqrt(v[i]! / (1 - 0.9 ** 3));
        return x * (1 - 0.01 * 0.1) - (0.01 * mean) / (root + 1e-6);
      });
      expect(relativeError(await engine.readState(`adamw.m/${name}`), m), name).toBeLessThan(1e-5);
      expect(relativeError(await engine.readState(`adamw.v/${name}`), v), name).toBeLessThan(1e-5);
      expect(relativeError(await engine.readState(name), w), name).toBeLessThan(1e-5);
    }
    await trainer.dispose();
  });

  it('at rate 0 changes no weight, moves the moments on and leaves no gradient behind', async () => {
    const before = await weights();
    const trainer = await openTrainer(engine, tinyModel, rmsprop);
    const first = await trainer.step(tinyPairs, 1, 0);
    const v = await engine.readState(`rmsprop.v/${names[0]}`);
    const second = await trainer.step(tinyPairs, 2, 0);
    expect(await weights()).toEqual(before);
    expect(second).toEqual(first);
    expect(
      relativeError(
        await engine.readState(`rmsprop.v/${names[0]}`),
        v.map((x) => 1.9 * x),
      ),
    ).toBeLessThan(1e-5);
    await trainer.dispose();
    expect((await engine.states()).size).toBe(names.length);
  });

  it('reports the means over the pairs of a batch, the last one partly filled', async () => {
    const trainer = await openTrainer(engine, tinyModel, rmsprop);
    const figuresOf = async (from: number, to: number) => await trainer.step(tinyPairs.slice(from, to), 1, 0);
    const [whole, front, back] = [await figuresOf(0, 5), await figuresOf(0, 3), await figuresOf(3, 5)];
    expect(whole.loss).toBeCloseTo((3 * front.loss + 2 * back.loss) / 5, 5);
    expect(whole.tokens).toBe(front.tokens + back.tokens);
    for (const name of Object.keys(whole.pairs!) as (keyof NonNullable<typeof whole.pairs>)[]) {
      expect(whole.pairs![name], name).toBeCloseTo((3 * front.pairs![name] + 2 * back.pairs![name]) / 5, 4);
    }
    const { margins } = await gradientOf(engine, objective, tinyPairs);
    const right = margins.filter((margin) => margin > 0).length;
    expect(right).toBeGreaterThan(0);
    expect(right).toBeLessThan(5);
    expect(whole.pairs!['rewards/accuracies']).toBeCloseTo(right / 5, 6);
    expect(whole.pairs!['rewards/margins']).toBeCloseTo(margins.reduce((a, b) => a + b) / 5, 5);
    await trainer.dispose();
  });

  it('counts a tie as half right', async () => {
    const same = { ids: tinyPairs[0]!.responses[1]!.ids, reference: new Float32Array(6) };
    const trainer = await openTrainer(engine, tinyModel, rmsprop);
    const { pairs, loss } = await trainer.step([{ ...tinyPairs[0]!, responses: [same, same] }], 1, 0);
    expect(pairs!['rewards/accuracies']).toBe(0.5);
    expect(pairs!['rewards/margins']).toBe(0);
    expect(loss).toBeCloseTo(Math.LN2, 6);
    await trainer.dispose();
  });
});

describe('memory that runs out', () => {
  /** The engine without memory in the given runs of programs, counted from 0, that match. */
  function poor(matches: (inputs: object) => boolean, ...failing: number[]): Engine {
    let runs = 0;
    return {
      ...engine,
      compile: async (graph, options) => {
        const program = await engine.compile(graph, options);
        return {
          ...program,
          run: async (inputs) => {
            if (matches(inputs) && failing.includes(runs++)) {
              throw failure({ what: 'no memory', code: 'out-of-memory' });
            }
            return program.run(inputs);
          },
        };
      },
    };
  }

  it('in a micro-batch: nothing is left of the step, which may be called again with fewer tokens at once', async () => {
    const known = await openTrainer(engine, tinyModel, { ...rmsprop, microBatchTokens: 1 });
    const expected = await known.step(tinyPairs, 1, 0.01);
    const result = await weights();
    await known.dispose();
    await writeWeights(engine);
    const before = await weights();
    // The second of several micro-batches fails: the first one's gradient is there by then.
    const trainer = await openTrainer(
      poor((inputs) => 'pairWeight' in inputs, 1),
      tinyModel,
      rmsprop,
    );
    const error: unknown = await trainer.step(tinyPairs, 1, 0.01).catch((reason: unknown) => reason);
    expect(isOutOfMemory(error)).toBe(true);
    expect(await weights()).toEqual(before);
    expect(await trainer.step(tinyPairs, 1, 0.01, 1)).toEqual(expected);
    expect(await weights()).toEqual(result);
    await trainer.dispose();
  });

  it('in the optimizer: fewer tokens would not help, and the error does not say that they would', async () => {
    const trainer = await openTrainer(
      poor((inputs) => 'scalars' in inputs, 0),
      tinyModel,
      rmsprop,
    );
    const error: unknown = await trainer.step(tinyPairs, 1, 0.01).catch((reason: unknown) => reason);
    expect(isOutOfMemory(error)).toBe(false);
    expect(error).toMatchObject({ kind: 'failure', what: 'no memory', fix: expect.stringContaining('smaller model') });
    await trainer.dispose();
  });
});

describe('numbers that are not finite', () => {
  const rejection = async (work: Promise<unknown>): Promise<SelfplayError> => {
    const error = await work.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(SelfplayError);
    return error as SelfplayError;
  };

  it.each([Number.NaN, Number.POSITIVE_INFINITY])(
    'a weight %d: stops before the update and names the tensor',
    async (bad) => {
      const name = 'model.layers.1.mlp.up_proj.weight';
      const values = await engine.readState(name);
      values[3] = bad;
      await engine.writeState(name, values);
      const before = await weights();
      const trainer = await openTrainer(engine, tinyModel, adamw);
      const error = await rejection(trainer.step(tinyPairs, 4, 0.01));
      expect(error.kind).toBe('failure');
      expect(error.what).toContain('step 4');
      expect(error.what).toContain(name);
      expect(error.fix).toContain('learning rate');
      expect(await weights()).toEqual(before);
      await trainer.dispose();
    },
  );

  it('a gradient: stops before the update and names the tensor', async () => {
    const before = await weights();
    const trainer = await openTrainer(engine, tinyModel, adamw);
    const name = 'model.layers.0.self_attn.k_proj.weight';
    const gradient = await engine.readState(gradientName(name));
    gradient[5] = Number.NaN;
    await engine.writeState(gradientName(name), gradient);
    const error = await rejection(trainer.step(tinyPairs, 2, 0.01));
    expect(error.what).toContain(name);
    expect(error.what).toContain('step 2');
    expect(await weights()).toEqual(before);
    expect((await engine.readState(`adamw.m/${name}`)).every((x) => x === 0)).toBe(true);
    await trainer.dispose();
  });
});
