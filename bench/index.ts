// npm run bench: every figure as a ratio to something measured in the same process. Nothing else should be running.
//   npm run bench [-- --threads 2] [--only training|decoding]
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { onnxEngine } from '../src/engine/index.ts';
import { benchDecoding } from './decoding.ts';
import { gemmPeak, readBandwidth } from './peaks.ts';
import { benchTraining } from './training.ts';

const { values } = parseArgs({
  options: {
    threads: { type: 'string', default: '2' },
    only: { type: 'string' },
    pairs: { type: 'string', default: '8' },
  },
});
const engine = await onnxEngine({ threads: Number(values.threads) });
console.log(
  `${cpus()[0]?.model}, Node ${process.version}, onnxruntime ${engine.info.version}, ${values.threads} threads, fp32`,
);
const gemm = await gemmPeak(engine);
const bandwidth = await readBandwidth(engine);
console.log(`GEMM peak ${(gemm / 1e9).toFixed(0)} GFLOP/s; reading memory ${(bandwidth / 1e9).toFixed(1)} GB/s`);
if (values.only !== 'decoding') await benchTraining(engine, { gemm, pairs: Number(values.pairs) });
if (values.only !== 'training') await benchDecoding(engine, { gemm, bandwidth });
await engine.dispose();
