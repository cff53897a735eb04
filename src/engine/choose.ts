// Settings and what this machine has -> which engine computes, on which device, in which dtype, and why. Nothing is opened.
import { type SelfplayError, usageError } from '../util/index.ts';

export type DeviceName = 'cpu' | 'cuda' | `cuda:${number}` | 'mps';
/** tf32 is f32 whose products are rounded, on GPUs of NVIDIA. */
export type ComputeDtype = 'f32' | 'tf32' | 'bf16' | 'f16';

/** What the user asks for; 'auto' leaves it to `chooseEngine`. */
export interface EngineAsked {
  readonly engine: 'auto' | 'onnx' | 'torch';
  readonly device: 'auto' | DeviceName;
  readonly dtype: 'auto' | ComputeDtype;
}

/** What this machine has. */
export interface EngineFacts {
  /** The usable torch, if there is one; `cuda`: with its part for CUDA. */
  readonly torch: { readonly version: string; readonly cuda: boolean } | undefined;
  /** Whether there is an NVIDIA GPU with a driver. */
  readonly gpu: boolean;
  /** The processor's instructions for bf16, in order of speed: "AMX", "AVX512-BF16", "Arm BF16". */
  readonly bf16: readonly string[];
  /** Whether this is a Mac with Apple's processor. */
  readonly apple: boolean;
}

export interface EngineChoice {
  readonly engine: 'onnx' | 'torch';
  readonly device: DeviceName;
  readonly dtype: ComputeDtype;
  /** Short clauses, for people. */
  readonly reasons: readonly string[];
}

/** With these a product in bf16 is faster than in fp32; Arm's was not measured. */
const FAST_BF16: ReadonlySet<string> = new Set(['AMX', 'AVX512-BF16']);
const INSTALL = 'install it: `selfplay engine install torch`; or name one that is there: `selfplay engine use DIR`';

/** @throws usage error when what is asked for contradicts itself or what there is */
export function chooseEngine(asked: EngineAsked, facts: EngineFacts): EngineChoice {
  const [engine, whyEngine] = engineOf(asked, facts);
  if (engine === 'onnx') return onnxChoice(asked, whyEngine);
  const [device, whyDevice] = deviceOf(asked.device, facts);
  const [dtype, whyDtype] = dtypeOf(asked.dtype, device, facts);
  return { engine, device, dtype, reasons: [...whyEngine, ...whyDevice, ...whyDtype] };
}

function engineOf({ engine, device, dtype }: EngineAsked, { torch }: EngineFacts): ['onnx' | 'torch', string[]] {
  if (engine === 'onnx') return ['onnx', []];
  if (torch) return ['torch', engine === 'torch' ? [] : [`torch ${torch.version} is there`]];
  const wants = engine === 'torch' ? 'engine torch' : needsTorch(device, dtype);
  if (wants !== undefined) throw usageError({ what: `${wants} needs torch, and there is none here`, fix: INSTALL });
  return ['onnx', ['no torch is here']];
}

/** What of this only torch can do. */
function needsTorch(device: EngineAsked['device'], dtype: EngineAsked['dtype']): string | undefined {
  if (device !== 'auto' && device !== 'cpu') return `device ${device}`;
  return dtype === 'auto' || dtype === 'f32' ? undefined : `dtype ${dtype}`;
}

function onnxChoice({ device, dtype }: EngineAsked, reasons: readonly string[]): EngineChoice {
  const wants = needsTorch(device, dtype);
  if (wants !== undefined) throw usageError({ what: `${wants} is not for engine onnx`, fix: 'use --engine torch' });
  return { engine: 'onnx', device: 'cpu', dtype: 'f32', reasons };
}

function deviceOf(asked: EngineAsked['device'], { torch, gpu, apple }: EngineFacts): [DeviceName, string[]] {
  const refuse = (what: string, fix: string): SelfplayError => usageError({ what: `device ${asked}: ${what}`, fix });
  if (asked === 'auto') {
    if (gpu && torch?.cuda) return ['cuda', ['there is a GPU']];
    return ['cpu', gpu ? ['the GPU is not used: this torch has no CUDA'] : []];
  }
  if (asked === 'mps') {
    if (!apple) throw refuse("this is not a Mac with Apple's processor", 'use --device cpu');
    return ['mps', ['mps is experimental']];
  }
  if (asked !== 'cpu' && !torch?.cuda) {
    const fix = 'use a Python environment with a CUDA build of torch: activate it, or `selfplay engine use DIR`';
    throw refuse('this torch has no CUDA', fix);
  }
  // Whether there is such a GPU, CUDA itself says when it is opened: it knows of more ways to have one than we do.
  return [asked, []];
}

function dtypeOf(asked: EngineAsked['dtype'], device: DeviceName, { bf16 }: EngineFacts): [ComputeDtype, string[]] {
  const fast = bf16.find((name) => FAST_BF16.has(name));
  if (asked === 'auto') {
    if (device === 'mps') return ['f32', []];
    if (device !== 'cpu') return ['bf16', ['GPUs are made for bf16']];
    return fast === undefined ? ['f32', ['the processor has no fast bf16']] : ['bf16', [`the processor has ${fast}`]];
  }
  if (asked === 'f16' && device === 'cpu') {
    throw usageError({ what: 'dtype f16 is for GPUs', fix: 'use --dtype bf16 or f32 on the CPU' });
  }
  if (asked === 'tf32' && !device.startsWith('cuda')) {
    throw usageError({ what: 'dtype tf32 is for GPUs of NVIDIA', fix: 'use --dtype f32' });
  }
  const slow = asked === 'bf16' && device === 'cpu' && fast === undefined;
  return [asked, slow ? ['warning: without AMX and AVX512-BF16 bf16 is slower than f32'] : []];
}
