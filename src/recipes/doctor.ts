// `selfplay doctor`: what this machine has, which engines work on it and how fast, which one would be chosen and why, and
// what to mind. It measures through the engines that train; each measurement takes a second or two.
import { statfs } from 'node:fs/promises';
import { arch, cpus, platform, release, totalmem } from 'node:os';
import {
  chooseEngine,
  type EngineChoice,
  type EngineFacts,
  type EngineInfo,
  engineFacts,
  gemmPeak,
  installSize,
  openChoice,
  readBandwidth,
  type TorchLibrary,
} from '../engine/index.ts';
import { describeError } from '../util/index.ts';
import { type Playable, playable } from './playable.ts';
import type { RecipeContext } from './run/context.ts';

type Env = Readonly<Record<string, string | undefined>>;

const GIB = 2 ** 30;
/** fp32 weights, gradients and the two moments of AdamW. */
const BYTES_PER_PARAMETER = 16;
/** The rest is for activations, the opponent and the system. */
const SHARE_FOR_PARAMETERS = 0.6;

/** An engine on a device in a dtype: its speed, or why it does not work. */
export type EngineFinding = Pick<EngineChoice, 'engine' | 'device' | 'dtype'> &
  (
    | {
        readonly info: EngineInfo;
        /** 1e9 FLOP/s of matrix products. */
        readonly gemmGflops: number;
        /** 1e9 bytes/s of reading a weight matrix. */
        readonly readGigabytesPerSecond: number;
      }
    | { readonly problem: string }
  );

export interface Diagnosis {
  readonly node: string;
  readonly system: string;
  readonly processor: string;
  /** The processor's instructions for bf16, fastest first. */
  readonly bf16: readonly string[];
  /** Whether NVIDIA's driver is here. */
  readonly gpu: boolean;
  /** Bytes, as far as the system or a container allows. */
  readonly memory: { readonly total: number; readonly available: number };
  /** Bytes free where runs would be written. */
  readonly disk: { readonly directory: string; readonly free: number };
  readonly torch: TorchLibrary | null;
  readonly engines: readonly EngineFinding[];
  /** What `--engine auto --device auto --dtype auto` means here. */
  readonly choice: EngineChoice | null;
  /** Whether a model can be played, where one is named. */
  readonly model: Playable | null;
  /** What does not work though it should; null when all is well. */
  readonly problem: string | null;
  readonly hints: readonly string[];
}

/**
 * Looks and measures. A broken engine is a finding, not an error.
 * @param directory where runs would be written
 * @param asked a model to look at, if any: a directory, a GGUF file or a name of the Hub
 */
export async function diagnose(
  directory: string,
  env: Env,
  asked?: { readonly model: string; readonly context: RecipeContext },
): Promise<Diagnosis> {
  const { bavail, bsize } = await statfs(directory);
  const limit = process.constrainedMemory();
  const total = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  const { facts, library, problem } = await look(env);
  const engines: EngineFinding[] = [];
  for (const combination of combinationsOn(facts)) engines.push(await measure(combination, library));
  const broken = engines.find((finding) => 'problem' in finding);
  const found = {
    node: process.versions.node,
    system: `${platform()} ${release()}, ${arch()}`,
    processor: `${cpus()[0]?.model.trim() ?? 'unknown'}, ${cpus().length} cores`,
    bf16: facts.bf16,
    gpu: facts.gpu,
    memory: { total, available: Math.min(total, process.availableMemory()) },
    disk: { directory, free: bavail * bsize },
    torch: library ?? null,
    engines,
    choice: problem === null ? chooseEngine({ engine: 'auto', device: 'auto', dtype: 'auto' }, facts) : null,
    model: asked === undefined ? null : await playable(asked.model, asked.context),
    problem: problem ?? broken?.problem ?? null,
  };
  return { ...found, hints: hintsOn(found) };
}

/** The facts; with a torch that the user named wrongly, those without torch, and what is wrong. */
async function look(env: Env) {
  try {
    return { ...(await engineFacts({ engine: 'auto', device: 'auto' }, env)), problem: null };
  } catch (error) {
    return { ...(await engineFacts({ engine: 'onnx', device: 'auto' }, env)), problem: describeError(error) };
  }
}

type Combination = Pick<EngineChoice, 'engine' | 'device' | 'dtype'>;

/** What is worth measuring here. */
export function combinationsOn({ torch, gpu, bf16, apple }: EngineFacts): Combination[] {
  const found: Combination[] = [{ engine: 'onnx', device: 'cpu', dtype: 'f32' }];
  if (!torch) return found;
  const add = (device: Combination['device'], ...dtypes: Combination['dtype'][]) => {
    for (const dtype of dtypes) found.push({ engine: 'torch', device, dtype });
  };
  add('cpu', 'f32');
  if (bf16.length > 0) add('cpu', 'bf16');
  if (gpu && torch.cuda) add('cuda', 'f32', 'tf32', 'bf16');
  if (apple) add('mps', 'f32');
  return found;
}

async function measure(combination: Combination, library: TorchLibrary | undefined): Promise<EngineFinding> {
  try {
    const engine = await openChoice(combination, library);
    try {
      const gemm = await gemmPeak(engine, [[1024, 1024, 1024]]);
      const bandwidth = await readBandwidth(engine, combination.dtype.endsWith('f32') ? 4 : 2);
      return {
        ...combination,
        info: engine.info,
        gemmGflops: gemm / 1e9,
        readGigabytesPerSecond: bandwidth / 1e9,
      };
    } finally {
      await engine.dispose();
    }
  } catch (error) {
    return { ...combination, problem: describeError(error) };
  }
}

/** What to mind, in whole sentences. */
export function hintsOn(found: Omit<Diagnosis, 'hints'>): string[] {
  const hints: string[] = [];
  const [major = 0, minor = 0] = found.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) hints.push('Node.js 20.19 or newer is needed: install it first.');
  if (found.engines.every((finding) => 'problem' in finding)) {
    hints.push('No engine works here, so no model can run: reinstall with `npm install`, on a 64-bit system.');
  }
  const size = installSize();
  const [fastest] = found.bf16;
  if (!found.torch && size && fastest !== undefined) {
    const megabytes = Math.ceil(size.packed / 1e6);
    hints.push(
      `The processor has ${fastest}, which engine onnx does not use and torch does: ` +
        `\`selfplay engine install torch\` (${megabytes} MB).`,
    );
  }
  if (found.gpu && !found.torch?.cuda) {
    hints.push('The GPU is not used: install torch with CUDA in a Python environment, then `selfplay engine use DIR`.');
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
  const { memory, disk, torch, choice } = found;
  const gib = (bytes: number): string => `${(bytes / GIB).toFixed(1)} GiB`;
  const rows: [string, string][] = [
    ['Node.js', found.node],
    ['System', found.system],
    ['Processor', `${found.processor}, ${found.bf16.length > 0 ? found.bf16.join(' and ') : 'no bf16'}`],
    ['GPU', found.gpu ? "NVIDIA's driver is here" : 'none found'],
    ['Memory', `${gib(memory.available)} free of ${gib(memory.total)}`],
    ['Disk', `${gib(disk.free)} free in ${disk.directory}`],
    ['torch', torch ? `${torch.version} (${torch.source}) in ${torch.directory}` : 'none found'],
    ...found.engines.map(engineRow),
  ];
  if (choice) {
    const reasons = choice.reasons.length > 0 ? ` (${choice.reasons.join('; ')})` : '';
    rows.push(['Chosen', `${choice.engine} on the ${choice.device} in ${choice.dtype}${reasons}`]);
  }
  if (found.model) rows.push(['Model', `${found.model.model}: ${found.model.sentence}`]);
  if (found.problem !== null) rows.push(['Problem', found.problem]);
  return [...rows.map(([name, value]) => `${name.padEnd(15)} ${value}`), '', ...found.hints].join('\n');
}

function engineRow(finding: EngineFinding): [string, string] {
  const name = `${finding.engine} ${finding.device} ${finding.dtype}`;
  if ('problem' in finding) return [name, 'does not work'];
  const { info, gemmGflops, readGigabytesPerSecond } = finding;
  const speeds = `matrix product ${gemmGflops.toFixed(0)} GFLOP/s, reading ${readGigabytesPerSecond.toFixed(1)} GB/s`;
  return [name, `${speeds}, ${info.threads} threads (version ${info.version})`];
}
