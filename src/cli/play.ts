// `selfplay play`: pairs of answers onto the screen, guesses back.
import type { PlaySettings, RecipeContext, Round, Side } from '../recipes/index.ts';
import type { Outcome } from './commands.ts';
import { openLeaving } from './leaving.ts';
import type { Stage } from './perform.ts';
import { harmless, type Styled, stylesOf } from './terminal.ts';

const QUESTION = 'Which one is the human’s: a or b? ';
const HELP = [
  '  a, b    your guess: the human’s answer is A, or B',
  '  skip    pass the pair over; it does not count and is not shown again',
  '  score   how you and the models have done so far',
  '  exit    leave; what you have guessed is kept',
].join('\n');

/** What a line says: a guess, or a word to act on; undefined: nothing that is known. */
function meaning(line: string): Side | 'skip' | 'score' | 'help' | 'exit' | undefined {
  const word = line.trim().toLowerCase().replace(/^\//, '');
  if (word === 'a' || word === 'b') return word === 'a' ? 'A' : 'B';
  return (['skip', 'score', 'help', 'exit'] as const).find((one) => one === word);
}

/** Plays until there are no more pairs, the input ends or the user leaves; the scores are the outcome. */
export async function playRun(
  settings: PlaySettings,
  { io, terminal, output, recipes }: Stage,
  _context: RecipeContext,
): Promise<Outcome> {
  const play = await recipes.openPlay(settings);
  const { lines, status } = openLeaving(io);
  // Under --json stdout is for the scores alone.
  const screen = output.json ? io.stderr : io.stdout;
  const styled = stylesOf(screen, io.env);
  const done = play.guesses().length;
  if (done > 0) terminal.say(`Going on after ${done} pair(s), which are in ${play.file}.`);
  let round = play.next();
  if (round) screen.write(roundText(round, play.guesses().length + 1, styled));
  else terminal.say(`There is no pair left. To begin anew, remove ${play.file}.`);
  while (round) {
    const line = await lines.next(() => QUESTION);
    const meant = line === null ? 'exit' : meaning(line);
    if (meant === 'exit') break;
    if (meant === 'score') screen.write(recipes.playText(play.scores()));
    else if (meant === 'A' || meant === 'B' || meant === 'skip') {
      const guess = meant === 'skip' ? null : meant;
      const player = await play.guess(round, guess);
      screen.write(`${verdict(round, guess, player, styled)}\n`);
      round = play.next();
      if (round) screen.write(roundText(round, play.guesses().length + 1, styled));
      else terminal.say('That was the last pair.');
    } else if (meant === 'help' || line!.trim() !== '') terminal.insist(HELP);
  }
  lines.close();
  const scores = play.scores();
  return {
    json: { file: play.file, scores },
    text: recipes.playText(scores),
    sentences: play.guesses().length > 0 ? [`Your guesses are in ${play.file}; the same command goes on.`] : [],
    status: status(),
  };
}

function roundText({ prompt, human, generated, isCut, side }: Round, number: number, styled: Styled): string {
  const answer = (text: string) => `${harmless(text.trim())}${isCut ? ' […]' : ''}` || '(nothing)';
  const [a, b] = side === 'A' ? [human, generated] : [generated, human];
  return [
    '',
    styled('bold', `Pair ${number}`),
    ...prompt.map(({ role, content }) => `${styled('dim', `${role}:`)} ${harmless(content)}`),
    `${styled('cyan', 'A:')} ${answer(a)}`,
    `${styled('cyan', 'B:')} ${answer(b)}`,
    '',
  ].join('\n');
}

/** @param player what the main player made of the pair: 1 right, 0 wrong, ½ a tie */
function verdict({ side, opponent, iteration }: Round, guess: Side | null, player: number | undefined, styled: Styled) {
  const yours = guess === null ? 'Passed over' : guess === side ? styled('green', 'Right') : styled('red', 'Wrong');
  const theirs =
    player === undefined
      ? ''
      : ` The model that iteration ${iteration} trained ${player === 0.5 ? 'cannot tell' : player === 1 ? 'is right' : 'is wrong'} here.`;
  const writer = opponent.startsWith('iteration') ? opponent : `the ${opponent}`;
  return `${yours}: ${side} is the human’s, the other one is by ${writer}.${theirs}`;
}
