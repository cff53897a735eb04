// What llama.cpp makes of a GGUF file, for tests: node scripts/llama-cpp.mjs '{"model": FILE, "prompts": [[1, 2]], "count": 8}' prints
// the ids that it answers greedily; with "texts" in place of prompts it prints their ids, as it cuts them.
// Needs node-llama-cpp in the folder SELFPLAY_LLAMA_CPP: node scripts/fetch-for-tests.mjs llama-cpp FOLDER.
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const folder = process.env.SELFPLAY_LLAMA_CPP;
if (folder === undefined) throw new Error('set SELFPLAY_LLAMA_CPP');
const entry = createRequire(join(resolve(folder), 'x.js')).resolve('node-llama-cpp');
const { getLlama } = await import(pathToFileURL(entry).href);

const { model: modelPath, prompts = [], count = 0, texts = [] } = JSON.parse(process.argv[2]);
const quiet = { logLevel: 'disabled', progressLogs: false };
// llama.cpp keeps keys and values in fp16 unless told otherwise.
const exact = { experimentalKvCacheKeyType: 'F32', experimentalKvCacheValueType: 'F32' };
const llama = await getLlama({ build: 'never', skipDownload: true, gpu: false, maxThreads: 2, ...quiet });
const model = await llama.loadModel({ modelPath, vocabOnly: texts.length > 0 });
const answers = [];
if (prompts.length > 0) {
  const contextSize = Math.max(...prompts.map((ids) => ids.length)) + count + 1;
  const context = await model.createContext({ contextSize, flashAttention: false, ...exact });
  const sequence = context.getSequence();
  for (const prompt of prompts) {
    await sequence.clearHistory();
    const ids = [];
    for await (const id of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
      ids.push(id);
      if (ids.length === count) break;
    }
    answers.push(ids);
  }
}
const ids = texts.map((text) => [...model.tokenize(text, true)]);
console.log(JSON.stringify(texts.length > 0 ? ids : answers));
await llama.dispose();
