// The real model: SmolLM2-135M-Instruct, fine-tuned on worked problems of GSM8K, plays for more of their answers.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sft } from '../../src/index.ts';
import type { Family, Start } from './family.ts';

const rowsPlayed = 2000;

export const gsm8k: Family = {
  title: 'SmolLM2-135M-Instruct after SFT on GSM8K',
  seeds: [0],
  figures: ['score (T=1)', 'score'],
  columns: ['number'],
  start: async (directory: string, seed: number, threads: number): Promise<Start> => {
    const base = process.env['SELFPLAY_DATA'];
    if (base === undefined)
      throw new Error('SELFPLAY_DATA: the directory with smollm2-135m-instruct and gsm8k is not set');
    const out = join(directory, 'sft');
    const data = join(base, 'gsm8k', 'train.jsonl');
    const rows = {
      data,
      eval_data: join(base, 'gsm8k', 'test.jsonl'),
      dev_size: 100,
      test_size: 400,
      seed,
      sample: rowsPlayed,
    };
    if (!existsSync(join(out, 'results.json'))) {
      const settings = { num_train_epochs: 2, learning_rate: 1e-4, batch_size: 32, evaluations: 2 } as const;
      await sft({ ...rows, ...settings, model: join(base, 'smollm2-135m-instruct'), test_size: 16, threads, out })
        .outcome;
    }
    return { model: join(out, 'model'), rows };
  },
  game: {
    scorer: fileURLToPath(new URL('./steps.ts', import.meta.url)),
    iterations: 3,
    max_new_tokens: 160,
    checker: 'number',
    replay: 0,
    governor: false,
    optimizer: 'adamw',
    num_train_epochs: 1,
    sft_weight: 1,
    micro_batch_tokens: 4096,
  },
  arms: {},
  setting: '',
};
