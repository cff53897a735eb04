/** The functions of `glu` and their slopes lowered to ONNX. */
import type { Activation } from '../../graph/index.ts';
import type { Emitter } from './emitter.ts';

interface Lowered {
  /** f(x) */
  readonly value: (e: Emitter, x: string) => string;
  /** f(x) and f'(x) */
  readonly both: (e: Emitter, x: string) => { readonly value: string; readonly slope: string };
}

export const activations: { readonly [A in Activation]: Lowered } = {
  silu: {
    // x·σ(x) is QuickGelu with α = 1.
    value: (e, x) => e.op('QuickGelu', [x], { alpha: 1 }),
    // With s = σ(x) and a = x·s: a' = s + a − a·s
    both: (e, x) => {
      const s = e.op('Sigmoid', [x]);
      const a = e.op('Mul', [x, s]);
      return { value: a, slope: e.op('Sub', [e.op('Add', [s, a]), e.op('Mul', [a, s])]) };
    },
  },
  gelu_tanh: {
    value: (e, x) => e.op('FastGelu', [x]),
    // With k = √(2/π), u = k·(x + c·x³), t = tanh(u) and h = (1 + t)/2: a = x·h, a' = h + x/2·(1 − t²)·k·(1 + 3c·x²)
    both: (e, x) => {
      const [k, c] = [Math.sqrt(2 / Math.PI), 0.044715];
      const polynomial = (square: string, factor: number) =>
        e.op('Add', [e.op('Mul', [square, e.scalar(factor)]), e.scalar(k)]);
      const square = e.op('Mul', [x, x]);
      const t = e.op('Tanh', [e.op('Mul', [x, polynomial(square, k * c)])]);
      const h = e.op('Add', [e.op('Mul', [t, e.scalar(0.5)]), e.scalar(0.5)]);
      const flat = e.op('Sub', [e.scalar(0.5), e.op('Mul', [e.op('Mul', [t, t]), e.scalar(0.5)])]);
      const steep = e.op('Mul', [e.op('Mul', [x, flat]), polynomial(square, 3 * k * c)]);
      return { value: e.op('Mul', [x, h]), slope: e.op('Add', [h, steep]) };
    },
  },
};
