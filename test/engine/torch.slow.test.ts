// The torch engine passes the suite that every engine passes. Needs a torch (docs/engines.md): skips loudly without one.
import { describe, expect, it } from 'vitest';
import { findTorch } from '../../src/engine/index.ts';
import { torchEngine } from '../../src/engine/torch/engine.ts';
import { conformance } from './conformance.ts';

/** One op on operands of bf16, which have 8 significant bits. */
const BF16 = 1e-2;

const library = await findTorch();
if (!library) console.warn('WARNING: no torch here: the conformance suite of the torch engine is skipped');

describe.skipIf(!library)('with torch', () => {
  conformance('torch', () => torchEngine({ library: library!, device: 'cpu', dtype: 'f32', threads: 2 }));
  conformance('torch', () => torchEngine({ library: library!, device: 'cpu', dtype: 'bf16', threads: 2 }), BF16);

  it('names the version of the library that was found', async () => {
    const engine = await torchEngine({ library: library!, device: 'cpu', dtype: 'f32', threads: 1 });
    expect(library!.version.startsWith(engine.info.version)).toBe(true);
    expect(engine.info.threads).toBe(1);
    await engine.dispose();
  });
});
