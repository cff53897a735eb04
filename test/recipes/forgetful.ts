// A selfplay whose resume is broken in a way that no check of integrity can see: it begins with moments of zero, as if they
// had not been saved. Called like src/cli/main.ts.

import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { loadTrainerState, newestVerified, saveTrainerState } from '../../src/checkpoint/index.ts';
import { runCli } from '../../src/cli/program.ts';
import { readTensorF32 } from '../../src/formats/index.ts';

const [command, run] = process.argv.slice(2) as [string, string];

/** The moments of every parameter are named KIND/PARAMETER. */
async function forgetMoments(checkpoint: string): Promise<void> {
  const { state, tensors } = await loadTrainerState(checkpoint);
  const read = [...tensors.values()].map(async (info) => {
    const values = await readTensorF32(info);
    const data = info.name.includes('/') ? values.fill(0) : values;
    return { name: info.name, dtype: 'F32' as const, shape: [...info.shape], data };
  });
  await saveTrainerState(checkpoint, { state, tensors: await Promise.all(read) });
}

if (command === 'resume') {
  for (const name of await readdir(run)) {
    const parent = join(run, name, 'checkpoints');
    const newest = existsSync(parent) ? await newestVerified(parent, 'step') : undefined;
    if (newest) await forgetMoments(newest.path);
  }
}
process.exitCode = await runCli(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  directory: process.cwd(),
  command: [process.execPath, ...process.execArgv, process.argv[1]!],
  signals: process,
  exit: (code) => process.exit(code),
});
