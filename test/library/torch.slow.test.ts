// On the torch engine, too, a game is the same after it was paused and talked to: recorded calls and states of the two
// generators do not get into each other's way.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { spin } from '../../src/index.ts';
import { compareGames } from '../../src/recipes/proof/likeness.ts';
import { torchForTests } from '../engine/torchForTests.ts';
import { makeTinyGame, type TinyGame, tinySettings } from '../recipes/tiny-game.ts';
import { playTalked } from './talked.ts';

const torch = await torchForTests('talking to games on the torch engine');

describe.skipIf(!torch)('a game on the torch engine', () => {
  let home: string;
  let game: TinyGame;
  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'selfplay-library-torch-'));
    game = await makeTinyGame(home);
  });
  afterAll(() => rm(home, { recursive: true, force: true }));

  it.each([
    ['f32', {}],
    ['f32', { lora_rank: 4, lora_dropout: 0.1 }],
    ['bf16', {}],
  ] as const)('is the same after pauses and conversations: %s %j', async (dtype, changes) => {
    const settings = (name: string) =>
      tinySettings(game, join(home, `${name}-${dtype}-${Object.keys(changes).length}`), {
        engine: 'torch',
        device: 'cpu',
        dtype,
        learning_rate: 0.02,
        optimizer: 'adamw',
        ...changes,
      });
    const { directory } = await spin(settings('whole')).outcome;
    const { places, out } = await playTalked(settings('talked'));
    expect(places.length).toBeGreaterThan(8);
    expect((await compareGames(directory, out)).filter(({ deviation }) => deviation)).toEqual([]);
  });
});
