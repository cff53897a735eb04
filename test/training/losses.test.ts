// Every loss: values derived by hand, ℓ(0), TRL's numbers and gradients (scripts/fixtures/losses.py), finite differences, and in a
// model: packing and micro-batches must not change it.

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gradients } from '../../src/autodiff/index.ts';
import { type Engine, floats, ints, onnxEngine } from '../../src/engine/index.ts';
import { type GraphBuilder, graphBuilder } from '../../src/graph/index.ts';
import type { Group } from '../../src/pairs/index.ts';
import {
  type LossName,
  type LossSettings,
  lossNames,
  mixedReference,
  openScorer,
  openTrainer,
  startOf,
  usesInitial,
} from '../../src/training/index.ts';
import { pairLoss } from '../../src/training/losses.ts';
import { checkGradients } from '../autodiff/finite-differences.ts';
import { tinyModel, writeWeights } from '../generation/tiny.ts';
import { array } from '../reference/array.ts';
import { gradientOf, relativeError, tinyPairs, unshared } from './tiny-pairs.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await onnxEngine({ threads: 1 });
  await writeWeights(engine);
});
afterAll(() => engine.dispose());

/** Per token of an answer: log p under the policy, and under the reference. */
type Answer = readonly (readonly [policy: number, reference: number])[];
/** y, y', and y₀ where the loss asks for it. */
type Answers = readonly [real: Answer, generated: Answer, initial?: Answer];

function declare(b: GraphBuilder, settings: LossSettings, beta: number) {
  b.input('responses', ['responses'], 'i32');
  const logProbs = b.input('logProbs', ['rows']);
  const result = pairLoss(
    b,
    {
      logProbs,
      reference: b.input('reference', ['rows']),
      tokenShares: b.input('tokenShares', ['rows']),
      responseOf: b.input('responseOf', ['rows'], 'i32'),
      real: b.input('real', ['pairs'], 'i32'),
      generated: b.input('generated', ['pairs'], 'i32'),
      ...(usesInitial(settings) ? { initial: b.input('initial', ['pairs'], 'i32') } : {}),
      responses: 'responses',
      pairWeight: b.input('pairWeight', ['pairs', 1]),
    },
    beta,
    settings,
  );
  return { logProbs, ...result };
}

/** Values of the inputs, the responses of a pair one after the other. */
function valuesOf(pairs: readonly Answers[]) {
  const answers = pairs.flatMap((pair) => pair.filter((answer) => answer !== undefined));
  const perPair = answers.length / pairs.length;
  const rows = answers.flatMap((answer, response) => answer.map((token) => ({ token, answer, response })));
  const indices = (which: number) => pairs.map((_, p) => perPair * p + which);
  return {
    float: {
      logProbs: rows.map(({ token: [policy] }) => policy),
      reference: rows.map(({ token: [, reference] }) => reference),
      tokenShares: rows.map(({ answer }) => 1 / answer.length),
    },
    int: {
      responses: answers.map(() => 0),
      responseOf: rows.map(({ response }) => response),
      real: indices(0),
      generated: indices(1),
      ...(perPair === 3 ? { initial: indices(2) } : {}),
    },
  };
}

/** Mean loss, rewards, and dL/d(log p) of every token, on the engine. */
async function run(
  settings: LossSettings,
  beta: number,
  pairs: readonly Answers[],
  weights: readonly number[] = pairs.map(() => 1 / pairs.length),
) {
  const b = graphBuilder();
  const { logProbs, ...outputs } = declare(b, settings, beta);
  for (const [name, value] of Object.entries(outputs)) b.output(name, value);
  const [parts] = gradients(b, outputs.loss, [logProbs]);
  const gradient = parts!.reduce((sum, part) => b.add(sum, part));
  b.output('gradient', gradient);
  const program = await engine.compile(b.build());
  const { float, int } = valuesOf(pairs);
  const results = await program.run({
    ...Object.fromEntries(Object.entries(float).map(([name, values]) => [name, floats(Float32Array.from(values))])),
    ...Object.fromEntries(Object.entries(int).map(([name, values]) => [name, ints(values)])),
    pairWeight: floats(Float32Array.from(weights), [pairs.length, 1]),
  });
  await program.dispose();
  const list = (name: string) => [...(results[name]!.data as Float32Array)];
  return {
    loss: list('loss')[0]!,
    real: list('realReward'),
    generated: list('generatedReward'),
    gradient: list('gradient'),
  };
}

const plain = { lengthNormalization: false } as const;
const logistic: LossSettings = { name: 'logistic', labelSmoothing: 0, ...plain };
/** Of every loss at least one. */
const examples: { readonly [K in LossName]: readonly [LossSettings & { readonly name: K }, ...LossSettings[]] } = {
  logistic: [
    { name: 'logistic', labelSmoothing: 0, ...plain },
    { ...logistic, labelSmoothing: 0.1 },
  ],
  hinge: [
    { name: 'hinge', ...plain },
    { name: 'hinge', lengthNormalization: true },
  ],
  exponential: [{ name: 'exponential', ...plain }],
  linear: [{ name: 'linear', ...plain }],
  robust: [{ name: 'robust', labelSmoothing: 0.2, ...plain }],
  dpop: [
    { name: 'dpop', dpopLambda: 5, ...plain },
    { name: 'dpop', dpopLambda: 5, lengthNormalization: true },
  ],
  ipo: [{ name: 'ipo' }],
  simpo: [{ name: 'simpo', simpoGamma: 0.5 }],
  orpo: [{ name: 'orpo' }],
  't-spin': [
    { name: 't-spin', historyWeight: 0 },
    { name: 't-spin', historyWeight: 0.2 },
  ],
};
const all = Object.values<readonly LossSettings[]>(examples).flat();
const label = (settings: LossSettings) => JSON.stringify(settings);

// log[p_θ/p_ref]: up (−1 − −1.5) + (−2 − −2) = 0.5, per token 0.25; down −3 − −2 = −1, per token −1.
const up: Answer = [
  [-1, -1.5],
  [-2, -2],
];
const down: Answer = [[-3, -2]];
/** With β 2: rewards 1 and −2, margin 3; with means over the tokens ½ and −2, margin 2.5. */
const good: Answers = [up, down];
/** Margin −3. */
const bad: Answers = [down, up];

describe('values derived by hand', () => {
  const of = async (settings: LossSettings, beta: number, pair: Answers) => (await run(settings, beta, [pair])).loss;

  it('logistic: ln(1 + e^−margin), log-probs summed per answer and β outside the sum', async () => {
    const got = await run(logistic, 2, [good]);
    expect(got.real[0]).toBeCloseTo(1, 6);
    expect(got.generated[0]).toBeCloseTo(-2, 6);
    expect(got.loss).toBeCloseTo(0.048587351573742, 6); // ln(1 + e^−3)
  });

  it('logistic: grows with a negative margin, and carries the weight of its pair', async () => {
    // Margin 0.1·(−1 − 1) = −0.2; ln(1 + e^0.2) = 0.798138869382; a quarter of it.
    const got = await run(logistic, 0.1, [[down, [[-1, -2]]]], [0.25]);
    expect(got.loss).toBeCloseTo(0.798138869382 / 4, 6);
  });

  it('logistic: stays finite at huge margins of either sign', async () => {
    expect(await of(logistic, 1, [[[-20_000, 0]], [[0, 0]]])).toBeCloseTo(20_000, 0);
    expect(await of(logistic, 1, [[[0, -20_000]], [[0, 0]]])).toBe(0);
  });

  it('logistic with label smoothing ε: (1 − ε)·ln(1 + e^−t) + ε·ln(1 + e^t)', async () => {
    // 0.9·0.048587351574 + 0.1·3.048587351574, since ln(1 + e^3) = 3 + ln(1 + e^−3)
    expect(await of({ ...logistic, labelSmoothing: 0.1 }, 2, good)).toBeCloseTo(0.348587351574, 6);
  });

  it('length normalisation: the mean over the tokens in place of the sum', async () => {
    const got = await run({ ...logistic, lengthNormalization: true }, 2, [good]);
    expect(got.real[0]).toBeCloseTo(0.5, 6);
    expect(got.generated[0]).toBeCloseTo(-2, 6);
    expect(got.loss).toBeCloseTo(0.078889734293, 6); // ln(1 + e^−2.5)
    expect(await of({ name: 'hinge', lengthNormalization: true }, 0.4, good)).toBeCloseTo(0.5, 6); // t = 0.4·1.25
  });

  it('hinge: max(0, 1 − t)', async () => {
    expect(await of({ name: 'hinge', ...plain }, 2, good)).toBe(0); // t = 3
    expect(await of({ name: 'hinge', ...plain }, 0.2, good)).toBeCloseTo(0.7, 6); // t = 0.3
    expect(await of({ name: 'hinge', ...plain }, 2, bad)).toBeCloseTo(4, 6); // t = −3
  });

  it('exponential: e^−t', async () => {
    expect(await of({ name: 'exponential', ...plain }, 2, good)).toBeCloseTo(0.049787068368, 6);
    expect(await of({ name: 'exponential', ...plain }, 2, bad)).toBeCloseTo(20.085536923, 4);
  });

  it('linear: 1 − t, without end', async () => {
    expect(await of({ name: 'linear', ...plain }, 2, good)).toBeCloseTo(-2, 6);
    expect(await of({ name: 'linear', ...plain }, 2, bad)).toBeCloseTo(4, 6);
  });

  it('robust: [(1 − ε)·ln(1 + e^−t) − ε·ln(1 + e^t)] / (1 − 2ε)', async () => {
    // (0.8·0.048587351574 − 0.2·3.048587351574) / 0.6
    const robust: LossSettings = { name: 'robust', labelSmoothing: 0.2, ...plain };
    expect(await of(robust, 2, good)).toBeCloseTo(-0.951412648426, 6);
    // A share ε of the pairs turned round: 0.8·robust(t) + 0.2·robust(−t) is the logistic loss of t.
    expect(0.8 * (await of(robust, 2, good)) + 0.2 * (await of(robust, 2, bad))).toBeCloseTo(0.048587351574, 6);
  });

  it('DPOP: the logistic loss, with λ times what the human answer lost taken off the margin', async () => {
    const dpop: LossSettings = { name: 'dpop', dpopLambda: 5, ...plain };
    expect(await of(dpop, 2, good)).toBeCloseTo(0.048587351574, 6); // it has won: r(y) = 1
    expect(await of(dpop, 2, bad)).toBeCloseTo(13.000002260327, 4); // r(y) = −2: −3 − 5·2 = −13
  });

  it('IPO: (t/β − 1/(2β))² over means, so that the margin stops at ½', async () => {
    expect(await of({ name: 'ipo' }, 2, good)).toBeCloseTo(1, 6); // 0.25 + 1 − 1/4 = 1
    expect(await of({ name: 'ipo' }, 0.4, good)).toBeCloseTo(0, 6); // 1.25 − 1/0.8 = 0
  });

  it('SimPO: −ln σ(t − γ) of β times the mean log-prob, whatever the reference says', async () => {
    const got = await run({ name: 'simpo', simpoGamma: 0.5 }, 2, [good]);
    expect([got.real[0], got.generated[0]]).toEqual([-3, -6]); // means −1.5 and −3
    expect(got.loss).toBeCloseTo(0.078889734293, 6); // ln(1 + e^−(3 − 0.5))
  });

  it('ORPO: −β·ln σ of the log odds ratio of mean probabilities', async () => {
    // Means: ½, odds 1; ⅓, odds ½; ratio 2: −0.5·ln(2/3)
    const half: Answer = [
      [Math.log(0.25), 0],
      [0, 0],
    ];
    const third: Answer = [[Math.log(1 / 3), 0]];
    expect(await of({ name: 'orpo' }, 0.5, [half, third])).toBeCloseTo(0.202732554054, 6);
    expect(await of({ name: 'orpo' }, 0.5, [third, half])).toBeCloseTo(0.549306144334, 6); // 0.5·ln 3
  });

  it('ORPO: an answer that is certain leaves loss and gradient finite', async () => {
    const certain: Answer = [[0, 0]];
    for (const pair of [
      [certain, down],
      [down, certain],
      [certain, certain],
    ] as const) {
      const { loss, gradient } = await run({ name: 'orpo' }, 0.1, [pair]);
      expect([loss, ...gradient].every(Number.isFinite)).toBe(true);
    }
  });

  it('T-SPIN: the human answer before this opponent’s, and w times that before the initial model’s', async () => {
    const answers: Answers = [
      [
        [-1, -9],
        [-1, -9],
      ],
      [[-3, -9]],
      [
        [-2, -9],
        [-3, -9],
      ],
    ];
    // Sums −2, −3, −5, β 0.5: ln(1 + e^−0.5) + 0.2·ln(1 + e^−1) = 0.474076984180 + 0.2·0.313261687518
    const got = await run({ name: 't-spin', historyWeight: 0.2 }, 0.5, [answers]);
    expect(got.loss).toBeCloseTo(0.536729321684, 6);
    expect([got.real[0], got.generated[0]]).toEqual([-1, -1.5]);
    expect(await of({ name: 't-spin', historyWeight: 0 }, 0.5, [answers[0], answers[1]])).toBeCloseTo(0.47407698418, 6);
  });

  it('is the mean over the pairs', async () => {
    const mean = (await run({ name: 'linear', ...plain }, 2, [good, bad, good])).loss;
    expect(mean).toBeCloseTo((-2 + 4 - 2) / 3, 6);
  });
});

describe('pairs with weights', () => {
  it('are summed w·ℓ, here hinges of margins 1.5 and −1.5 at β 1/2', async () => {
    const hinge: LossSettings = { name: 'hinge', ...plain };
    // Margins of log-ratios ½ − (−1) = 1.5 and −1.5, times ½: 1 − 0.75 = 0.25 and 1 + 0.75 = 1.75.
    const { loss, real, gradient } = await run(hinge, 0.5, [good, bad], [0.6, 0.4]);
    expect(loss).toBeCloseTo(0.6 * 0.25 + 0.4 * 1.75, 6);
    expect(real[0]).toBeCloseTo(0.25, 6);
    expect(real[1]).toBeCloseTo(-0.5, 6);
    // −w·β for each token of a human answer, +w·β for one of a generated answer.
    const slopes = [-0.3, -0.3, 0.3, -0.2, 0.2, 0.2];
    for (const [i, slope] of slopes.entries()) expect(gradient[i]).toBeCloseTo(slope, 6);
  });
});

describe('ℓ(0)', () => {
  const start: Record<LossName, number | null> = {
    logistic: Math.LN2,
    hinge: 1,
    exponential: 1,
    linear: 1,
    robust: Math.LN2,
    dpop: Math.LN2,
    ipo: 1 / (4 * 0.3 * 0.3),
    simpo: null,
    orpo: null,
    't-spin': null,
  };
  const still: Answer = [
    [-1.5, -1.5],
    [-0.25, -0.25],
  ];

  it('is known for every loss, SPIN’s own first', () => {
    expect(lossNames).toEqual(Object.keys(start));
    for (const settings of all) expect(startOf(settings, 0.3), label(settings)).toBe(start[settings.name]);
  });

  it.each(all.filter(({ name }) => start[name] !== null))('is where %o starts, with rewards of 0', async (settings) => {
    const { loss, real, generated } = await run(settings, 0.3, [[still, [[-2, -2]]]]);
    expect(loss / start[settings.name]!).toBeCloseTo(1, 6);
    expect([...real, ...generated]).toEqual([0, 0]);
  });

  it.each(all.filter(({ name }) => start[name] === null))('%o does not look at the reference', async (settings) => {
    const answers = (reference: number): Answers => {
      const [real, generated] = [up, down].map((answer) => answer.map(([policy]) => [policy, reference] as const));
      return usesInitial(settings) ? [real!, generated!, real!] : [real!, generated!];
    };
    expect(await run(settings, 0.3, [answers(-1)])).toEqual(await run(settings, 0.3, [answers(-7)]));
  });
});

describe('TRL', () => {
  interface Case {
    readonly loss: LossName;
    readonly beta: number;
    readonly label_smoothing?: number;
    readonly length_normalization?: boolean;
    readonly simpo_gamma?: number;
    readonly losses: number[];
    readonly rewards: [real: number[], generated: number[]];
    readonly gradients: { readonly real: number[]; readonly generated: number[] }[];
  }
  type Role = { readonly policy: number[]; readonly reference: number[] };
  const { pairs, cases } = JSON.parse(
    readFileSync(new URL('../fixtures/losses/trl.json', import.meta.url), 'utf8'),
  ) as { pairs: { real: Role; generated: Role }[]; cases: Case[] };
  const answer = ({ policy, reference }: Role): Answer => policy.map((p, i) => [p, reference[i]!]);
  const answers = pairs.map(({ real, generated }): Answers => [answer(real), answer(generated)]);

  const settingsOf = ({ loss, label_smoothing = 0, length_normalization = false, simpo_gamma = 0 }: Case) =>
    ({
      name: loss,
      labelSmoothing: label_smoothing,
      lengthNormalization: length_normalization,
      simpoGamma: simpo_gamma,
    }) as LossSettings;

  it.each(cases)('$loss, β $beta: losses, rewards and gradients', async (known) => {
    const settings = settingsOf(known);
    const got = await run(settings, known.beta, answers);
    const mean = known.losses.reduce((sum, loss) => sum + loss) / known.losses.length;
    expect(Math.abs(got.loss - mean)).toBeLessThan(1e-5);
    const distance = (a: number[], b: number[]) => Math.max(...a.map((x, i) => Math.abs(x - b[i]!)));
    expect(distance(got.real, known.rewards[0])).toBeLessThan(1e-5);
    expect(distance(got.generated, known.rewards[1])).toBeLessThan(1e-5);
    const gradient = known.gradients.flatMap(({ real, generated }) => [...real, ...generated]);
    expect(got.gradient).toHaveLength(gradient.length);
    expect(distance(got.gradient, gradient)).toBeLessThan(1e-5);
    for (const [p, pair] of answers.entries()) {
      const { loss } = await run(settings, known.beta, [pair]);
      expect(Math.abs(loss - known.losses[p]!)).toBeLessThan(1e-5);
    }
  });
});

describe('gradients', () => {
  it.each(all)('of %o are finite differences', (settings) => {
    const triplet = usesInitial(settings);
    const answers = [good, bad, [up, [[-0.4, -0.9]]] as const].map(
      ([real, generated]): Answers => (triplet ? [real, generated, [...generated, [-0.7, -1]]] : [real, generated]),
    );
    const { float, int } = valuesOf(answers);
    const values = Object.entries({ ...float, ...int }).map(
      ([name, numbers]) => [name, array(numbers, [numbers.length])] as const,
    );
    checkGradients(
      (b) => {
        const { loss, logProbs } = declare(b, settings, 0.7);
        return { loss, wrt: { logProbs } };
      },
      { ...Object.fromEntries(values), pairWeight: array([0.5, 0.3, 0.2], [3, 1]) },
    );
  });
});

describe('the mixed reference of α-SPIN', () => {
  const [opponent, base] = [Float32Array.of(-1, -2), Float32Array.of(-3, -1)];

  it('is (1 − α)·log p_θt + α·log p_base per token', () => {
    // 0.75·(−1) + 0.25·(−3) = −1.5; 0.75·(−2) + 0.25·(−1) = −1.75
    expect([...mixedReference(opponent, base, 0.25)]).toEqual([-1.5, -1.75]);
  });

  it('is the opponent at 0, the base model at 1, and either where both are the same', () => {
    expect(mixedReference(opponent, base, 0)).toEqual(opponent);
    expect(mixedReference(opponent, base, 1)).toEqual(base);
    expect(mixedReference(opponent, opponent, 0.5)).toEqual(opponent);
  });

  it('pulls the margin towards the base model: its share of the gap is added', async () => {
    // Real under opponent and base −2 and −1, generated −3 and −3. Policy = opponent: t = β·[(−2 + 2α − α) + 0] … with
    // α ½: the reference of the real answer is −1.5, so r(y) = 2·(−2 + 1.5) = −1, r(y') = 0, and the margin −1.
    const reference = mixedReference(Float32Array.of(-2, -3), Float32Array.of(-1, -3), 0.5);
    const { real, generated } = await run(logistic, 2, [[[[-2, reference[0]!]], [[-3, reference[1]!]]]]);
    expect([real[0], generated[0]]).toEqual([-1, 0]);
  });
});

describe('in a model', () => {
  const objective = (loss: LossSettings) => ({ kind: 'spin', beta: 0.5, sftWeight: 0.3, loss }) as const;
  const triplets: Group[] = tinyPairs.map(({ promptIds, responses }, i) => ({
    promptIds,
    responses: [...responses, tinyPairs[(i + 1) % tinyPairs.length]!.responses[1]!],
  }));
  const groupsFor = (loss: LossSettings) => (usesInitial(loss) ? triplets : tinyPairs);

  it.each(all)('%o: a shared prompt and micro-batches give the gradient of the whole', async (loss) => {
    const groups = groupsFor(loss);
    const whole = await gradientOf(engine, objective(loss), groups);
    for (const other of [
      await gradientOf(engine, objective(loss), groups, { budget: 30 }),
      await gradientOf(engine, objective(loss), unshared(groups), { pairs: groups.length }),
    ]) {
      expect(Math.abs(other.loss / whole.loss - 1)).toBeLessThan(1e-5);
      for (const [name, gradient] of whole.gradients) {
        expect(Math.hypot(...gradient), `${name} gets a gradient`).toBeGreaterThan(0);
        expect(relativeError(other.gradients.get(name)!, gradient), name).toBeLessThan(2e-5);
      }
    }
  });

  it('no loss named is the logistic one, to the bit', async () => {
    const { loss: _, ...unnamed } = objective(logistic);
    expect(await gradientOf(engine, unnamed, tinyPairs)).toEqual(
      await gradientOf(engine, objective(logistic), tinyPairs),
    );
  });

  it('figures of triplets are those of their pairs', async () => {
    const scorer = await openScorer(engine, tinyModel);
    const scores = await scorer.score(triplets, 1000);
    await scorer.dispose();
    const mean = (which: number) =>
      scores.reduce((total, answers) => total + answers[which]!.reduce((sum, x) => sum + x, 0), 0) / scores.length;
    const trainer = await openTrainer(engine, tinyModel, {
      objective: objective({ name: 't-spin', historyWeight: 0.1 }),
      optimizer: { kind: 'rmsprop', alpha: 0.99, eps: 1e-8 },
      maxGradNorm: 1,
      microBatchTokens: 40,
    });
    const { pairs } = await trainer.step(triplets, 1, 0);
    await trainer.dispose();
    expect(pairs!['logps/real']).toBeCloseTo(mean(0), 4);
    expect(pairs!['logps/generated']).toBeCloseTo(mean(1), 4);
    expect(pairs!['rewards/margins']).toBeCloseTo(0.5 * (mean(0) - mean(1)), 4);
  });
});
