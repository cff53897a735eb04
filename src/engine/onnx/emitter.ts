/**
 * Writes ONNX graphs: nodes by op type, small constants, loops with bodies. Tensors are referred to by name; names are
 * unique over the whole model, so a loop body may capture any tensor of the graphs around it.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import {
  type AttributeProto,
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataLocation as DataLocation,
  TensorProto_DataType as DataType,
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './proto/onnx_pb.ts';

export type ElementType = 'f32' | 'i32' | 'i64' | 'bool';
export type AttributeValue = number | bigint | readonly bigint[] | string | GraphProto;
type Attributes = Readonly<Record<string, AttributeValue>>;

/** ONNX domain of onnxruntime's own ops. */
const MICROSOFT = 'com.microsoft';
const microsoftOps = new Set(['FusedMatMul', 'RotaryEmbedding', 'QuickGelu', 'FastGelu']);

const elementTypes: Readonly<Record<ElementType, DataType>> = {
  f32: DataType.FLOAT,
  i32: DataType.INT32,
  i64: DataType.INT64,
  bool: DataType.BOOL,
};

/** A float attribute; whole numbers given as `bigint` become int attributes. */
function attribute(name: string, value: AttributeValue): AttributeProto {
  if (typeof value === 'number') return create(AttributeProtoSchema, { name, type: AttributeType.FLOAT, f: value });
  if (typeof value === 'bigint') return create(AttributeProtoSchema, { name, type: AttributeType.INT, i: value });
  if (typeof value === 'string') {
    return create(AttributeProtoSchema, { name, type: AttributeType.STRING, s: new TextEncoder().encode(value) });
  }
  if (Array.isArray(value)) {
    return create(AttributeProtoSchema, { name, type: AttributeType.INTS, ints: [...(value as bigint[])] });
  }
  return create(AttributeProtoSchema, { name, type: AttributeType.GRAPH, g: value as GraphProto });
}

/** Declares a tensor; dimensions are sizes, names of unknown sizes, or null for an unknown rank. */
function valueInfo(name: string, type: ElementType, shape: readonly (number | string)[] | null): ValueInfoProto {
  const dims = shape?.map((dim) =>
    typeof dim === 'number'
      ? { value: { case: 'dimValue' as const, value: BigInt(dim) } }
      : { value: { case: 'dimParam' as const, value: dim } },
  );
  return create(ValueInfoProtoSchema, {
    name,
    type: {
      value: {
        case: 'tensorType',
        value: { elemType: elementTypes[type], ...(dims ? { shape: { dim: dims } } : {}) },
      },
    },
  });
}

interface Shared {
  names: number;
  readonly constants: Map<string, string>;
  readonly initializers: TensorProto[];
  readonly inputs: ValueInfoProto[];
}

/** What a loop body returns, by name. */
export interface LoopResults {
  readonly carried: string[];
  readonly scanned: string[];
}

export interface Emitter {
  /** A node with one result; returns the result's name. */
  op(opType: string, inputs: readonly string[], attributes?: Attributes): string;
  /** A node with several results. */
  many(opType: string, inputs: readonly string[], outputs: number, attributes?: Attributes): string[];
  /** Constants; equal ones are stored once. */
  f32(values: readonly number[], shape?: readonly number[]): string;
  i32(values: readonly number[], shape?: readonly number[]): string;
  i64(...values: number[]): string;
  scalar(value: number): string;
  /** A tensor that is given at every run. */
  input(name: string, type: ElementType, shape: readonly (number | string)[]): string;
  /** A tensor whose bytes onnxruntime takes from memory registered under `location` when the session is made. */
  weight(name: string, shape: readonly number[], location: string): string;
  /**
   * `trips` (i64 scalar) rounds of `body`, which is given the round's number (i64 scalar) and the carried tensors.
   * What it returns as `scanned` is stacked along a new first axis. All carried and scanned tensors are f32.
   */
  loop(
    trips: string,
    initial: readonly string[],
    body: (inner: Emitter, round: string, carried: readonly string[]) => LoopResults,
  ): LoopResults;
  graph(inputs: ValueInfoProto[], outputs: ValueInfoProto[], initializers: TensorProto[]): GraphProto;
  /** The finished model, serialised. */
  model(outputs: readonly { name: string; type: ElementType; rank: number }[]): Uint8Array;
}

/** An emitter for a whole model, or (with `shared`) for a loop body within it. */
export function emitter(shared: Shared = { names: 0, constants: new Map(), initializers: [], inputs: [] }): Emitter {
  const nodes: NodeProto[] = [];
  const fresh = () => `t${shared.names++}`;

  function many(opType: string, inputs: readonly string[], outputs: number, attributes: Attributes = {}): string[] {
    const names = Array.from({ length: outputs }, fresh);
    nodes.push(
      create(NodeProtoSchema, {
        opType,
        domain: microsoftOps.has(opType) ? MICROSOFT : '',
        name: `${opType}_${names[0]}`,
        input: [...inputs],
        output: names,
        attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
      }),
    );
    return names;
  }
  const op = (opType: string, inputs: readonly string[], attributes: Attributes = {}): string =>
    many(opType, inputs, 1, attributes)[0]!;

  function constant(type: 'f32' | 'i64' | 'i32', values: readonly number[], shape: readonly number[]): string {
    const key = `${type}[${shape}]${values}`;
    let name = shared.constants.get(key);
    if (name === undefined) {
      name = fresh();
      const data =
        type === 'f32'
          ? Float32Array.from(values)
          : type === 'i32'
            ? Int32Array.from(values)
            : BigInt64Array.from(values, BigInt);
      shared.initializers.push(
        create(TensorProtoSchema, {
          name,
          dataType: elementTypes[type],
          dims: shape.map(BigInt),
          rawData: new Uint8Array(data.buffer),
        }),
      );
      shared.constants.set(key, name);
    }
    return name;
  }

  return {
    op,
    many,
    f32: (values: readonly number[], shape: readonly number[] = [values.length]) => constant('f32', values, shape),
    i32: (values: readonly number[], shape: readonly number[] = [values.length]) => constant('i32', values, shape),
    i64: (...values: number[]) => constant('i64', values, [values.length]),
    scalar: (value: number) => constant('f32', [value], []),

    input: (name, type, shape) => {
      shared.inputs.push(valueInfo(name, type, shape));
      return name;
    },
    weight: (name, shape, location) => {
      const size = shape.reduce((n, dim) => n * dim, 4);
      shared.initializers.push(
        create(TensorProtoSchema, {
          name,
          dataType: DataType.FLOAT,
          dims: shape.map(BigInt),
          dataLocation: DataLocation.EXTERNAL,
          externalData: [
            { key: 'location', value: location },
            { key: 'offset', value: '0' },
            { key: 'length', value: String(size) },
          ],
        }),
      );
      return name;
    },

    loop: (trips, initial, body) => {
      const inner = emitter(shared);
      const round = fresh();
      const condition = fresh();
      const carried = initial.map(fresh);
      const result = body(inner, round, carried);
      // A body's result must be made by one of its own nodes under a name of its own.
      const results = [...result.carried, ...result.scanned].map((name) => inner.op('Identity', [name]));
      const proceed = inner.op('Identity', [condition]);
      const graph = inner.graph(
        [
          valueInfo(round, 'i64', []),
          valueInfo(condition, 'bool', []),
          ...carried.map((name) => valueInfo(name, 'f32', null)),
        ],
        [valueInfo(proceed, 'bool', []), ...results.map((name) => valueInfo(name, 'f32', null))],
        [],
      );
      const outputs = many('Loop', [trips, '', ...initial], results.length, { body: graph });
      return { carried: outputs.slice(0, initial.length), scanned: outputs.slice(initial.length) };
    },

    graph: (inputs, outputs, initializers) =>
      create(GraphProtoSchema, {
        name: 'selfplay',
        node: nodes,
        input: inputs,
        output: outputs,
        initializer: initializers,
      }),

    model(outputs) {
      const infos = outputs.map(({ name, type, rank }) =>
        valueInfo(
          name,
          type,
          Array.from({ length: rank }, (_, axis) => `${name}.${axis}`),
        ),
      );
      return toBinary(
        ModelProtoSchema,
        create(ModelProtoSchema, {
          irVersion: 10n,
          producerName: 'selfplay',
          opsetImport: [
            { domain: '', version: 21n },
            { domain: MICROSOFT, version: 1n },
          ],
          graph: this.graph(shared.inputs, infos, shared.initializers),
        }),
      );
    },
  };
}
