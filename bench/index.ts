// npm run bench: every figure as a ratio to something measured in the same run. Nothing else should be running.
//   npm run bench [-- --engine onnx|torch] [--dtype f32|bf16] [--threads 2] [--only training|decoding|memory|gguf|loading|tokenising] [--lora 16 --dropout 0.05]
// With SELFPLAY_PYTHON (a Python with torch and transformers) plain torch is measured beside the torch engine.
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { gemmPeak, openEngine, readBandwidth } from '../src/engine/index.ts';
import { benchDecoding, NEW_TOKENS } from './decoding.ts';
import { benchGguf } from './gguf.ts';
import { benchLoading } from './loading.ts';
import { benchMemory } from './memory.ts';
import { measurePeer } from './peers.ts';
import { benchTokenising } from './tokenising.ts';
import { measureTraining, printTraining } from './training.ts';

const { values } = parseArgs({
  options: {
    engine: { type: 'string', default: 'onnx' },
    dtype: { type: 'string', default: 'f32' },
    threads: { type: 'string', default: '2' },
    only: { type: 'string' },
    pairs: { type: 'string', default: '8' },
    /** Train an adapter of this rank in place of all weights. */
    lora: { type: 'string', default: '0' },
    dropout: { type: 'string', default: '0' },
  },
});
const PARTS = ['training', 'decoding', 'memory', 'gguf', 'loading', 'tokenising'];
if (values.only !== undefined && !PARTS.includes(values.only)) {
  throw new Error(`--only ${values.only} is none of ${PARTS.join(', ')}`);
}
const threads = Number(values.threads);
const pairs = Number(values.pairs);
const dtype = values.dtype as 'f32' | 'bf16';
if (values.only === 'memory') {
  const engine = values.engine as 'onnx' | 'torch';
  benchMemory({
    engine,
    dtype,
    threads,
    pairs,
    adapter: { rank: Number(values.lora), dropout: Number(values.dropout) },
  });
  process.exit(0);
}
const files = {
  gguf: benchGguf,
  loading: () => benchLoading(values.engine as 'onnx' | 'torch', threads),
  tokenising: benchTokenising,
};
for (const [name, bench] of Object.entries(files)) if (values.only === undefined || values.only === name) await bench();
if (values.only !== undefined && values.only in files) process.exit(0);
const asked = { engine: values.engine as 'onnx' | 'torch', device: 'cpu', threads } as const;
const { engine, choice } = await openEngine({ ...asked, dtype });
console.log(
  `${cpus()[0]?.model}, Node ${process.version}, ${engine.info.name} ${engine.info.version}, ${engine.info.threads} threads, ` +
    `${engine.info.dtype}${choice.reasons.map((reason) => `; ${reason}`).join('')}`,
);
const bytes = dtype === 'f32' ? 4 : 2;
const adapter = { rank: Number(values.lora), dropout: Number(values.dropout) };
const training = values.only === 'decoding' ? undefined : await measureTraining(engine, pairs, bytes, adapter);
// The fp32 peak is what necessary FLOPs are compared with, whatever the dtype.
const reference = dtype === 'f32' ? engine : (await openEngine({ ...asked, dtype: 'f32' })).engine;
const gemm = await gemmPeak(reference);
const own = dtype === 'f32' ? gemm : await gemmPeak(engine);
const bandwidth = await readBandwidth(reference, 4);
if (reference !== engine) await reference.dispose();
console.log(
  `GEMM peak ${(gemm / 1e9).toFixed(0)} GFLOP/s in f32${dtype === 'f32' ? '' : `, ${(own / 1e9).toFixed(0)} in ${dtype}`}; ` +
    `reading memory ${(bandwidth / 1e9).toFixed(1)} GB/s`,
);
const seconds = training && printTraining(training, gemm, own);
const rates = values.only === 'training' ? undefined : await benchDecoding(engine, { gemm: own, bandwidth, bytes });
console.log(`GEMM peak at the end ${((await gemmPeak(engine)) / 1e9).toFixed(0)} GFLOP/s: how steady the machine is`);
await engine.dispose();

if (values.engine === 'torch') {
  const python = process.env['SELFPLAY_PYTHON'];
  if (python === undefined) console.log('left out: plain torch and transformers beside it (set SELFPLAY_PYTHON)');
  else {
    const only = seconds === undefined ? 'decode' : rates === undefined ? 'train' : undefined;
    const peer = measurePeer(python, { dtype, threads, pairs, newTokens: NEW_TOKENS, batches: [32], only });
    if (seconds !== undefined) {
      const factor = (peer.stepSeconds / seconds).toFixed(2);
      console.log(
        `plain torch, the same step in ${dtype}: median ${peer.stepSeconds.toFixed(2)} s; this engine is ${factor} times faster`,
      );
    }
    const [theirs, ours] = [peer.decodeRates.get(32)!, rates?.get(32)];
    if (ours !== undefined) {
      console.log(
        `transformers' generate in ${dtype} at batch 32: median ${theirs.toFixed(0)} tokens/s; this engine ${(ours / theirs).toFixed(2)} times that`,
      );
    }
  }
} else {
  console.log('left out: the torch engine (npm run bench -- --engine torch)');
}
