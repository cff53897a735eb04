// Plays a small game and follows it: the figures of every step, what the game says of itself, the table.
//   npx tsx examples/library/follow.ts MODEL DATA.jsonl OUT

import { spin, textTable } from 'selfplay';

const [model, data, out] = process.argv.slice(2) as [string, string, string];
const game = spin({ model, data, out, limit: 24, batch_size: 8, max_new_tokens: 16 });
for await (const event of game) {
  if (event.type === 'train.step') console.log(`step ${event.step} of ${event.steps}: loss ${event.loss.toFixed(4)}`);
  if (event.type === 'note' || event.type === 'warning') console.log(event.message);
}
const { results, best } = await game.outcome;
console.log(textTable(results));
console.log(`The best model is ${best.label}, in ${best.model}`);
