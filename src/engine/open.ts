// Settings -> an open engine: looks at the machine, finds the library, chooses, opens.
import type { Env } from '../util/index.ts';
import { chooseEngine, type EngineAsked, type EngineChoice, type EngineFacts } from './choose.ts';
import type { Engine } from './contract.ts';
import { bf16Instructions, hasGpu, isAppleSilicon } from './facts.ts';
import { onnxEngine } from './onnx/engine.ts';
import { torchEngine } from './torch/engine.ts';
import { findTorch, type TorchLibrary } from './torch/library/find.ts';

/** What is asked for; `threads` absent: as many as the machine offers. */
export interface OpenOptions extends EngineAsked {
  readonly threads?: number;
  readonly deterministic?: boolean;
}

/**
 * The facts that the choice depends on, and the library if there is one.
 * @throws usage error when the user named a folder without a usable torch; not when only onnx is asked for
 */
export async function engineFacts(
  { engine, device }: Pick<EngineAsked, 'engine' | 'device'>,
  env: Env = process.env,
): Promise<{ facts: EngineFacts; library: TorchLibrary | undefined }> {
  const [gpu, bf16] = await Promise.all([hasGpu(), bf16Instructions()]);
  const cuda = device === 'auto' ? gpu : device.startsWith('cuda');
  const library = engine === 'onnx' ? undefined : await findTorch({ env, cuda });
  return { facts: { torch: library, gpu, bf16, apple: isAppleSilicon() }, library };
}

/**
 * Chooses and opens.
 * @throws usage error when what is asked for cannot be had; failure when the library does not work
 */
export async function openEngine(asked: OpenOptions): Promise<{ engine: Engine; choice: EngineChoice }> {
  const { facts, library } = await engineFacts(asked);
  const choice = chooseEngine(asked, facts);
  return { engine: await openChoice(choice, library, asked), choice };
}

/** Opens what was chosen. */
export async function openChoice(
  { engine, device, dtype }: Pick<EngineChoice, 'engine' | 'device' | 'dtype'>,
  library: TorchLibrary | undefined,
  { threads, deterministic = false }: Pick<OpenOptions, 'threads' | 'deterministic'> = {},
): Promise<Engine> {
  const limit = threads === undefined ? {} : { threads };
  if (engine === 'onnx') return onnxEngine(limit);
  return torchEngine({ library: library!, device, dtype, deterministic, ...limit });
}
