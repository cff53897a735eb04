// The same iteration with the stock tools and with selfplay, in turns on an otherwise idle machine; prints the ratio of
// whole-iteration times. Needs a Python with bench/peer/requirements.txt (SELFPLAY_PYTHON) and the real data.
//   npx tsx bench/peer/compare.ts --data $SELFPLAY_DATA [--runs 1] [--modes shipped,tuned] [--engine torch] [--dtype bf16]

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readRunLog, spin } from '../../src/index.ts';

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    runs: { type: 'string', default: '1' },
    modes: { type: 'string', default: 'shipped,tuned' },
    prompts: { type: 'string', default: '32' },
    'new-tokens': { type: 'string', default: '128' },
    engine: { type: 'string', default: 'onnx' },
    dtype: { type: 'string', default: 'f32' },
  },
});
const model = join(values.data!, 'smollm2-135m-instruct');
const rows = join(values.data!, 'gsm8k/train.jsonl');

/** As the peer's script calls it. */
const peerDtype = values.dtype === 'f32' ? 'fp32' : values.dtype;

interface Measured {
  total: number;
  stages: Record<string, number>;
  peakGb: number;
}

/** One whole iteration: load, generate, score, train, save. */
async function ours(): Promise<Measured> {
  const out = mkdtempSync(join(tmpdir(), 'selfplay-bench-'));
  const directory = join(out, 'run');
  const start = performance.now();
  const { outcome } = spin({
    model,
    data: rows,
    out: directory,
    limit: Number(values.prompts),
    dev_size: 0,
    test_size: 0,
    max_new_tokens: Number(values['new-tokens']),
    num_train_epochs: 1,
    optimizer: 'rmsprop',
    sft_weight: 0,
    batch_size: 8,
    threads: 2,
    preflight: false,
    engine: values.engine as 'onnx' | 'torch',
    dtype: values.dtype as 'f32' | 'bf16',
  });
  await outcome;
  const total = (performance.now() - start) / 1000;
  const stages: Record<string, number> = {};
  for (const event of await readRunLog(directory)) {
    if (event.type === 'stage.finished') stages[event.stage!] = event.seconds;
  }
  stages['load, save and the rest'] = total - Object.values(stages).reduce((a, b) => a + b, 0);
  rmSync(out, { recursive: true });
  const status = readFileSync('/proc/self/status', 'utf8');
  return { total, stages, peakGb: (Number(/VmHWM:\s+(\d+)/.exec(status)![1]) * 1024) / 1e9 };
}

function peer(mode: string): Measured {
  const script = fileURLToPath(new URL('./iteration.py', import.meta.url));
  const args = ['--model', model, '--gguf', 'model-q4_1.gguf', '--data', rows, '--mode', mode, '--dtype', peerDtype];
  const counts = ['--prompts', values.prompts, '--new-tokens', values['new-tokens']];
  const python = process.env['SELFPLAY_PYTHON'] ?? 'python3';
  const printed = execFileSync(python, [script, ...args, ...counts], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const { seconds, peakRssGb } = JSON.parse(printed) as { seconds: Record<string, number>; peakRssGb: number };
  const { total, ...stages } = seconds;
  return { total: total!, stages, peakGb: peakRssGb };
}

const median = (numbers: number[]) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!;
const show = (name: string, { total, stages, peakGb }: Measured) => {
  const parts = Object.entries(stages).map(([stage, seconds]) => `${stage} ${seconds.toFixed(1)}`);
  console.log(`${name}: ${total.toFixed(1)} s (${parts.join(', ')}), peak ${peakGb.toFixed(1)} GB`);
};

const modes = values.modes.split(',');
const totals = new Map<string, number[]>(['selfplay', ...modes].map((name) => [name, []]));
for (let run = 0; run < Number(values.runs); run++) {
  const own = await ours();
  show('selfplay', own);
  totals.get('selfplay')!.push(own.total);
  for (const mode of modes) {
    const measured = peer(mode);
    show(`transformers + TRL, ${mode}, ${peerDtype}`, measured);
    totals.get(mode)!.push(measured.total);
  }
}
const own = median(totals.get('selfplay')!);
for (const mode of modes) {
  console.log(
    `whole iteration: ${(median(totals.get(mode)!) / own).toFixed(2)} times faster than TRL ${mode} (${values.runs} run(s))`,
  );
}
