// Pauses a game in the middle of its training, talks to the half-trained model, and lets it go on. The game ends with the
// same bytes as one that was not disturbed.
//   npx tsx examples/library/pause-and-chat.ts MODEL DATA.jsonl OUT "A question"

import { type Message, spin } from 'selfplay';

const [model, data, out, question] = process.argv.slice(2) as [string, string, string, string];
const game = spin({ model, data, out, limit: 24, batch_size: 8, max_new_tokens: 16 });
const conversation: Message[] = [{ role: 'user', content: question }];

for await (const event of game) {
  if (event.type !== 'train.step' || event.step !== 2) continue;
  const place = await game.pause();
  if (place === null) break; // it was over before it came to rest
  console.log(`The game rests in iteration ${place.iteration}, after step ${place.step}.`);
  for (const turn of [question, 'Say it in other words.']) {
    if (turn !== question) conversation.push({ role: 'user', content: turn });
    process.stdout.write(`> ${turn}\n`);
    const reply = game.chat(conversation, { max_new_tokens: 24, temperature: 0.7, seed: 1 });
    for await (const piece of reply) process.stdout.write(piece);
    const { text, finish } = await reply.answer;
    process.stdout.write(finish === 'length' ? ' …\n' : '\n');
    if (text.trim() === '') break;
    conversation.push({ role: 'assistant', content: text });
  }
  game.continue();
}
console.log(`The game is over: ${(await game.outcome).directory}`);
