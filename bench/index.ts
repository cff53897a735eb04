// npm run bench: every figure as a ratio to something measured in the same process. Nothing else should be running.
//   npm run bench [-- --threads 2] [--only training|decoding]
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { gemmPeak, onnxEngine, readBandwidth } from '../src/engine/index.ts';
import { benchDecoding } from './decoding.ts';
import { benchTraining } from './training.ts';

// As the selfplay command runs (src/cli/main.ts); it must be set before a process starts.
const HUGE_PAGES = { GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' };
if (process.env['GLIBC_TUNABLES'] === undefined) {
  const again = [...process.execArgv, ...process.argv.slice(1)];
  const { status } = spawnSync(process.execPath, again, { stdio: 'inherit', env: { ...process.env, ...HUGE_PAGES } });
  process.exit(status ?? 1);
}

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
const bandwidth = await readBandwidth(engine, 4);
console.log(`GEMM peak ${(gemm / 1e9).toFixed(0)} GFLOP/s; reading memory ${(bandwidth / 1e9).toFixed(1)} GB/s`);
if (values.only !== 'decoding') await benchTraining(engine, { gemm, pairs: Number(values.pairs) });
if (values.only !== 'training') await benchDecoding(engine, { gemm, bandwidth });
await engine.dispose();
