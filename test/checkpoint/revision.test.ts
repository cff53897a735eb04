// The revision of a model directory: from a Hugging Face cache, from the notes of a download, or unknown.

import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { modelRevision } from '../../src/checkpoint/index.ts';

const COMMIT = '0123456789abcdef0123456789abcdef01234567';
let home: string;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-revision-'));
});
afterAll(() => rm(home, { recursive: true, force: true }));

it('is the folder of a snapshot, also behind a link', async () => {
  const snapshot = join(home, 'models--org--name/snapshots', COMMIT);
  await mkdir(snapshot, { recursive: true });
  await symlink(snapshot, join(home, 'link'), 'junction');
  expect([await modelRevision(snapshot), await modelRevision(join(home, 'link'))]).toEqual([COMMIT, COMMIT]);
});

it('is what a download noted, and null where nothing tells', async () => {
  const dir = join(home, 'local');
  const notes = join(dir, '.cache/huggingface/download');
  await mkdir(notes, { recursive: true });
  expect(await modelRevision(dir)).toBe(null);
  await writeFile(join(notes, 'config.json.metadata'), `${COMMIT}\netag\n1700000000.0\n`);
  expect(await modelRevision(dir)).toBe(COMMIT);
  await writeFile(join(notes, 'config.json.metadata'), 'main\n');
  expect(await modelRevision(dir)).toBe(null);
});
