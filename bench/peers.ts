// What plain torch and transformers need for the bench's step and decoding, in a Python beside (SELFPLAY_PYTHON).

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { config, randomPairs } from './shape.ts';

/** Medians of plain torch's step in seconds, and of transformers' tokens/s by batch size. */
export interface PeerFigures {
  readonly stepSeconds: number;
  readonly decodeRates: ReadonlyMap<number, number>;
}

export interface PeerOptions {
  readonly dtype: 'f32' | 'bf16';
  readonly threads: number;
  readonly pairs: number;
  readonly newTokens: number;
  readonly batches: readonly number[];
  readonly only?: 'train' | 'decode' | undefined;
}

export const median = (numbers: readonly number[]): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!;

export function measurePeer(
  python: string,
  { dtype, threads, pairs, newTokens, batches, only }: PeerOptions,
): PeerFigures {
  const folder = mkdtempSync(join(tmpdir(), 'selfplay-peer-'));
  try {
    const rows = randomPairs(Math.max(pairs, 32)).map(({ promptIds, responses: [real, generated] }) => ({
      prompt: [...promptIds],
      real: [...real!.ids],
      generated: [...generated!.ids],
    }));
    const file = join(folder, 'pairs.json');
    const write = (count: number) =>
      writeFileSync(file, JSON.stringify({ config, pairs: rows.slice(0, count), newTokens }));
    const run = (
      what: 'train' | 'decode',
      count: number,
    ): { seconds: number; batch: number; tokensPerSecond: number }[] => {
      if (only !== undefined && only !== what) return [];
      write(count);
      const script = fileURLToPath(new URL('./peer/step.py', import.meta.url));
      const flags = ['--dtype', dtype, '--threads', String(threads), '--only', what, '--batches', batches.join(',')];
      const printed = execFileSync(python, [script, '--pairs', file, ...flags], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      return printed
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
    };
    const steps = run('train', pairs).map(({ seconds }) => seconds);
    const decoded = run('decode', 32);
    const rates = batches.map((batch): [number, number] => [
      batch,
      median(decoded.filter((one) => one.batch === batch).map(({ tokensPerSecond }) => tokensPerSecond)),
    ]);
    return { stepSeconds: median(steps), decodeRates: new Map(rates) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
