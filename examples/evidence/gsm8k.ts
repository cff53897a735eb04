// The real model: SmolLM2-135M-Instruct, fine-tuned on worked problems of GSM8K, plays for more of their answers. Only short
// rows take part, because two cores are to carry it.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadTokenizer } from '../../src/tokens/index.ts';
import { shuffled } from '../../src/util/index.ts';
import type { Family, Start } from './family.ts';
import { tuned } from './tune.ts';

const sizes = { train: 2000, dev: 100 };
/** Question and answer, in tokens: the shorter four of ten rows. */
const LONGEST = 152;

export const gsm8k: Family = {
  title: 'SmolLM2-135M-Instruct after SFT on GSM8K',
  seeds: [0],
  figures: ['score (T=1)', 'score'],
  columns: ['number'],
  start: async (directory: string, seed: number, threads: number): Promise<Start> => {
    const base = process.env['SELFPLAY_DATA'];
    if (base === undefined)
      throw new Error('SELFPLAY_DATA: the directory with smollm2-135m-instruct and gsm8k is not set');
    const model = join(base, 'smollm2-135m-instruct');
    const files = await shortRows(join(base, 'gsm8k'), model, directory, seed);
    const rows = { ...files, dev_size: sizes.dev, test_size: 454, seed };
    const out = join(directory, 'sft');
    const settings = { num_train_epochs: 1, learning_rate: 1e-4, batch_size: 32, evaluations: 2 } as const;
    return { model: await tuned({ ...rows, ...settings, model, test_size: 16, threads, out }), rows };
  },
  game: {
    scorer: fileURLToPath(new URL('./steps.ts', import.meta.url)),
    iterations: 3,
    sample: 700,
    learning_rate: 1e-5,
    batch_size: 32,
    max_new_tokens: 128,
    checker: 'number',
    replay: 0,
    governor: false,
    optimizer: 'adamw',
    num_train_epochs: 1,
    sft_weight: 1,
    micro_batch_tokens: 4096,
  },
  controls: ['sft-steps', 'sft-temperature'],
  arms: {},
  setting: `SmolLM2-135M-Instruct learns 2,000 of GSM8K's short rows (question and answer of at most ${LONGEST} tokens) in one epoch, AdamW 1e-4; then it plays on
700 of them, the same in every iteration: β 0.1, AdamW 1e-5, 32 pairs a step, one epoch, cross-entropy mixed in with weight 1, only pairs whose final number is not the human
answer's, 128 new tokens. The score is the share of an answer's steps, <<48/2=24>>, that are right; number: the final number is. Controls: SFT for equal steps,
and the SFT model at its best temperature. The test prompts are the 454 short ones of GSM8K's test file.`,
};

/** The short rows below `directory`: 2,100 of GSM8K's train file, for training and dev, and the 454 of its test file. */
async function shortRows(
  data: string,
  model: string,
  directory: string,
  seed: number,
): Promise<{ data: string; eval_data: string }> {
  const files = { data: join(directory, 'train.jsonl'), eval_data: join(directory, 'test.jsonl') };
  if (existsSync(files.eval_data)) return files;
  const tokenizer = await loadTokenizer(model);
  const short = (name: string) =>
    readFileSync(join(data, name), 'utf8')
      .trim()
      .split('\n')
      .filter((line) => {
        const { question, answer } = JSON.parse(line) as { question: string; answer: string };
        return tokenizer.encode(`${question}\n${answer}`).length <= LONGEST;
      });
  const train = shuffled(short('train.jsonl'), seed, 'short rows').slice(0, sizes.train + sizes.dev);
  mkdirSync(directory, { recursive: true });
  writeFileSync(files.data, `${train.join('\n')}\n`);
  writeFileSync(files.eval_data, `${short('test.jsonl').join('\n')}\n`);
  return files;
}
