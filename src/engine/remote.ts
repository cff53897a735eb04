/**
 * The caller's side of an engine that lives in a worker thread: checks names, shapes and types, says which states are
 * frozen, and hands everything to the worker.
 */
import { bindShape, effectOps, type Graph, isEffect, isNode, type TensorType } from '../graph/index.ts';
import { failure, openWorker } from '../util/index.ts';
import type { CompileOptions, Engine, EngineInfo, Program, Tensor } from './contract.ts';
import { type Holding, plannedBytes } from './memory.ts';
import type { Problem, Reply, Request, Results } from './messages.ts';

export interface RemoteOptions<P, H> {
  /** Folder name below engine/, for messages. */
  readonly name: string;
  /** URL of the worker's source; what is built has .js in place of .ts. */
  readonly worker: URL;
  /** Its workerData. */
  readonly settings: unknown;
  /** What it is to say of itself, from what the worker found. */
  readonly info: (hello: H) => EngineInfo;
  /** Checks a graph and says what the worker needs to know of it, and which states it holds as they are. */
  readonly prepare: (graph: Graph, freeze: boolean) => { readonly plan: P; readonly held: Iterable<string> };
  /** How it holds the values of a run. */
  readonly holding: Holding;
}

/** Starts the worker. Throws the failure that it met when it opened. */
export async function remoteEngine<P, H>({
  name: engineName,
  worker,
  settings,
  info,
  prepare,
  holding,
}: RemoteOptions<P, H>): Promise<Engine> {
  const { call, close, hello } = await startWorker<P, H>(engineName, worker, settings);
  const shapes = new Map<string, readonly number[]>();
  /** How many living programs rely on a state staying as it is. */
  const frozen = new Map<string, number>();
  let programs = 0;

  const shapeOf = (name: string): readonly number[] => {
    const shape = shapes.get(name);
    if (!shape) throw failure({ what: `there is no state "${name}"` });
    return shape;
  };
  const demandThawed = (name: string) => {
    if ((frozen.get(name) ?? 0) > 0) {
      throw failure({ what: `state "${name}" is frozen by a compiled program`, fix: 'dispose of that program first' });
    }
  };

  async function compile(graph: Graph, { freeze = false }: CompileOptions = {}): Promise<Program> {
    const { plan, held } = prepare(graph, freeze);
    const program = programs++;
    const inputs = new Map<string, TensorType>();
    const states = new Map<string, TensorType>();
    const changed = new Set<string>();
    for (const node of graph.nodes) {
      if (isNode(node, 'input')) inputs.set(node.attributes.name, node.attributes.type);
      if (isNode(node, 'state')) states.set(node.attributes.name, node.attributes.type);
      if (!isEffect(node.op)) continue;
      for (const { node: target } of node.inputs.slice(0, effectOps[node.op])) {
        if (isNode(target, 'state')) changed.add(target.attributes.name);
      }
    }
    const bindStates = (bindings: Map<string, number>) => {
      for (const [name, { shape }] of states) bindShape(`state "${name}"`, shape, shapeOf(name), bindings);
    };
    bindStates(new Map());
    await call({ kind: 'compile', program, plan });
    for (const name of held) frozen.set(name, (frozen.get(name) ?? 0) + 1);
    let alive = true;

    return {
      run: async (given) => {
        if (!alive) throw failure({ what: 'the program was disposed of' });
        const bindings = new Map<string, number>();
        bindStates(bindings);
        for (const [name, { shape, dtype }] of inputs) {
          const tensor = given[name];
          if (!tensor) throw failure({ what: `input "${name}" is missing` });
          checkTensor(name, tensor, dtype);
          bindShape(`input "${name}"`, shape, tensor.shape, bindings);
        }
        const unknown = Object.keys(given).find((name) => !inputs.has(name));
        if (unknown !== undefined) throw failure({ what: `the program has no input "${unknown}"` });
        changed.forEach(demandThawed);
        return call(
          { kind: 'run', program, inputs: given, bindings },
          Object.values(given).map(({ data }) => data),
        );
      },
      dispose: async () => {
        if (!alive) return;
        alive = false;
        for (const name of held) frozen.set(name, frozen.get(name)! - 1);
        await call({ kind: 'disposeProgram', program });
      },
    };
  }

  return {
    info: info(hello),
    compile,
    createState: async (name, shape, options = {}) => {
      demandThawed(name);
      shapes.set(name, [...shape]);
      await call({ kind: 'createState', name, shape, options });
    },
    resizeState: async (name, axis, size) => {
      demandThawed(name);
      const shape = shapeOf(name);
      if (!(axis in shape)) throw failure({ what: `state "${name}" has no axis ${axis}` });
      shapes.set(name, shape.with(axis, size));
      await call({ kind: 'resizeState', name, axis, size });
    },
    writeState: async (name, data) => {
      demandThawed(name);
      const shape = shapeOf(name);
      if (data.length !== shape.reduce((n, dim) => n * dim, 1)) {
        throw failure({ what: `state "${name}" has shape [${shape}], got ${data.length} values` });
      }
      await call({ kind: 'writeState', name, data }, [data]);
    },
    readState: async (name) => {
      shapeOf(name);
      return call({ kind: 'readState', name });
    },
    dropState: async (name) => {
      demandThawed(name);
      shapeOf(name);
      shapes.delete(name);
      await call({ kind: 'dropState', name });
    },
    states: async () => {
      await call({ kind: 'ping' });
      return new Map(shapes);
    },
    plannedBytes: (graph, sizes) => plannedBytes(graph, sizes, holding),
    memory: () => call({ kind: 'memory' }),
    dispose: close,
  };
}

function checkTensor(name: string, { shape, data }: Tensor, dtype: string): void {
  const given = data instanceof Int32Array ? 'i32' : 'f32';
  if (given !== dtype) throw failure({ what: `input "${name}" is ${given}, expected ${dtype}` });
  if (data.length !== shape.reduce((n, dim) => n * dim, 1)) {
    throw failure({ what: `input "${name}" has shape [${shape}] but ${data.length} values` });
  }
}

/** The worker as a function: one request, one promise. */
async function startWorker<P, H>(engine: string, module: URL, settings: unknown) {
  const worker = openWorker(module, settings);
  const pending = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  let ended: Error | undefined;
  let sent = 0;
  let greet: (hello: H) => void;
  let refuse: (error: Error) => void;
  const greeting = new Promise<H>((resolve, reject) => {
    [greet, refuse] = [resolve, reject];
  });

  function end(reason: Error): void {
    ended ??= reason;
    for (const { reject } of pending.values()) reject(ended);
    pending.clear();
    refuse(ended);
  }
  const problem = ({ what, fix, code }: Problem) => failure({ what: `engine ${engine}: ${what}`, fix, code });
  worker.on('message', (reply: Reply<H>) => {
    if (reply.kind === 'hello') greet(reply.hello);
    else if (reply.kind === 'stillborn') end(problem(reply.problem));
    else {
      const waiting = pending.get(reply.id);
      pending.delete(reply.id);
      if (reply.kind === 'result') waiting?.resolve(reply.result as never);
      else waiting?.reject(problem(reply.problem));
    }
    if (pending.size === 0) worker.unref();
  });
  worker.on('error', (cause) => end(failure({ what: `the engine's thread failed: ${cause.message}`, cause })));
  worker.on('exit', (code) => end(failure({ what: `the engine's thread ended (code ${code})` })));

  function call<K extends Request<P>['kind']>(
    request: Request<P> & { kind: K },
    arrays: readonly (Float32Array | Int32Array)[] = [],
  ): Promise<Results[K]> {
    if (ended) return Promise.reject(ended);
    const id = sent++;
    worker.ref();
    return new Promise((resolve, reject) => {
      pending.set(id, { resolve, reject });
      worker.postMessage({ id, request }, [...new Set(arrays.map(({ buffer }) => buffer as ArrayBuffer))]);
    });
  }
  const hello = await greeting.catch(async (error: unknown) => {
    await worker.terminate();
    throw error;
  });
  return {
    call,
    hello,
    close: async () => {
      if (ended) return;
      const exited = new Promise((resolve) => worker.once('exit', resolve));
      await call({ kind: 'close' });
      end(failure({ what: 'the engine was disposed of' }));
      worker.ref();
      await exited;
    },
  };
}
