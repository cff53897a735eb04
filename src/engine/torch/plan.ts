/**
 * From a graph to the list of steps that the worker walks: which op, on which values, what dies after it, which
 * gradients are added to their states as they are made, and when an effect may run. Plain data, so that it crosses threads.
 */
import {
  type EffectOp,
  effectOps,
  type Graph,
  isEffect,
  isNode,
  type Node,
  type OpAttributes,
  type OpName,
  type Value,
  verifyGraph,
} from '../../graph/index.ts';
import { KEEPS, READS_LOW, SINKS } from './kernel.ts';

/** A value by its number, or a source by its name. */
export type Ref =
  | { readonly kind: 'value'; readonly value: number }
  | { readonly kind: 'input'; readonly name: string }
  | { readonly kind: 'state'; readonly name: string }
  /** The state as it was when the run began, although effects change it. */
  | { readonly kind: 'snapshot'; readonly name: string };

export interface KernelStep {
  readonly kind: 'kernel';
  readonly op: OpName;
  /** The op's inputs, and for decodeAttention perhaps slots; see `slotsOf`. */
  readonly operands: readonly Ref[];
  readonly attributes: OpAttributes[OpName];
  /** Numbers of the results; null for one that nobody reads. */
  readonly results: readonly (number | null)[];
  /** Result -> the states to which it is added instead of being kept. */
  readonly sinks: readonly (string | null)[];
  /** Number of what this op keeps for its gradient, or the gradient finds. */
  readonly keeps: number | null;
  /** Values that nobody reads after this step. */
  readonly dies: readonly number[];
}

export interface EffectStep {
  readonly kind: 'effect';
  readonly op: EffectOp;
  readonly targets: readonly string[];
  readonly operands: readonly Ref[];
  readonly attributes: OpAttributes[EffectOp];
  readonly dies: readonly number[];
}

export interface Plan {
  readonly steps: readonly (KernelStep | EffectStep)[];
  /** States whose values at the start are needed after effects changed them. */
  readonly snapshots: readonly string[];
  readonly outputs: readonly { readonly name: string; readonly from: Ref; readonly isIndices: boolean }[];
  /** States that stay as they are while the program lives. */
  readonly frozen: ReadonlySet<string>;
  /** States that are read in the compute dtype. */
  readonly low: readonly string[];
}

/**
 * Checks the graph and plans it.
 * @param freeze states that it only reads stay as they are
 */
export function planGraph(graph: Graph, freeze: boolean): Plan {
  verifyGraph(graph);
  const effects = graph.nodes.filter(({ op }) => isEffect(op)) as Node<EffectOp>[];
  const changed = new Set(effects.flatMap(targetsOf));
  const snapshots = new Set<string>();
  for (const value of [...graph.outputs.values(), ...effects.flatMap(operandsOf)]) {
    const name = stateName(value);
    if (name !== undefined && changed.has(name)) snapshots.add(name);
  }
  const numbers = new Map<Value, number>();
  const refOf = (value: Value, lasting: boolean): Ref => {
    if (isNode(value.node, 'input')) return { kind: 'input', name: value.node.attributes.name };
    const name = stateName(value);
    if (name !== undefined) return { kind: lasting && changed.has(name) ? 'snapshot' : 'state', name };
    let number = numbers.get(value);
    if (number === undefined) numbers.set(value, (number = numbers.size));
    return { kind: 'value', value: number };
  };

  const uses = new Map<Value, Node[]>();
  for (const node of graph.nodes) for (const v of readBy(node)) uses.set(v, [...(uses.get(v) ?? []), node]);
  const exported = new Set(graph.outputs.values());
  const sinks = sinksOf(effects, uses, exported);
  const pure = graph.nodes.filter(
    ({ op, values }) => !isEffect(op) && op !== 'input' && op !== 'state' && isRead(values, uses, exported),
  );

  const keeps = keepsOf(pure);

  // An effect runs as soon as its operands exist and nobody will read its states as they were.
  const place = new Map<Node, number>(pure.map((node, i) => [node, i]));
  const after = new Map<string, number>();
  pure.forEach((node, i) => {
    for (const value of node.inputs) {
      const name = stateName(value);
      if (name !== undefined) after.set(name, i);
    }
  });
  const due = new Map<number, Node<EffectOp>[]>();
  for (const effect of effects) {
    if (effect.op === 'accumulate' && sinks.has(effect.inputs[1]!)) continue;
    const targets = targetsOf(effect);
    const at = Math.max(
      -1,
      ...operandsOf(effect).map(({ node }) => place.get(node) ?? -1),
      ...targets.map((name) => after.get(name) ?? -1),
    );
    for (const name of targets) after.set(name, at);
    due.set(at, [...(due.get(at) ?? []), effect]);
  }

  const steps: (KernelStep | EffectStep)[] = [];
  const pushEffects = (at: number) => {
    for (const effect of due.get(at) ?? []) {
      steps.push({
        kind: 'effect',
        op: effect.op,
        targets: targetsOf(effect),
        operands: operandsOf(effect).map((value) => refOf(value, true)),
        attributes: effect.attributes,
        dies: [],
      });
    }
  };
  pushEffects(-1);
  pure.forEach((node, i) => {
    steps.push({
      kind: 'kernel',
      op: node.op,
      operands: [...readBy(node), ...slotsOf(node, uses)].map((value) => refOf(value, false)),
      attributes: node.attributes,
      results: node.values.map((value) => {
        const isKept = !sinks.has(value) && isRead([value], uses, exported);
        const ref = isKept ? refOf(value, false) : undefined;
        return ref?.kind === 'value' ? ref.value : null;
      }),
      sinks: node.values.map((value) => sinks.get(value) ?? null),
      keeps: keeps.get(node) ?? null,
      dies: [],
    });
    pushEffects(i);
  });
  const outputs = [...graph.outputs].map(([name, value]) => ({
    name,
    from: refOf(value, true),
    isIndices: value.dtype === 'i32',
  }));
  const read = graph.nodes.flatMap((node) => (isNode(node, 'state') ? [node.attributes.name] : []));
  return {
    steps: withDeaths(steps, outputs),
    snapshots: [...snapshots],
    outputs,
    low: [
      ...new Set(
        pure
          .filter(({ op }) => READS_LOW.includes(op))
          .flatMap(({ inputs }) => inputs.flatMap((v) => stateName(v) ?? [])),
      ),
    ],
    frozen: new Set(freeze ? read.filter((name) => !changed.has(name)) : []),
  };
}

/** Values whose only use is to be added to a state that nothing else in the graph touches. */
function sinksOf(
  effects: readonly Node<EffectOp>[],
  uses: ReadonlyMap<Value, readonly Node[]>,
  exported: ReadonlySet<Value>,
): Map<Value, string> {
  const sinks = new Map<Value, string>();
  for (const effect of effects) {
    if (effect.op !== 'accumulate') continue;
    const [target, value] = effect.inputs as [Value, Value];
    const { node, index } = value;
    const onlyUse = uses.get(value)?.length === 1 && !exported.has(value);
    const onlyAdded = uses.get(target)!.every(({ op, inputs }) => op === 'accumulate' && inputs[1] !== target);
    if (onlyUse && onlyAdded && !exported.has(target) && SINKS[node.op] === index) sinks.set(value, stateName(target)!);
  }
  return sinks;
}

/**
 * For decodeAttention, when all that happens to its caches besides is that its newest keys and values are written at the
 * same positions: the slots into which they go, as one more operand.
 */
function slotsOf({ op, inputs }: Node, uses: ReadonlyMap<Value, readonly Node[]>): Value[] {
  if (op !== 'decodeAttention') return [];
  const [, k, v, keys, values, positions] = inputs;
  const [first, second] = [[keys!, k] as const, [values!, v] as const].map(([cache, rows]) => {
    const [write, ...others] = uses.get(cache)!.filter((node) => node.op !== 'decodeAttention');
    const isIts = write?.op === 'cacheWrite' && others.length === 0 && uses.get(cache)!.length === 2;
    return isIts && write.inputs[2] === positions && write.inputs[3] === rows ? write.inputs[1] : undefined;
  });
  return first && first === second ? [first] : [];
}

/** Pairs of an op that keeps something and its gradient, by a number for each pair. */
function keepsOf(nodes: readonly Node[]): Map<Node, number> {
  const keeps = new Map<Node, number>();
  for (const node of nodes) {
    const gradient = nodes.find(
      ({ op, inputs }) =>
        op === KEEPS[node.op] && node.inputs.every((value, i) => inputs.at(i - node.inputs.length) === value),
    );
    if (!gradient || keeps.has(gradient)) continue;
    keeps.set(gradient, keeps.size).set(node, keeps.get(gradient)!);
  }
  return keeps;
}

/** What a node reads. What a barrier waits for it does not read, and steps are taken in the order of the graph anyway. */
const readBy = ({ op, inputs }: Node): readonly Value[] => (op === 'barrier' ? inputs.slice(0, 1) : inputs);

const isRead = (
  values: readonly Value[],
  uses: ReadonlyMap<Value, readonly Node[]>,
  exported: ReadonlySet<Value>,
): boolean => values.some((value) => uses.has(value) || exported.has(value));

const targetsOf = ({ op, inputs }: Node<EffectOp>): string[] =>
  inputs.slice(0, effectOps[op]).map((value) => stateName(value)!);
const operandsOf = ({ op, inputs }: Node<EffectOp>): Value[] => inputs.slice(effectOps[op]);

function stateName({ node }: Value): string | undefined {
  return isNode(node, 'state') ? node.attributes.name : undefined;
}

/** Says with each step which values nobody reads after it. */
function withDeaths(steps: readonly (KernelStep | EffectStep)[], outputs: Plan['outputs']): Plan['steps'] {
  const seen = new Set(outputs.flatMap(({ from }) => (from.kind === 'value' ? [from.value] : [])));
  return steps
    .toReversed()
    .map((step) => {
      const read = step.operands.flatMap((ref) => (ref.kind === 'value' ? [ref.value] : []));
      const made = step.kind === 'kernel' ? step.results.filter((value) => value !== null) : [];
      const dies = [...new Set([...read, ...made])].filter((value) => !seen.has(value));
      for (const value of dies) seen.add(value);
      return { ...step, dies };
    })
    .toReversed();
}
