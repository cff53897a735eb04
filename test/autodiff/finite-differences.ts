/** Checks the gradients of a loss against central differences, both in float64. */
import { expect } from 'vitest';
import { type GraphBuilder, graphBuilder, verifyGraph } from '../../src/graph/index.ts';
import type { Array64 } from '../reference/array.ts';
import { type Differentiable, evaluateOn, gradientGraph } from '../reference/differentiate.ts';

/** The error of a central difference is about step² and 1e-16/step, relative to the loss: far below this. */
const TOLERANCE = 1e-6;
const STEP = 1e-5;

/**
 * Compares dL/dx for every x of `wrt` at up to `coordinates` evenly spread elements with (L(x+h) − L(x−h)) / 2h. A
 * parameter on which the loss does not depend must have no gradient, and the differences must be 0 then.
 */
export function checkGradients(
  build: (b: GraphBuilder) => Differentiable,
  values: Readonly<Record<string, Array64>>,
  coordinates = 24,
): void {
  const b = graphBuilder();
  const { loss, wrt } = build(b);
  b.output('loss', loss);
  const forward = b.build();
  const lossAt = (changed: Record<string, Array64>) =>
    evaluateOn(forward, { ...values, ...changed }).outputs['loss']!.data[0]!;

  const graph = gradientGraph(build);
  verifyGraph(graph);
  const { outputs } = evaluateOn(graph, values);
  expect(outputs['loss']!.data[0]).toBe(lossAt({}));

  for (const name of Object.keys(wrt)) {
    const x = values[name]!;
    const gradient = outputs[`d ${name}`];
    if (gradient) expect(gradient.shape, `shape of d ${name}`).toEqual(x.shape);
    const stride = Math.max(1, Math.ceil(x.data.length / coordinates));
    for (let i = 0; i < x.data.length; i += stride) {
      const shifted = (by: number) => {
        const data = x.data.slice();
        data[i] = data[i]! + by;
        return lossAt({ [name]: { shape: x.shape, data } });
      };
      const step = STEP * Math.max(1, Math.abs(x.data[i]!));
      const difference = (shifted(step) - shifted(-step)) / (2 * step);
      const got = gradient?.data[i] ?? 0;
      const scale = Math.max(1, Math.abs(difference));
      const where = `d ${name}[${i}]: got ${got}, finite difference ${difference}`;
      expect(Math.abs(got - difference) / scale, where).toBeLessThan(TOLERANCE);
    }
  }
}
