// `selfplay doctor`: what this machine has, whether the engine works on it and how fast, and what to mind. It measures
// through the same engine that trains; each measurement takes about a second and reports the best of its tries.
import { statfs } from 'node:fs/promises';
import { arch, cpus, platform, release, totalmem } from 'node:os';
import { type EngineInfo, onnxEngine } from '../engine/index.ts';
import { graphBuilder } from '../graph/index.ts';
import { describeError } from '../util/index.ts';

const GIB = 2 ** 30;
/** Side of the square matrices that are multiplied. */
const SIDE = 1024;
const COPIED_FLOATS = 1 << 24;
const MEASURE_MS = 1000;
/** fp32 weights, gradients and the two moments of AdamW. */
const BYTES_PER_PARAMETER = 16;
/** The rest is for activations, the opponent and the system. */
const SHARE_FOR_PARAMETERS = 0.6;

export interface Diagnosis {
  readonly node: string;
  readonly system: string;
  readonly processor: string;
  /** Bytes, as far as the system or a container allows. */
  readonly memory: { readonly total: number; readonly available: number };
  /** Bytes free where runs would be written. */
  readonly disk: { readonly directory: string; readonly free: number };
  /** Null when the engine does not work; then `problem` says why. */
  readonly engine: (EngineInfo & { readonly gemmGflops: number }) | null;
  readonly problem: string | null;
  /** Bytes read plus bytes written per second by one thread, in 1e9. */
  readonly copyGigabytesPerSecond: number;
  readonly hints: readonly string[];
}

/** Looks and measures. A broken engine is a finding, not an error. */
export async function diagnose(directory: string): Promise<Diagnosis> {
  const { bavail, bsize } = await statfs(directory);
  const limit = process.constrainedMemory();
  const total = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  let engine: Diagnosis['engine'] = null;
  let problem: string | null = null;
  try {
    engine = await measureEngine();
  } catch (error) {
    problem = describeError(error);
  }
  const found = {
    node: process.versions.node,
    system: `${platform()} ${release()}, ${arch()}`,
    processor: `${cpus()[0]?.model.trim() ?? 'unknown'}, ${cpus().length} cores`,
    memory: { total, available: Math.min(total, process.availableMemory()) },
    disk: { directory, free: bavail * bsize },
    engine,
    problem,
    copyGigabytesPerSecond: measureCopy(),
  };
  return { ...found, hints: hintsOn(found) };
}

/** GFLOP/s of the matrix product that training consists of, on all threads. */
async function measureEngine(): Promise<Diagnosis['engine']> {
  const engine = await onnxEngine();
  try {
    const graph = graphBuilder();
    const [a, b] = [graph.state('a', [SIDE, SIDE]), graph.state('b', [SIDE, SIDE])];
    // One number leaves the engine, so that copying the product out is not part of the time.
    graph.output('sum', graph.sumSquares(graph.matmul(a, b, { transposeB: true })));
    for (const name of ['a', 'b']) {
      await engine.createState(name, [SIDE, SIDE]);
      await engine.writeState(name, new Float32Array(SIDE * SIDE).fill(1 / SIDE));
    }
    const program = await engine.compile(graph.build());
    const seconds = await fastest(() => program.run({}));
    return { ...engine.info, gemmGflops: (2 * SIDE ** 3) / seconds / 1e9 };
  } finally {
    await engine.dispose();
  }
}

function measureCopy(): number {
  const [from, to] = [new Float32Array(COPIED_FLOATS).fill(1), new Float32Array(COPIED_FLOATS)];
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    to.set(from);
    best = Math.min(best, performance.now() - start);
  }
  return (2 * from.byteLength) / (best / 1000) / 1e9;
}

/** Seconds of the fastest of some runs, after one that does not count. */
async function fastest(run: () => Promise<unknown>): Promise<number> {
  await run();
  const end = performance.now() + MEASURE_MS;
  let best = Number.POSITIVE_INFINITY;
  do {
    const start = performance.now();
    await run();
    best = Math.min(best, performance.now() - start);
  } while (performance.now() < end);
  return best / 1000;
}

/** What to mind, in whole sentences. */
export function hintsOn(found: Omit<Diagnosis, 'hints'>): string[] {
  const hints: string[] = [];
  const [major = 0, minor = 0] = found.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) hints.push('Node.js 20.19 or newer is needed: install it first.');
  if (found.engine === null) {
    hints.push('The engine does not work here, so no model can run: reinstall with `npm install`, on a 64-bit system.');
  }
  const millions = (found.memory.available * SHARE_FOR_PARAMETERS) / BYTES_PER_PARAMETER / 1e6;
  const rounded = Number(millions.toPrecision(1));
  hints.push(`The free memory suffices for training models of up to roughly ${rounded} million parameters.`);
  if (found.disk.free < 10 * GIB) {
    hints.push(
      'The disk has little room: every iteration keeps a model (4 bytes per parameter), a checkpoint up to 12 more.',
    );
  }
  return hints;
}

/** The findings as lines of text. */
export function diagnosisText(found: Diagnosis): string {
  const { engine, memory, disk } = found;
  const gib = (bytes: number): string => `${(bytes / GIB).toFixed(1)} GiB`;
  const rows: [string, string][] = [
    ['Node.js', found.node],
    ['System', found.system],
    ['Processor', found.processor],
    ['Memory', `${gib(memory.available)} free of ${gib(memory.total)}`],
    ['Disk', `${gib(disk.free)} free in ${disk.directory}`],
  ];
  if (engine === null) {
    rows.push(['Engine', `does not work: ${found.problem}`]);
  } else {
    rows.push([
      'Engine',
      `onnxruntime ${engine.version} on the ${engine.device}, ${engine.dtype}, ${engine.threads} threads`,
    ]);
    rows.push(['Matrix product', `${engine.gemmGflops.toFixed(0)} GFLOP/s`]);
  }
  rows.push(['Memory copy', `${found.copyGigabytesPerSecond.toFixed(1)} GB/s read and written, one thread`]);
  return [...rows.map(([name, value]) => `${name.padEnd(15)} ${value}`), '', ...found.hints].join('\n');
}
