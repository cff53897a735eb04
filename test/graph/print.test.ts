// The printed form of a graph: one node a line, attributes in braces, outputs last.
import { expect, it } from 'vitest';
import { gradients } from '../../src/autodiff/index.ts';
import { graphBuilder, printGraph } from '../../src/graph/index.ts';

it('prints sources, attributes, several results, effects and outputs', () => {
  const b = graphBuilder();
  const w = b.state('model.norm.weight', [8]);
  const [x] = b.rope([b.input('x', ['tokens', 8])], b.input('positions', ['tokens'], 'i32'), {
    headDim: 8,
    frequencies: [1, 0.1, 0.01, 0.001],
    inverse: false,
  });
  const [normed] = b.rmsNorm(x!, w, 1e-5);
  const kept = b.mul(normed, b.constant([1, 0, 1, 0, 1, 0, 1, 0]));
  const loss = b.affine(b.sumSquares(kept), 0.5);
  b.output('loss', loss);
  const [[gradient]] = gradients(b, loss, [w]) as [[typeof w]];
  b.accumulate(b.state('gradient "1"', [8]), gradient);
  expect(printGraph(b.build())).toMatchInlineSnapshot(`
    "%0 = state("model.norm.weight") : f32[8]
    %1 = input("x") : f32[tokens,8]
    %2 = input("positions") : i32[tokens]
    %3 = rope(%1, %2) {headDim: 8, frequencies: [1,0.1,0.01,0.001], inverse: false} : f32[tokens,8]
    %4 = rmsNorm(%3, %0) {eps: 0.00001} : f32[tokens,8], f32[tokens,1]
    %5 = constant([1,0,1,… 8]) : f32[8]
    %6 = mul(%4.0, %5) : f32[tokens,8]
    %7 = sumSquares(%6) : f32[]
    %8 = affine(%7) {scale: 0.5, shift: 0} : f32[]
    %9 = constant([1]) : f32[]
    %10 = affine(%9) {scale: 0.5, shift: 0} : f32[]
    %11 = affine(%6) {scale: 2, shift: 0} : f32[tokens,8]
    %12 = mul(%11, %10) : f32[tokens,8]
    %13 = mul(%12, %5) : f32[tokens,8]
    %14 = rmsNormGrad(%13, %3, %0, %4.1) {forWeight: true} : f32[tokens,8], f32[8]
    %15 = state("gradient \\"1\\"") : f32[8]
    %16 = accumulate(%15, %14.1)
    return "loss" %8"
  `);
});

it('prints nothing for an empty graph', () => {
  expect(printGraph(graphBuilder().build())).toBe('');
});
