// The SFT model that a seed's games start from.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { resume, type SftInput, sft } from '../../src/index.ts';

/** Fine-tunes into `out`, goes on where an earlier call stopped, or finds what is complete; returns the model's directory. */
export async function tuned(settings: SftInput & { readonly out: string }): Promise<string> {
  const { out } = settings;
  if (!existsSync(join(out, 'results.json'))) {
    const begun = existsSync(join(out, 'manifest.json'));
    await (begun ? resume(out) : sft(settings)).outcome;
  }
  return join(out, 'model');
}
