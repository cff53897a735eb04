/**
 * Lowers a graph to a plan: one ONNX model for everything pure, and a list of effects for the worker.
 * The table of ops is total; shapes and dtypes were checked by the verifier before.
 */
import {
  type Dim,
  dropoutColumns,
  dropoutThreshold,
  effectOps,
  type Graph,
  isEffect,
  isNode,
  type Node,
  type OpName,
  type Shape,
  type Value,
  verifyGraph,
} from '../../graph/index.ts';
import { failure } from '../../util/index.ts';
import { CHUNK_COLUMNS } from '../segments.ts';
import { activations } from './activations.ts';
import {
  decodeAttention,
  decodeMasks,
  headsOf,
  packedAttention,
  packedAttentionGrad,
  type SegmentTensors,
} from './attention.ts';
import { type Emitter, emitter } from './emitter.ts';
import { sample, tokenLogProbs, tokenLogProbsGrad } from './head.ts';
import type { FeedSource, OperandSource, Plan, SegmentPart } from './plan.ts';

/** What a rule may ask for. */
interface Context {
  readonly e: Emitter;
  /** The shape as an i64 tensor, symbols bound at run time. */
  readonly shape: (shape: Shape) => string;
  /** A size as an i64 tensor [1] that onnxruntime cannot fold into a constant. */
  readonly size: (dim: Dim) => string;
  readonly segments: (table: Value, tokens: Dim) => SegmentTensors;
  /** A part that several nodes share, made once. */
  readonly once: <T>(key: string, make: () => T) => T;
}

type Rule<K extends OpName> = (c: Context, inputs: readonly string[], node: Node<K>) => readonly string[];

const width = (value: Value | undefined) => value!.shape.at(-1) as number;

/** A matrix whose rows are normed in parts of the weight's width, with a part in each row. */
function partsOf(e: Emitter, { shape: [, columns] }: Value, { shape: [part] }: Value) {
  const inRows = (count: number) => (x: string) => (columns === part ? x : e.op('Reshape', [x, e.i64(-1, count)]));
  const [N, D] = [columns as number, part as number];
  return { apart: inRows(D), together: inRows(N), rstdApart: inRows(1), rstdTogether: inRows(N / D) };
}

/** Gradient ops and inference ops alike: tensor names in, tensor names out. Sources and effects are made elsewhere. */
const rules = {
  input: null,
  state: null,
  constant: ({ e }, _, { attributes: { type, values } }) => [
    type.dtype === 'i32' ? e.i32(values, type.shape as number[]) : e.f32(values, type.shape as number[]),
  ],
  add: ({ e }, inputs) => [e.op('Add', inputs)],
  sub: ({ e }, inputs) => [e.op('Sub', inputs)],
  mul: ({ e }, inputs) => [e.op('Mul', inputs)],
  affine: ({ e }, [x], { attributes: { scale, shift } }) => {
    const scaled = scale === 1 ? x! : e.op('Mul', [x!, e.scalar(scale)]);
    return [shift === 0 ? scaled : e.op('Add', [scaled, e.scalar(shift)])];
  },
  sigmoid: ({ e }, inputs) => [e.op('Sigmoid', inputs)],
  softplus: ({ e }, inputs) => [e.op('Softplus', inputs)],
  exp: ({ e }, inputs) => [e.op('Exp', inputs)],
  log: ({ e }, inputs) => [e.op('Log', inputs)],
  tanh: ({ e }, inputs) => [e.op('Tanh', inputs)],
  step: ({ e }, [x]) => [e.op('Cast', [e.op('Greater', [x!, e.scalar(0)])], { to: 1n })],
  sumTo: ({ e, shape }, [x], { inputs: [source], attributes: { shape: target } }) => {
    const wide = source!.shape;
    const missing = wide.length - target.length;
    const axes = wide.flatMap((dim, i) => (i < missing || target[i - missing] !== dim ? [i] : []));
    return [e.op('Reshape', [e.op('ReduceSum', [x!, e.i64(...axes)]), shape(target)])];
  },
  broadcastTo: ({ e, shape }, [x], { attributes }) => [e.op('Expand', [x!, shape(attributes.shape)])],
  reshape: ({ e, shape }, [x], { attributes }) => [e.op('Reshape', [x!, shape(attributes.shape)])],
  // Row by row first: faster on two threads, and more exact than one long sum.
  sumSquares: ({ e }, [x], { inputs: [value] }) => {
    if (value!.shape.length === 0) return [e.op('Mul', [x!, x!])];
    return [e.op('ReduceSum', [e.op('ReduceSumSquare', [x!, e.i64(-1)])], { keepdims: 0n })];
  },
  matmul: ({ e }, [a, b], { attributes: { transposeA, transposeB } }) => [
    e.op('Gemm', [a!, b!], { transA: transposeA ? 1n : 0n, transB: transposeB ? 1n : 0n }),
  ],
  linear: ({ e }, [x, ...weights]) => weights.map((w) => e.op('Gemm', [x!, w], { transB: 1n })),
  linearGradInput: ({ e }, inputs) => {
    const count = inputs.length / 2;
    let sum = '';
    for (let i = 0; i < count; i++)
      sum = e.op(
        'Gemm',
        [inputs[i]!, inputs[count + i]!, sum].filter((name) => name),
      );
    return [sum];
  },
  gatherRows: ({ e }, [table, ids]) => [e.op('Gather', [table!, ids!])],
  scatterRows: ({ e, size }, [rows, ids], { inputs: [value], attributes: { count } }) => {
    const columns = e.i64(width(value));
    const zeros = e.op('ConstantOfShape', [e.op('Concat', [size(count), columns], { axis: 0n })]);
    const places = e.op('Expand', [
      e.op('Unsqueeze', [ids!, e.i64(1)]),
      e.op('Concat', [e.i64(1), columns], { axis: 0n }),
    ]);
    return [e.op('ScatterElements', [zeros, places, rows!], { axis: 0n, reduction: 'add' })];
  },
  split: ({ e }, [x], { attributes: { widths } }) =>
    e.many('Split', [x!, e.i64(...widths)], widths.length, { axis: 1n }),
  join: ({ e }, inputs) => [e.op('Concat', inputs, { axis: 1n })],
  rmsNorm: ({ e }, [x, w], { inputs: [value, weight], attributes: { eps } }) => {
    const { apart, together, rstdTogether } = partsOf(e, value!, weight!);
    const options = { axis: -1n, epsilon: eps, stash_type: 1n };
    const [y, rstd] = e.many('SimplifiedLayerNormalization', [apart(x!), w!], 2, options) as [string, string];
    return [together(y), rstdTogether(rstd)];
  },
  // With n = x·rstd and g = dy·w: dx = rstd·(g − n·mean(g·n)), dw = Σ dy·n
  rmsNormGrad: ({ e }, [dy, x, w, rstd], { inputs: [, value, weight], attributes: { forWeight } }) => {
    const { apart, together, rstdApart } = partsOf(e, value!, weight!);
    const [d, r] = [apart(dy!), rstdApart(rstd!)];
    const n = e.op('Mul', [apart(x!), r]);
    const g = e.op('Mul', [d, w!]);
    const mean = e.op('ReduceMean', [e.op('Mul', [g, n]), e.i64(-1)]);
    const dx = together(e.op('Mul', [e.op('Sub', [g, e.op('Mul', [n, mean])]), r]));
    return forWeight ? [dx, e.op('ReduceSum', [e.op('Mul', [d, n]), e.i64(0)], { keepdims: 0n })] : [dx];
  },
  rope: ({ e, once }, inputs, { inputs: values, attributes }) => {
    const { headDim, frequencies, inverse, scale = 1 } = attributes;
    const positions = inputs.at(-1)!;
    const [cos, sin] = once(`rope ${positions} ${frequencies} ${scale}`, () => {
      const column = e.op('Unsqueeze', [e.op('Cast', [positions], { to: 1n }), e.i64(1)]);
      // Whole vectors per row: the last values of an array go another way through cos and sin, with other last bits.
      const half = frequencies.length;
      const padded = Array.from({ length: Math.ceil(half / 16) * 16 }, (_, j) => frequencies[j] ?? 0);
      const angles = e.op('Mul', [column, e.f32(padded, [1, padded.length])]);
      const cut = (x: string) => (padded.length === half ? x : e.op('Slice', [x, e.i64(0), e.i64(half), e.i64(1)]));
      const scaled = (x: string) => (scale === 1 ? x : e.op('Mul', [x, e.scalar(scale)]));
      return [scaled(cut(e.op('Cos', [angles]))), scaled(cut(e.op('Sin', [angles])))];
    });
    const turn = inverse ? once(`rope back ${sin}`, () => e.op('Neg', [sin!])) : sin!;
    return inputs.slice(0, -1).map((x, i) => {
      const batch = e.op('Unsqueeze', [x, e.i64(0)]);
      const isWhole = 2 * frequencies.length === headDim;
      const heads = BigInt(width(values[i]) / headDim);
      const options = isWhole ? {} : { num_heads: heads, rotary_embedding_dim: BigInt(2 * frequencies.length) };
      const turned = e.op('RotaryEmbedding', [batch, e.i64(0), cos!, turn], options);
      return e.op('Squeeze', [turned, e.i64(0)]);
    });
  },
  attention: ({ e, segments }, inputs, { inputs: [q, k, , table], attributes }) => [
    packedAttention(e, inputs, segments(table!, q!.shape[0]!), headsOf(attributes, width(q), width(k))),
  ],
  attentionGrad: ({ e, segments }, [dout, ...qkv], { inputs: [, q, k, , table], attributes }) =>
    packedAttentionGrad(e, dout!, qkv, segments(table!, q!.shape[0]!), headsOf(attributes, width(q), width(k))),
  glu: ({ e }, [gate, up], { attributes: { activation } }) => {
    const active = activations[activation].value(e, gate!);
    return [up === undefined ? active : e.op('Mul', [active, up])];
  },
  // dup = dy·f(gate), dgate = dy·up·f'(gate)
  gluGrad: ({ e }, [dy, gate, up], { attributes: { activation } }) => {
    const { value, slope } = activations[activation].both(e, gate!);
    if (up === undefined) return [e.op('Mul', [dy!, slope])];
    return [e.op('Mul', [e.op('Mul', [dy!, up]), slope]), e.op('Mul', [dy!, value])];
  },
  tokenLogProbs: ({ e }, inputs, { inputs: [, head], attributes }) => [
    tokenLogProbs(e, inputs, attributes, head!.shape[0] as number),
  ],
  tokenLogProbsGrad: ({ e, size }, inputs, { inputs: [, , head], attributes }) => {
    const [vocabulary, columns] = head!.shape as [number, number];
    if (!attributes.forWeight) return tokenLogProbsGrad(e, inputs, attributes, { vocabulary, width: columns });
    const zeros = e.op('ConstantOfShape', [e.op('Concat', [size(vocabulary), e.i64(columns)], { axis: 0n })]);
    return tokenLogProbsGrad(e, inputs, attributes, { vocabulary, width: columns, zeros });
  },
  dropout: ({ e, once }, [x, keys], { inputs: [value], attributes }) => {
    const columns = e.i32([...dropoutColumns(attributes.salt, width(value))], [1, width(value)]);
    const odd = once(`odd ${keys}`, () => e.op('Unsqueeze', [e.op('BitwiseOr', [keys!, e.i32([1])]), e.i64(1)]));
    const stays = e.op('GreaterOrEqual', [e.op('Mul', [odd, columns]), e.i32([dropoutThreshold(attributes)])]);
    const scaled = e.op('Mul', [x!, e.scalar(1 / (1 - attributes.probability))]);
    return [e.op('Where', [stays, scaled, e.scalar(0)])];
  },
  // A Reshape to x's own shape moves nothing. What it is to come after adds none of its values to that shape, which
  // onnxruntime cannot know: it chooses an order of its own, in which it would do all leaves of the graph last.
  barrier: ({ e }, [x, ...after]) => {
    const nothingOf = (value: string) => {
      const none = e.op('Slice', [e.op('Reshape', [value, e.i64(-1)]), e.i64(0), e.i64(0)]);
      return e.op('Cast', [none], { to: 7n });
    };
    return [e.op('Reshape', [x!, e.op('Concat', [e.op('Shape', [x!]), ...after.map(nothingOf)], { axis: 0n })])];
  },
  decodeAttention: ({ e, once }, [q, k, v, keys, values, lengths], { inputs, attributes }) => {
    const h = headsOf(attributes, width(inputs[0]), width(inputs[1]));
    const key = `decode ${lengths} ${inputs[3]!.shape[2]} ${h.window}`;
    const masks = once(key, () => decodeMasks(e, lengths!, keys!, h));
    return [decodeAttention(e, [q!, k!, v!], [keys!, values!], masks, h)];
  },
  sample: ({ e }, [logits, uniforms], { inputs: [value], attributes }) =>
    sample(e, logits!, uniforms!, attributes, width(value)),
  accumulate: null,
  zero: null,
  cacheWrite: null,
  cacheMove: null,
  adamw: null,
  rmsprop: null,
} satisfies { [K in OpName]: Rule<K> | null };

/** Compiles `graph`. With `freeze`, states that it only reads become part of the session. */
export function lower(graph: Graph, freeze: boolean): Plan {
  verifyGraph(graph);
  const e = emitter();
  const tensors = new Map<Value, string>();
  const feeds = new Map<string, FeedSource>();
  const weights: { location: string; state: string }[] = [];
  const shared = new Map<string, unknown>();
  const rowsOfCaches = cacheRows(graph);
  const changed = new Set(
    graph.nodes.flatMap((node) => (isEffect(node.op) ? node.inputs.flatMap((v) => stateName(v) ?? []) : [])),
  );
  const uses = new Map<Value, number>();
  for (const node of graph.nodes) for (const v of node.inputs) uses.set(v, (uses.get(v) ?? 0) + 1);
  for (const v of graph.outputs.values()) uses.set(v, (uses.get(v) ?? 0) + 1);

  function feed(tensor: string, source: FeedSource, type: 'f32' | 'i32' | 'i64', shape: Shape): string {
    if (!feeds.has(tensor)) {
      feeds.set(tensor, source);
      e.input(tensor, type, shape);
    }
    return tensor;
  }
  const context: Context = {
    e,
    once: (key, make) => {
      if (!shared.has(key)) shared.set(key, make());
      return shared.get(key) as ReturnType<typeof make>;
    },
    size: (dim) => feed(`size ${dim}`, { kind: 'size', dim }, 'i64', [1]),
    shape: (shape) => {
      if (shape.every((dim) => typeof dim === 'number')) return e.i64(...(shape as number[]));
      const sizes = shape.map((dim) => (typeof dim === 'number' ? e.i64(dim) : context.size(dim)));
      return sizes.length === 1 ? sizes[0]! : e.op('Concat', sizes, { axis: 0n });
    },
    segments: (table, tokens) => {
      if (!isNode(table.node, 'input')) throw failure({ what: 'a segment table must be an input of the graph' });
      const { name: input } = table.node.attributes;
      const part = (which: SegmentPart, type: 'i32' | 'i64', shape: Shape) =>
        feed(`${input} ${which}`, { kind: 'segments', input, tokens, part: which }, type, shape);
      return {
        count: part('count', 'i64', []),
        chunks: part('chunks', 'i64', [`${input} chunks`, CHUNK_COLUMNS]),
        queryIds: part('queryIds', 'i32', [`${input} query ids`]),
        keyIds: part('keyIds', 'i32', [`${input} key ids`]),
        lengths: part('lengths', 'i64', [table.shape[0]!, 2]),
        queryStride: part('queryStride', 'i64', [1]),
        keyStride: part('keyStride', 'i64', [1]),
        queryRows: part('queryRows', 'i32', [tokens]),
        keyRows: part('keyRows', 'i32', [`${input} uses`, tokens]),
      };
    },
  };

  /** The ONNX tensor of a value; sources are declared when first asked for. */
  function tensor(value: Value): string {
    let name = tensors.get(value);
    if (name === undefined) {
      const { node } = value;
      if (isNode(node, 'input')) {
        const source = node.attributes.name;
        name = feed(`input ${source}`, { kind: 'input', name: source }, onnxType(value), value.shape);
      } else if (isNode(node, 'state')) name = stateTensor(node);
      else {
        const rule = rules[node.op] as Rule<OpName>;
        const results = rule(
          context,
          node.inputs.map((v, i) => (isTableOf(node, i) ? '' : tensor(v))),
          node,
        );
        node.values.forEach((v, i) => {
          tensors.set(v, results[i]!);
        });
        return results[value.index]!;
      }
      tensors.set(value, name);
    }
    return name;
  }

  function stateTensor(node: Node<'state'>): string {
    const { name: state, type } = node.attributes;
    const rows = rowsOfCaches.get(state);
    if (freeze && !changed.has(state) && type.shape.every((dim) => typeof dim === 'number')) {
      weights.push({ location: `w${weights.length}`, state });
      return e.weight(`state ${state}`, type.shape as number[], `w${weights.length - 1}`);
    }
    const shape = rows === undefined ? type.shape : [rows, ...type.shape.slice(1)];
    return feed(
      `state ${state}`,
      { kind: 'state', name: state, ...(rows === undefined ? {} : { rows }) },
      'f32',
      shape,
    );
  }

  const fetches = new Map<string, { type: 'f32' | 'i32'; rank: number }>();
  function fetch(value: Value): string {
    const isSource = value.node.op === 'input' || value.node.op === 'state' || value.node.op === 'constant';
    let name = tensor(value);
    if (isSource) name = context.once(`copy ${name}`, () => e.op('Identity', [name]));
    fetches.set(name, { type: onnxType(value), rank: value.shape.length });
    return name;
  }

  function operand(value: Value): OperandSource {
    const { node } = value;
    if (isNode(node, 'input')) return { kind: 'input', name: node.attributes.name };
    return { kind: 'tensor', name: fetch(value) };
  }

  // Nodes in graph order, so that onnxruntime sees them in the order in which their results die.
  const fused = new Set(
    graph.nodes
      .filter((node) => isNode(node, 'accumulate') && isRowUpdate(node.inputs[1]!))
      .map((node) => node.inputs[1]!),
  );
  function isRowUpdate(value: Value): boolean {
    return value.node.op === 'scatterRows' && uses.get(value) === 1;
  }
  for (const node of graph.nodes) {
    if (isEffect(node.op) || node.op === 'input' || node.op === 'state') continue;
    if (node.values.some((v) => fused.has(v)) || !node.values.some((v) => uses.has(v))) continue;
    tensor(node.values[0]!);
  }

  const outputs = [...graph.outputs].map(([name, value]) => ({ name, tensor: fetch(value) }));
  const effects = graph.nodes.flatMap((node) => {
    const { op, attributes, inputs } = node;
    if (!isEffect(op)) return [];
    const operands = inputs.map((value, i): OperandSource => {
      if (i < effectOps[op]) return { kind: 'state', name: stateName(value)! };
      if (!fused.has(value)) return operand(value);
      const [rows, ids] = value.node.inputs;
      return { kind: 'rows', rows: operand(rows!), ids: operand(ids!) };
    });
    return [{ op, operands, attributes: attributes as Plan['effects'][number]['attributes'] }];
  });
  return {
    model: fetches.size === 0 ? null : e.model([...fetches].map(([name, type]) => ({ name, ...type }))),
    feeds: [...feeds].map(([name, source]) => ({ tensor: name, source })),
    weights,
    outputs,
    effects,
    fetches: [...fetches.keys()],
  };
}

function stateName(value: Value): string | undefined {
  return isNode(value.node, 'state') ? value.node.attributes.name : undefined;
}

function onnxType(value: Value): 'f32' | 'i32' {
  return value.dtype === 'i32' ? 'i32' : 'f32';
}

/** Whether input i is a segment table, which reaches the model only as what segments.ts makes of it. */
function isTableOf(node: Node, i: number): boolean {
  return (node.op === 'attention' && i === 3) || (node.op === 'attentionGrad' && i === 4);
}

/** Caches that decodeAttention reads are fed with as many of their rows as there are queries. */
function cacheRows(graph: Graph): Map<string, Dim> {
  const rows = new Map<string, Dim>();
  for (const node of graph.nodes) {
    if (!isNode(node, 'decodeAttention')) continue;
    for (const cache of [node.inputs[3]!, node.inputs[4]!]) {
      const name = stateName(cache);
      if (name === undefined) throw failure({ what: 'the caches of decodeAttention must be states' });
      rows.set(name, node.inputs[0]!.shape[0]!);
    }
  }
  return rows;
}
