// The gradient of every parameter of whole tiny Llamas, for packed pairs and a SPIN-like loss, against finite differences.
import { describe, expect, it } from 'vitest';
import { graphBuilder } from '../../src/graph/index.ts';
import { pairInputs, pairLoss, tinyLlama, tinyWeights } from '../reference/tiny-llama.ts';
import { checkGradients } from './finite-differences.ts';

describe('a tiny Llama', () => {
  it.each([
    ['tied', true],
    ['untied', false],
  ])('%s: the gradient of every parameter', (_, tied) => {
    const model = tinyLlama(tied);
    checkGradients((b) => pairLoss(b, model), { ...pairInputs(model), ...tinyWeights(model) }, 9);
  });

  it('declares each parameter once, with the shape that the graph uses', () => {
    const model = tinyLlama(false);
    const b = graphBuilder();
    model.hidden(b, b.input('ids', ['t'], 'i32'), b.input('positions', ['t'], 'i32'), (_, q) => q);
    model.head(b);
    const used = b.build().nodes.flatMap(({ op, attributes }) => (op === 'state' ? [attributes] : []));
    const declared = model.parameters.map(({ name, shape }) => ({ name, type: { dtype: 'f32', shape } }));
    expect(new Set(used)).toEqual(new Set(declared));
    expect(used).toHaveLength(declared.length);
  });
});
