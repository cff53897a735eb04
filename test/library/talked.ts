// A game that is paused in every stage, and talked to each time.
import { type Place, spin } from '../../src/index.ts';
import type { SpinSettings } from '../../src/recipes/index.ts';

export const QUESTION = [{ role: 'user' as const, content: '3+4' }];

/** Plays to the end. @returns where it rested, and what it answered: greedily and sampled */
export async function playTalked(settings: SpinSettings): Promise<{ places: Place[]; answers: string[]; out: string }> {
  const game = spin(settings);
  const places: Place[] = [];
  const answers: string[] = [];
  const visit = async () => {
    const place = await game.pause();
    if (place === null) return;
    places.push(place);
    for (const how of [{ max_new_tokens: 8 }, { max_new_tokens: 8, temperature: 1, seed: 5 }]) {
      const reply = game.chat(QUESTION, how);
      let text = '';
      for await (const piece of reply) text += piece;
      const answer = await reply.answer;
      if (answer.text !== text) throw new Error(`pieces ${text}, whole ${answer.text}`);
      answers.push(text);
    }
    game.continue();
  };
  await visit();
  for await (const event of game) {
    const begins = event.type === 'stage.started' || (event.type === 'shard.finished' && event.shard === 0);
    if (begins || (event.type === 'train.step' && event.step === 2)) await visit();
  }
  return { places, answers, out: game.directory };
}
