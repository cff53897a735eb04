/**
 * One op on given values: the unit that the gradient tests and the engines' conformance suite share. A case declares its
 * sources (inputs, or states for weights) and builds the op on them.
 */
import type { Dim, DType, GraphBuilder, Value } from '../../src/graph/index.ts';
import type { Array64 } from './array.ts';
import { randomArray, randomIds } from './random.ts';

/** Sizes of a source; a symbol with its size where the graph is to know only the symbol. */
export type Sizes = readonly (number | readonly [symbol: string, size: number])[];

export interface Source {
  readonly kind: 'input' | 'state';
  readonly dtype: DType;
  /** As the graph declares it. */
  readonly shape: readonly Dim[];
  readonly value: Array64;
}

export interface OpCase {
  readonly name: string;
  readonly sources: Readonly<Record<string, Source>>;
  /** Builds the op on the sources; its results. */
  readonly build: (b: GraphBuilder, values: Readonly<Record<string, Value>>) => readonly Value[];
  /** Its results are not all differentiable. */
  readonly forwardOnly?: boolean;
  /** Relative error allowed in f32, where the op needs more than usual. */
  readonly tolerance?: number;
  /** How many times more than other ops it may lose where operands are rounded (bf16), because it rounds again on its way. */
  readonly roundings?: number;
}

/** A case whose builder sees its sources by name. */
export function opCase<N extends string>(
  name: string,
  sources: Readonly<Record<N, Source>>,
  build: (b: GraphBuilder, values: Readonly<Record<N, Value>>) => readonly Value[],
  more: Pick<OpCase, 'forwardOnly' | 'tolerance' | 'roundings'> = {},
): OpCase {
  return { name, sources, build: (b, values) => build(b, values as Readonly<Record<N, Value>>), ...more };
}

/** Declares the sources of a case in a builder. */
export function declareSources(b: GraphBuilder, { sources }: OpCase): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(sources).map(([name, { kind, shape, dtype }]) => [name, b[kind](name, shape, dtype)]),
  );
}

const declared = (sizes: Sizes): Dim[] => sizes.map((size) => (typeof size === 'number' ? size : size[0]));
const actual = (sizes: Sizes): number[] => sizes.map((size) => (typeof size === 'number' ? size : size[1]));

/** An input of normal numbers; the name decides the numbers. */
export function floatInput(name: string, sizes: Sizes, scale = 1): Source {
  return { kind: 'input', dtype: 'f32', shape: declared(sizes), value: randomArray(name, actual(sizes), scale) };
}

/** A state of normal numbers. */
export function floatState(name: string, sizes: Sizes, scale = 1): Source {
  return { ...floatInput(name, sizes, scale), kind: 'state' };
}

/** An int32 vector input of whole numbers below `limit`, unordered and with repetitions. */
export function idInput(name: string, size: Sizes[number], limit: number): Source {
  const [count] = actual([size]);
  return { kind: 'input', dtype: 'i32', shape: declared([size]), value: randomIds(name, count!, limit) };
}

/** An input of given values. */
export function givenInput(value: Array64, sizes: Sizes, dtype: DType = 'f32'): Source {
  return { kind: 'input', dtype, shape: declared(sizes), value };
}
