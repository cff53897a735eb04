/**
 * Optimizers: the states they need, the program that measures the gradient, and the program that updates. The
 * arithmetic of an update is an op (graph/ops.ts: adamw, rmsprop), so it happens where the weights are.
 */
import { type Engine, floats, type Program } from '../engine/index.ts';
import { graphBuilder } from '../graph/index.ts';
import { type LanguageModel, trainable } from '../models/index.ts';
import { failure } from '../util/index.ts';
import { gradientName } from './programs.ts';

export type OptimizerSettings =
  | {
      readonly kind: 'adamw';
      readonly beta1: number;
      readonly beta2: number;
      readonly eps: number;
      readonly weightDecay: number;
    }
  /** torch's RMSprop: no momentum, not centred, no bias correction. The reference run uses it. */
  | { readonly kind: 'rmsprop'; readonly alpha: number; readonly eps: number };

export interface Optimizer {
  /** Names of the states that a checkpoint must carry besides the weights. */
  readonly moments: readonly string[];
  /**
   * Clips the gradient states to a global norm of `maxNorm`, updates the weights and sets the gradients to zero.
   * @param step 1-based, for bias correction
   * @returns the norm before clipping
   * Throws a failure naming the tensor when a gradient is not finite; nothing was changed then.
   */
  update(step: number, learningRate: number, maxNorm: number): Promise<number>;
  /** Releases programs and states. */
  dispose(): Promise<void>;
}

/** Creates gradient states and moments (zero) for every trainable parameter of the model. */
export async function openOptimizer(
  engine: Engine,
  model: LanguageModel,
  settings: OptimizerSettings,
): Promise<Optimizer> {
  const kinds = settings.kind === 'adamw' ? ['adamw.m', 'adamw.v'] : ['rmsprop.v'];
  const momentName = (kind: string, parameter: string) => `${kind}/${parameter}`;
  const parameters = trainable(model);
  const moments = parameters.flatMap(({ name }) => kinds.map((kind) => momentName(kind, name)));
  for (const { name, shape } of parameters) {
    await engine.createState(gradientName(name), shape);
    for (const kind of kinds) await engine.createState(momentName(kind, name), shape);
  }

  const norms = graphBuilder();
  const updates = graphBuilder();
  const scalars = updates.input('scalars', [settings.kind === 'adamw' ? 4 : 2]);
  parameters.forEach(({ name, shape }) => {
    norms.output(name, norms.sumSquares(norms.state(gradientName(name), shape)));
    const [weight, gradient] = [updates.state(name, shape), updates.state(gradientName(name), shape)];
    const [first, second] = kinds.map((kind) => updates.state(momentName(kind, name), shape));
    if (settings.kind === 'adamw') updates.adamw([weight, gradient, first!, second!], scalars, settings);
    else updates.rmsprop([weight, gradient, first!], scalars, settings);
    updates.zero(gradient);
  });
  const measure: Program = await engine.compile(norms.build());
  const apply: Program = await engine.compile(updates.build());

  return {
    moments,
    update: async (step, learningRate, maxNorm) => {
      const squares = await measure.run({});
      let total = 0;
      for (const [name, { data }] of Object.entries(squares)) {
        if (!Number.isFinite(data[0])) {
          throw failure({
            what: `the gradient of ${name} is not finite at step ${step}`,
            fix: 'resume with a lower learning rate; the weights on disk are from before this step',
          });
        }
        total += data[0]!;
      }
      const norm = Math.sqrt(total);
      // torch's clip_grad_norm_: the factor max / (norm + 1e-6), never above 1.
      const factor = Math.min(1, maxNorm / (norm + 1e-6));
      const values =
        settings.kind === 'adamw'
          ? [learningRate, factor, 1 - settings.beta1 ** step, 1 - settings.beta2 ** step]
          : [learningRate, factor];
      await apply.run({ scalars: floats(Float32Array.from(values)) });
      return norm;
    },
    dispose: async () => {
      await measure.dispose();
      await apply.dispose();
      for (const name of moments) await engine.dropState(name);
      for (const { name } of parameters) await engine.dropState(gradientName(name));
    },
  };
}
