// npm run demo: a whole game in a few minutes, with nothing but this repository.
//
// A small Llama with random weights and a tokenizer of its own learns to answer worked problems (SFT), then plays two
// iterations of SPIN against itself. At the end: the table, and some prompts with the human answer beside every
// model's. One seed is a look, not evidence: see docs/results.md and `npm run evidence`.
//   npm run demo [-- --seed 0] [--out DIR]

import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Options, progress, sft, spin, textTable } from '../../src/index.ts';
import { makeGame } from './game.ts';
import * as demo from './settings.ts';

const { values } = parseArgs({ options: { seed: { type: 'string', default: '0' }, out: { type: 'string' } } });
const seed = Number(values.seed);
const out = values.out ?? join(tmpdir(), `selfplay-demo-${process.pid}`);
const options: Options = {
  progress: (label, total, unit) => progress({ label, total, unit }),
  say: (sentence) => console.error(sentence),
};
const begin = performance.now();

console.error(`\n1. Writing ${demo.demoSizes.train} problems, a tokenizer and a random model (seed ${seed}).`);
const game = await makeGame(out, seed, demo.demoSizes);
const { dev: dev_size, test: test_size } = demo.demoSizes;
const rows = { data: game.train, eval_data: game.test, dev_size, test_size, seed };

console.error('\n2. SFT: the model learns to write such answers.');
const tuned = await sft({ ...rows, ...demo.sft, model: game.model, out: join(out, 'sft') }, options).outcome;

console.error('\n3. SPIN: the model plays against itself.');
const played = await spin(
  { ...rows, ...demo.spin, scorer: demo.scorer, model: tuned.best.model, out: join(out, 'spin') },
  options,
).outcome;

console.log(`\n${textTable(played.results)}`);
console.log('\nscore: share of answers that are exactly right, by a checker that knows every valid wording.');

interface Evaluation {
  test: { id: string; greedy: { text: string }; scores: { score: number } }[];
}
const evaluations = ['baseline', 'iteration-0', 'iteration-1'].map(
  (folder) => JSON.parse(readFileSync(join(out, 'spin', folder, 'evaluation.json'), 'utf8')) as Evaluation,
);
const questions = readFileSync(game.test, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as { question: string; answer: string });
console.log('\nThe first five prompts of the test split:');
for (const [i, { question, answer }] of questions.slice(0, 5).entries()) {
  console.log(`\n  ${question}\n    human        ${answer}`);
  ['SFT model', 'iteration 0', 'iteration 1'].forEach((label, m) => {
    const { greedy, scores } = evaluations[m]!.test[i]!;
    console.log(`    ${label.padEnd(12)} ${greedy.text} ${scores.score === 1 ? '✓' : '✗'}`);
  });
}
console.log(
  `\nDone in ${((performance.now() - begin) / 1000).toFixed(0)} s. One seed is a look, not evidence: ` +
    'docs/results.md compares several with the controls.',
);
if (values.out === undefined) rmSync(out, { recursive: true });
else
  console.log(
    `Everything lies in ${out}: try  npx tsx src/cli/main.ts generate --model ${played.best.model} --data ${game.test}`,
  );
