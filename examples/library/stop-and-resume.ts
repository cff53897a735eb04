// Stops a game and goes on with it: by leaving the loop, by an AbortSignal, and then to its end.
//   npx tsx examples/library/stop-and-resume.ts MODEL DATA.jsonl OUT

import { Interrupted, resume, spin } from 'selfplay';

const [model, data, out] = process.argv.slice(2) as [string, string, string];

// Leaving the loop stops the game as Ctrl-C does on the command line; behind the loop it has stopped.
for await (const event of spin({ model, data, out, limit: 24, batch_size: 8, max_new_tokens: 16 })) {
  if (event.type === 'train.step') break;
}
console.log('Stopped after a step.');

// A signal stops it too; here one that the game itself sets off.
const controller = new AbortController();
try {
  for await (const event of resume(out, {}, { signal: controller.signal })) {
    if (event.type === 'train.step') controller.abort();
  }
} catch (error) {
  if (!(error instanceof Interrupted)) throw error;
  console.log('Stopped by a signal.');
}

// The outcome is the same as without the stops.
const { best, seconds } = await resume(out).outcome;
console.log(`Played to its end in ${seconds.toFixed(1)} s: the best model is ${best.label}.`);
