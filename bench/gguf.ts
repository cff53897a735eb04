// Dequantisation of GGUF files: MB/s of fp32 that come out, on one core, with the file in the page cache; beside it the Python
// package gguf with the same file (SELFPLAY_PYTHON with gguf and numpy, whose figures are of one core too).

import { spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { blockType, READABLE_TYPES, readGguf, readGgufTensorF32, writeGguf } from '../src/formats/index.ts';
import { median } from './peers.ts';

/** Weights of a tensor: 32 MiB of fp32. */
const WEIGHTS = 1 << 23;
const ROW = 1 << 10;
const ROUNDS = 7;

/** Prints a line per type. */
export async function benchGguf(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'selfplay-gguf-'));
  try {
    for (const type of READABLE_TYPES.filter((each) => each !== 'F32')) {
      const file = join(folder, `${type}.gguf`);
      await writeBlocks(file, type);
      const info = (await readGguf(file)).tensors.get('w')!;
      const rates: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const start = process.cpuUsage();
        await readGgufTensorF32(file, info);
        const { user, system } = process.cpuUsage(start);
        rates.push((4 * WEIGHTS) / (user + system));
      }
      const [ours, theirs] = [median(rates), peerRate(file)];
      const beside =
        theirs === undefined
          ? ''
          : `; the Python package gguf ${theirs.toFixed(0)} MB/s: ${(ours / theirs).toFixed(1)} times that`;
      console.log(`GGUF ${type.padEnd(4)} to fp32: ${ours.toFixed(0)} MB/s of output a core${beside}`);
    }
    if (process.env['SELFPLAY_PYTHON'] === undefined) {
      console.log('left out: the Python package gguf beside it (set SELFPLAY_PYTHON)');
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A file with one tensor of arbitrary blocks: written as F32 of as many bytes, and then its row of the table says otherwise. */
async function writeBlocks(file: string, type: string): Promise<void> {
  const { elements, bytes, number } = blockType(type);
  const count = ((WEIGHTS / elements) * bytes) / 4;
  await writeGguf(file, new Map(), [
    { name: 'w', type: 'F32', shape: [1, count], data: async () => new Float32Array(count) },
  ]);
  const whole = readFileSync(file);
  // Behind the name: rank, the two dimensions, type.
  const row = whole.indexOf('w', 24) + 1;
  whole.writeBigUInt64LE(BigInt(ROW), row + 4);
  whole.writeBigUInt64LE(BigInt(WEIGHTS / ROW), row + 12);
  whole.writeUInt32LE(number, row + 20);
  randomFillSync(whole, whole.length - 4 * count);
  writeFileSync(file, whole);
}

/** MB/s of the Python package; undefined without one. */
function peerRate(file: string): number | undefined {
  const python = process.env['SELFPLAY_PYTHON'];
  if (python === undefined) return undefined;
  const script = fileURLToPath(new URL('./peer/gguf-rate.py', import.meta.url));
  const { status, stdout } = spawnSync(python, [script, file, String(ROUNDS)], { encoding: 'utf8' });
  return status === 0 ? Number(stdout) : undefined;
}
