// From a model to a measured one: fine-tuning with an adapter, a game from there, a whole model made of it, its figures and
// its answers.
//   npx tsx examples/library/whole-path.ts MODEL DATA.jsonl OUT

import { join } from 'node:path';
import { evaluate, generate, merge, sft, spin, textTable } from 'selfplay';

const [model, data, out] = process.argv.slice(2) as [string, string, string];
const say = (sentence: string) => console.log(sentence);
const small = { data, limit: 24, batch_size: 8 };

const tuned = await sft({ ...small, model, out: join(out, 'sft'), lora_rank: 4, learning_rate: 1e-3 }, { say }).outcome;
const game = spin({ ...small, model: tuned.best.model, out: join(out, 'spin'), max_new_tokens: 16 }, { say });
const { results } = await game.outcome;
console.log(textTable(results));

const merged = await merge({ model: join(out, 'spin', 'iteration-0', 'model'), out: join(out, 'merged') }, { say });
console.log(`Merged: the logits differ by ${merged.difference.toExponential(1)} at most.`);

const { row } = await evaluate({ model: merged.out, data, limit: 8, max_new_tokens: 16 });
for (const [name, { mean }] of Object.entries(row.metrics)) console.log(`${name}: ${mean.toFixed(3)}`);
const { answers } = await generate({ model: merged.out, data, limit: 3, max_new_tokens: 16 });
for (const { prompt, answer } of answers) console.log(`${prompt.at(-1)?.content} -> ${answer}`);
