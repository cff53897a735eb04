/**
 * A person in the place of the main player: of two answers to a held-out prompt, which one is the human's? The pairs are
 * those on which the models of the run were judged: a test row's human answer against the sample (T=1) of an opponent, the
 * human answer cut where that was cut. So the person's share of right answers stands beside the trained model's, on the very
 * same pairs. Nothing is computed, and of the run nothing is changed; the guesses are kept in play.jsonl.
 *
 * Every row is shown once: whoever has seen its human answer would know it again beside another opponent's.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { companionDirectory } from '../../checkpoint/index.ts';
import { filesInWords, type Message, readExamples } from '../../data/index.ts';
import { type Estimate, estimate } from '../../evaluation/index.ts';
import { readJsonLines } from '../../formats/index.ts';
import { censor } from '../../pairs/index.ts';
import { alignedText, figureOf } from '../../report/index.ts';
import { type ChatTokenizer, loadTokenizer } from '../../tokens/index.ts';
import { shuffled, usageError, writeFileAtomic } from '../../util/index.ts';
import { type Judged, type Judgement, REAL_VS_GENERATED, readJudgement } from '../game/judge.ts';
import { iterationName, TALLY } from '../run/layout.ts';
import { type Manifest, readManifest } from '../run/manifest.ts';
import { columnsOf } from '../run/rows.ts';
import type { PlaySettings } from '../settings/talkSettings.ts';

export type Side = 'A' | 'B';

/** Two answers to look at. */
export interface Pair {
  readonly id: string;
  readonly prompt: readonly Message[];
  readonly human: string;
  readonly generated: string;
  /** Both end where the sample was cut. */
  readonly isCut: boolean;
}

/** Iteration t of the game: the main player θ_{t+1} against the opponent θ_t. */
export interface Level {
  readonly iteration: number;
  /** "SFT model", "iteration 0" … */
  readonly opponent: string;
  readonly pairs: ReadonlyMap<string, Pair>;
  /** By row, whether θ_{t+1} told the human answer: 1, ½ for a tie, 0. Empty where it is not trained yet. */
  readonly player: ReadonlyMap<string, number>;
}

/** A line of play.jsonl. `guess` null: the pair was seen and passed over. */
const guessSchema = z.strictObject({
  v: z.literal(1),
  iteration: z.int().min(0),
  id: z.string(),
  human: z.enum(['A', 'B']),
  guess: z.enum(['A', 'B']).nullable(),
});
export type Guess = z.output<typeof guessSchema>;

export interface Round extends Pair {
  readonly iteration: number;
  readonly opponent: string;
  /** Which answer is the human's. */
  readonly side: Side;
}

/** Shares of pairs in which the human answer was found; null for no pairs. */
export interface PlayScore {
  readonly iteration: number;
  readonly opponent: string;
  readonly you: Estimate | null;
  /** The main player's, on the pairs that you judged, and on all test rows. */
  readonly playerHere: Estimate | null;
  readonly player: Estimate | null;
}

/** The next pair: of the iteration with the fewest so far, on the first row that has not been shown; undefined: none is left. */
export function nextRound(
  levels: readonly Level[],
  guesses: readonly Guess[],
  { seed, iteration }: Pick<PlaySettings, 'seed' | 'iteration'>,
): Round | undefined {
  const shown = new Set(guesses.map(({ id }) => id));
  const rows = [...new Set(levels.flatMap(({ pairs }) => [...pairs.keys()]))].filter((id) => !shown.has(id)).sort();
  const order = shuffled(rows, seed, 'play: rows');
  const countOf = (level: Level) => guesses.filter((guess) => guess.iteration === level.iteration).length;
  // In an order of its own every time, so that whose turn it is cannot be told where several have had as many.
  const turns = shuffled(levels, seed, `play: turn ${guesses.length}`).sort((a, b) => countOf(a) - countOf(b));
  for (const level of turns) {
    if (iteration !== undefined && level.iteration !== iteration) continue;
    const id = order.find((one) => level.pairs.has(one));
    if (id === undefined) continue;
    const [side] = shuffled<Side>(['A', 'B'], seed, `play: sides of ${level.iteration}/${id}`);
    return { ...level.pairs.get(id)!, iteration: level.iteration, opponent: level.opponent, side: side! };
  }
  return undefined;
}

export function scoresOf(levels: readonly Level[], guesses: readonly Guess[]): PlayScore[] {
  const estimated = (values: readonly number[]) => (values.length === 0 ? null : estimate(values));
  return levels.map(({ iteration, opponent, player }) => {
    const own = guesses.filter((one) => one.iteration === iteration && one.guess !== null);
    return {
      iteration,
      opponent,
      you: estimated(own.map(({ human, guess }) => (human === guess ? 1 : 0))),
      playerHere: estimated(own.flatMap(({ id }) => player.get(id) ?? [])),
      player: estimated([...player.values()]),
    };
  });
}

/** The scores as aligned text with a legend, ending in a line break. */
export function playText(scores: readonly PlayScore[]): string {
  const cell = (of: Estimate | null) =>
    of === null ? '–' : `${figureOf(REAL_VS_GENERATED, of.mean, of.standardError)} (${of.n})`;
  const lines = scores.map(({ iteration, opponent, you, playerHere, player }) => [
    `iteration ${iteration}`,
    opponent,
    cell(you),
    cell(playerHere),
    cell(player),
  ]);
  return `${[
    alignedText([['', 'opponent', 'you', 'main player, same pairs', 'main player, all'], ...lines]),
    '',
    'In %, how often the human answer was told from the opponent’s: ± standard error, in brackets the number of pairs; 50 is',
    'guessing. The main player is the model that the iteration trained; its figure is real-vs-generated on the test rows.',
  ].join('\n')}\n`;
}

export interface Play {
  /** The tally, absolute. */
  readonly file: string;
  readonly guesses: () => readonly Guess[];
  readonly next: () => Round | undefined;
  /** Keeps a guess, on disk when this resolves; null passes the pair over. Returns what the main player made of it, if there is one. */
  readonly guess: (round: Round, guess: Side | null) => Promise<number | undefined>;
  readonly scores: () => PlayScore[];
}

/** Opens the pairs of a run and the tally that is there. @throws usage error when the run has no judged model, or other data by now */
export async function openPlay(settings: PlaySettings): Promise<Play> {
  const directory = resolve(settings.run);
  const levels = await levelsOf(directory, await readManifest(directory));
  const { iteration } = settings;
  if (iteration !== undefined && !levels.some((level) => level.iteration === iteration)) {
    throw usageError({
      what: `there is no opponent of iteration ${iteration}`,
      where: '--iteration',
      fix: `this run has those of ${levels.map((level) => level.iteration).join(', ')}`,
    });
  }
  const file = join(directory, TALLY);
  let guesses = await readGuesses(file);
  return {
    file,
    guesses: () => guesses,
    next: () => nextRound(levels, guesses, settings),
    guess: async ({ id, iteration, side: human }, guess) => {
      guesses = [...guesses, { v: 1, iteration, id, human, guess }];
      await writeFileAtomic(file, guesses.map((one) => `${JSON.stringify(one)}\n`).join(''));
      return levels.find((level) => level.iteration === iteration)!.player.get(id);
    },
    scores: () => scoresOf(levels, guesses),
  };
}

async function readGuesses(file: string): Promise<Guess[]> {
  if (!existsSync(file)) return [];
  const guesses: Guess[] = [];
  for await (const { line, value } of readJsonLines(file)) {
    const { success, data, error } = guessSchema.safeParse(value);
    if (!success) {
      const { path, message } = error.issues[0]!;
      throw usageError({
        what: `not a guess: ${message}`,
        where: `${file}:${line}:${path.join('.')}`,
        fix: 'remove the line, or the file to begin anew',
      });
    }
    guesses.push(data);
  }
  return guesses;
}

/** The iterations of a game that has judged models, the last opponent's included, whose main player is not trained. */
async function levelsOf(directory: string, { command, settings, template_time }: Manifest): Promise<Level[]> {
  if (command !== 'run') {
    throw usageError({
      what: `this is a run of \`selfplay ${command}\`, which has no opponents`,
      where: directory,
      fix: 'give a run of `selfplay run`',
    });
  }
  const { start_iteration: first, model, data, eval_data } = settings as Manifest<'run'>['settings'];
  const judged: { readonly opponent: string; readonly test: Judgement['test'] }[] = [];
  for (let t = first - 1; ; t++) {
    const folder = t < first ? 'baseline' : iterationName(t);
    const judgement = await readJudgement(join(directory, folder, 'evaluation.json'));
    if (!judgement) break;
    const opponent = t >= first ? `iteration ${t}` : first === 0 ? 'SFT model' : 'given model';
    judged.push({ opponent, test: judgement.test });
  }
  const source = eval_data ?? data;
  if (source === undefined || (judged[0]?.test.length ?? 0) === 0) {
    throw usageError({
      what: 'this run has no answers to test rows (yet)',
      where: directory,
      fix: 'let it get further, or play with a run that has test rows',
    });
  }
  const tokenizer = await loadTokenizer(await companionDirectory(model), template_time ?? undefined);
  const { examples } = await readExamples(source, columnsOf(settings as Manifest<'run'>['settings']));
  const byId = new Map(examples.map((example) => [example.id, example]));
  return judged.map(({ opponent, test }, i): Level => {
    const pairs = test.flatMap((row) => {
      const example = byId.get(row.id);
      if (!example) {
        throw usageError({
          what: `the test row ${row.id} is not in the data any more`,
          where: filesInWords(source),
          fix: 'bring back the data of the run',
        });
      }
      return pairOf(tokenizer, example, row);
    });
    const verdicts = (judged[i + 1]?.test ?? []).flatMap(({ id, scores }): [string, number][] =>
      scores[REAL_VS_GENERATED] === undefined ? [] : [[id, scores[REAL_VS_GENERATED]]],
    );
    return {
      iteration: first + i,
      opponent,
      pairs: new Map(pairs.map((pair) => [pair.id, pair])),
      player: new Map(verdicts),
    };
  });
}

/** The pair as the model saw it, both texts from ids; none where the two are the same. */
function pairOf(
  tokenizer: ChatTokenizer,
  { id, prompt, response }: { readonly id: string; readonly prompt: Message[]; readonly response: string },
  { sample }: Pick<Judged, 'sample'>,
): Pair[] {
  const { responseIds } = tokenizer.encodePair({ prompt, response });
  const human = tokenizer.decode(censor(responseIds, sample));
  const isCut = sample.finish === 'length';
  return human === sample.text ? [] : [{ id, prompt, human, generated: sample.text, isCut }];
}
