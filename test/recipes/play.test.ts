// A person in the place of the main player, as data: which pair comes next, what the guesses come to.
import { describe, expect, it } from 'vitest';
import { type Guess, type Level, nextRound, playText, scoresOf } from '../../src/recipes/talk/play.ts';

const ids = Array.from({ length: 12 }, (_, i) => `row ${i}`);

/** Iterations 0 and 1 on the same rows; in iteration 1 the answers to row 3 are the same, and there is no main player yet. */
const levels: readonly Level[] = [0, 1].map((iteration) => ({
  iteration,
  opponent: iteration === 0 ? 'SFT model' : 'iteration 0',
  pairs: new Map(
    ids
      .filter((id) => iteration === 0 || id !== 'row 3')
      .map((id) => [
        id,
        {
          id,
          prompt: [{ role: 'user' as const, content: `question of ${id}` }],
          human: `human, ${id}`,
          generated: `opponent ${iteration}, ${id}`,
          isCut: false,
        },
      ]),
  ),
  player: new Map(iteration === 0 ? ids.map((id, i) => [id, i % 4 === 0 ? 0 : i % 4 === 1 ? 0.5 : 1]) : []),
}));

/** Guesses until no pair is left; the guess is always A. */
function playOut(settings: { seed: number; iteration?: number }, from: readonly Guess[] = []): Guess[] {
  const guesses = [...from];
  for (;;) {
    const round = nextRound(levels, guesses, settings);
    if (!round || guesses.length > 2 * ids.length) return guesses;
    guesses.push({ v: 1, iteration: round.iteration, id: round.id, human: round.side, guess: 'A' });
  }
}

describe('the pairs', () => {
  it('show every row once, against the opponents in turns, the human answer now as A and now as B', () => {
    const guesses = playOut({ seed: 0 });
    expect(guesses.map(({ id }) => id).sort()).toEqual([...ids].sort());
    for (let n = 1; n <= 11; n++) {
      const count = (t: number) => guesses.slice(0, n).filter(({ iteration }) => iteration === t).length;
      expect(Math.abs(count(0) - count(1)), `after ${n}`).toBeLessThanOrEqual(1);
    }
    expect(new Set(guesses.map(({ human }) => human))).toEqual(new Set(['A', 'B']));
    // Which opponent it is cannot be told from the place in a fixed turn.
    const firsts = guesses.flatMap(({ iteration }, i) => (i % 2 === 0 ? [iteration] : []));
    expect(new Set(firsts).size).toBe(2);
  });

  it('are the same for the same seed, and go on where the guesses end', () => {
    const guesses = playOut({ seed: 5 });
    expect(playOut({ seed: 5 }, guesses.slice(0, 4))).toEqual(guesses);
    expect(playOut({ seed: 6 })).not.toEqual(guesses);
  });

  it('leave out answers that are the same, and other opponents where one is asked for', () => {
    const guesses = playOut({ seed: 0, iteration: 1 });
    expect(guesses.map(({ iteration }) => iteration)).toEqual(Array(11).fill(1));
    expect(guesses.map(({ id }) => id)).not.toContain('row 3');
    expect(playOut({ seed: 0 }, guesses).slice(11)).toMatchObject([{ iteration: 0, id: 'row 3' }]);
  });
});

describe('the scores', () => {
  const guess = (iteration: number, id: string, human: 'A' | 'B', what: 'A' | 'B' | null): Guess => ({
    v: 1,
    iteration,
    id,
    human,
    guess: what,
  });
  const guesses = [
    guess(0, 'row 0', 'A', 'A'),
    guess(0, 'row 1', 'B', 'A'),
    guess(0, 'row 2', 'B', 'B'),
    guess(0, 'row 4', 'A', 'A'),
    guess(0, 'row 5', 'A', null),
  ];

  it('count what was guessed, beside the main player on the same pairs and on all', () => {
    const [first, second] = scoresOf(levels, guesses);
    // 1, 0, 1, 1: mean ¾, sd² = (3·(1/4)² + (3/4)²)/3 = ¼, standard error √(¼/4) = ¼
    expect(first!.you).toEqual({ mean: 0.75, standardError: 0.25, n: 4 });
    // rows 0, 1, 2, 4: 0, ½, 1, 0; mean 3/8, sd² = ((9 + 1 + 25 + 9)/64)/3 = 11/48
    expect(first!.playerHere!.mean).toBe(0.375);
    expect(first!.playerHere!.standardError).toBeCloseTo(Math.sqrt(11 / 48 / 4), 12);
    // three times (0, ½, 1, 1)
    expect(first!.player).toMatchObject({ mean: 0.625, n: 12 });
    expect(second).toEqual({ iteration: 1, opponent: 'iteration 0', you: null, playerHere: null, player: null });
  });

  it('as text', () => {
    expect(playText(scoresOf(levels, guesses))).toBe(
      '             opponent     you              main player, same pairs  main player, all\n' +
        'iteration 0  SFT model    75.0 ± 25.0 (4)  37.5 ± 23.9 (4)          62.5 ± 12.5 (12)\n' +
        'iteration 1  iteration 0  –                –                        –\n' +
        '\n' +
        'In %, how often the human answer was told from the opponent’s: ± standard error, in brackets the number of pairs; 50 is\n' +
        'guessing. The main player is the model that the iteration trained; its figure is real-vs-generated on the test rows.\n',
    );
  });
});
