/** The torch engine for tests, where there is a torch (docs/engines.md: SELFPLAY_TORCH, an installed one, an active environment). */
import { type Engine, findTorch } from '../../src/engine/index.ts';
import { torchEngine } from '../../src/engine/torch/engine.ts';

/**
 * Opens engines on two threads of the CPU; undefined, with a warning, where there is no torch.
 * @param what is skipped then
 */
export async function torchForTests(what: string): Promise<((dtype: 'f32' | 'bf16') => Promise<Engine>) | undefined> {
  const library = await findTorch();
  if (!library) {
    process.stderr.write(`WARNING: ${what}: skipped, because no torch is here (selfplay engine install torch)\n`);
    return undefined;
  }
  return (dtype) => torchEngine({ library, device: 'cpu', dtype, threads: 2 });
}
