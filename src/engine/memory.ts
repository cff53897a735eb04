/**
 * How much memory a run of a graph takes for its values, from their sizes and from when each is read for the last time;
 * and how much memory there is. States are not counted: they are there before and after.
 */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { type Graph, isEffect, isNode, type Node, type OpName, type Shape, type Value } from '../graph/index.ts';
import type { Engine, MemoryNow } from './contract.ts';

/** How an engine holds values. */
export interface Holding {
  /** Whether a gradient is added to its state as it is made; else all of them wait for the end of the run. */
  readonly addsAtOnce: boolean;
  /** Bytes of an element of an op's results. */
  readonly elementBytes: (op: OpName) => number;
  /** Most bytes of the head's softmax that wait for its gradient. */
  readonly keptLogits: number;
}

/** Bytes of a chunk of logits in f32; beside it there is its gradient, and with a cap the tanh in it. */
const LOGITS_CHUNK = 96 * 2 ** 20;

const SOURCES: ReadonlySet<OpName> = new Set(['input', 'state', 'constant']);
/** Ops whose result is their operand in other clothes. */
const VIEWS: ReadonlySet<OpName> = new Set(['barrier', 'reshape']);

/**
 * The most bytes that values take at once, computed in the graph's order.
 * @param sizes of the dimensions that have names
 */
export function plannedBytes(
  { nodes, outputs }: Graph,
  sizes: ReadonlyMap<string, number>,
  { addsAtOnce, elementBytes, keptLogits }: Holding,
): number {
  const count = (shape: Shape) =>
    shape.reduce<number>((n, dim) => n * (typeof dim === 'number' ? dim : sizes.get(dim)!), 1);
  const origin = (value: Value): Value => (VIEWS.has(value.node.op) ? origin(value.node.inputs[0]!) : value);
  const lastRead = new Map<Value, number>();
  for (const { id, op, inputs } of nodes) {
    if (isEffect(op)) continue;
    for (const value of op === 'barrier' ? inputs.slice(0, 1) : inputs) lastRead.set(origin(value), id);
  }
  const forEver = [...outputs.values()];
  for (const { op, inputs } of nodes) if (isEffect(op) && !addsAtOnce) forEver.push(...inputs);
  for (const value of forEver) lastRead.set(origin(value), Number.POSITIVE_INFINITY);

  const dying = new Map<number, number>();
  const logits = ({ inputs: [h, w] }: Pick<Node, 'inputs'>) =>
    count(h!.shape.slice(0, 1)) * count(w!.shape.slice(0, 1));
  let alive = 0;
  let peak = 0;
  const take = (bytes: number, until: number) => {
    alive += bytes;
    dying.set(until, (dying.get(until) ?? 0) + bytes);
  };
  for (const node of nodes) {
    const { id, op, values, inputs } = node;
    if (!isEffect(op) && !SOURCES.has(op) && !VIEWS.has(op)) {
      for (const value of values) take(elementBytes(op) * count(value.shape), Math.max(id, lastRead.get(value) ?? id));
    }
    let working = 0;
    if (isNode(node, 'tokenLogProbs') || isNode(node, 'tokenLogProbsGrad')) {
      const operands = op === 'tokenLogProbs' ? inputs : inputs.slice(1);
      const atOnce = node.attributes.softcap === undefined ? 2 : 3;
      working = atOnce * Math.min(LOGITS_CHUNK, 4 * logits({ inputs: operands }));
      const gradient = nodes.find(
        (other) => other.op === 'tokenLogProbsGrad' && other.inputs.slice(1).every((value, i) => value === inputs[i]),
      );
      if (gradient) take(Math.min(keptLogits, elementBytes('linear') * logits(node)), gradient.id);
    }
    peak = Math.max(peak, alive + working);
    alive -= dying.get(id) ?? 0;
  }
  return peak;
}

/** Where the system does not tell what is free: the share of all memory that others are taken to need. */
const OTHERS = 0.25;

/** The memory of this machine as this process may use it: also that of the container in which it runs. */
export function hostMemory(): MemoryNow {
  const used = process.memoryUsage.rss();
  const total = totalmem();
  const allowed = process.constrainedMemory();
  const container = allowed > 0 && allowed < total ? allowed : total;
  return { used, limit: Math.min(container, used + freeMemory(total, used)), total: container };
}

function freeMemory(total: number, used: number): number {
  try {
    return Number(/^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))![1]) * 1024;
  } catch {
    return Math.max(0, (1 - OTHERS) * total - used);
  }
}

/** Milliseconds between two looks. */
const LOOK = 5;

/**
 * The most memory that this process held while the body ran, of the kind that the engine computes in: of RAM by looking
 * again and again; of a GPU's at the end, because torch gives nothing back to it.
 */
export async function peakWhile(
  { memory, info: { device } }: Pick<Engine, 'memory' | 'info'>,
  body: () => Promise<unknown>,
): Promise<number> {
  let peak = 0;
  const look = setInterval(() => {
    if (device === 'cpu') peak = Math.max(peak, process.memoryUsage.rss());
  }, LOOK);
  try {
    await body();
  } finally {
    clearInterval(look);
  }
  return Math.max(peak, (await memory())?.used ?? 0);
}
