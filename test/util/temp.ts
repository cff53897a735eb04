// A temporary directory for each test that asks for one, removed when the test ends.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

export async function tempDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'selfplay-test-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}
