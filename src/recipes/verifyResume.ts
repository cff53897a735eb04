/**
 * Proves on the user's own settings that a resume gives the same bytes: a small game is played without interruption, then
 * again with SIGKILL in every stage and a resume each time, and everything that both leave is compared.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { alignedText, formatCount, formatDuration, type RunEvent, readRunLog } from '../report/index.ts';
import { failure, writeFileAtomic } from '../util/index.ts';
import { type RecipeContext, stopIfAsked } from './context.ts';
import { FEWEST_ROWS } from './governor.ts';
import { localInputs } from './inputs.ts';
import { killPoints, type Program, playKilled, playWhole, startSeconds } from './kills.ts';
import { LOCK } from './layout.ts';
import { type ComparedFile, compareGames, partOf } from './likeness.ts';
import { miniatureOf } from './miniature.ts';
import type { SpinSettings } from './settings.ts';

/** What came of a stage. */
export interface StageProof {
  readonly stage: string;
  /** How often a process died in it. */
  readonly kills: number;
  /** Files and logs that were compared, times the number of interrupted games. */
  readonly compared: number;
  readonly equal: boolean;
}

export interface ResumeProof {
  readonly equal: boolean;
  readonly stages: StageProof[];
  /** Stages in which no process died, so that nothing is proven about them. */
  readonly missed: string[];
  /** The first thing that is not equal. */
  readonly first: ComparedFile | null;
  /** Where both games lie; null when they were removed. */
  readonly directory: string | null;
  readonly seconds: number;
}

export interface VerifyOptions {
  /** Executable and first arguments that run the command line of selfplay. */
  readonly command: Program['command'];
  /** Keep both games in any case. */
  readonly keep: boolean;
}

/** Interrupted games that are played at most: another one where a kill came too late for its stage. */
const GAMES = 3;

/** @throws SelfplayError when the small game cannot be played, or not be resumed; then its directory is kept */
export async function verifyResume(
  given: SpinSettings,
  { command, keep }: VerifyOptions,
  context: RecipeContext,
): Promise<ResumeProof> {
  const begin = performance.now();
  const { settings } = await localInputs(given, context);
  context.say('Measuring how long a small game takes here.');
  const program = { command, signal: context.signal };
  const small = await miniatureOf(settings, await startSeconds(program), context);
  const { limit, dev_size, max_new_tokens } = small.settings;
  const directory = await mkdtemp(join(tmpdir(), 'selfplay-verify-'));
  context.say(
    `Two games of ${limit} train and ${dev_size} dev rows with ${max_new_tokens} new tokens, one undisturbed and one that is ` +
      `killed: about ${formatDuration(small.seconds)}, and up to ${(small.bytes / 1e9).toFixed(1)} GB in ${directory}.`,
  );
  if (settings.governor && dev_size! < FEWEST_ROWS) {
    context.say(`The governor takes no part: it decides by ${FEWEST_ROWS} dev rows or more.`);
  }
  let kept = keep;
  try {
    const games = [await verifyGame(program, join(directory, 'game'), small.settings, context)];
    if (games[0]!.endedEarly) {
      context.say('The governor ended the small game early; once more without it, for the stages that are left.');
      const without = { ...small.settings, governor: false };
      games.push(await verifyGame(program, join(directory, 'without-governor'), without, context));
    }
    const first = games.flatMap(({ first }) => first ?? [])[0] ?? null;
    kept ||= first !== null;
    return {
      equal: first === null,
      stages: games.flatMap(({ stages }, i) =>
        i === 0 ? stages : stages.map((one) => ({ ...one, stage: `without governor, ${one.stage}` })),
      ),
      missed: games.flatMap(({ missed }) => missed),
      first,
      directory: kept ? directory : null,
      seconds: (performance.now() - begin) / 1000,
    };
  } catch (error) {
    kept ||= !context.signal?.aborted;
    if (kept) context.say(`The games are kept in ${directory}`);
    throw error;
  } finally {
    if (!kept) await rm(directory, { recursive: true, force: true });
  }
}

type GameProof = Pick<ResumeProof, 'stages' | 'missed' | 'first'> & { readonly endedEarly: boolean };

/** Plays and compares one game in directories beside each other: NAME-undisturbed, NAME-killed-1 ... */
async function verifyGame(
  program: Program,
  name: string,
  settings: SpinSettings,
  context: RecipeContext,
): Promise<GameProof> {
  const config = `${name}.json`;
  await writeFileAtomic(config, `${JSON.stringify(settings, null, 2)}\n`);
  const whole = `${name}-undisturbed`;
  await shown(context, 'undisturbed', settings, (onEvent) => playWhole(program, { config, out: whole }, onEvent));
  const log = await readRunLog(whole);
  if (!log.some(({ type }) => type === 'train.step')) {
    throw failure({
      what: 'the small game ended before any training: nothing to resume there',
      where: whole,
      fix: 'its log says why; another --seed takes other rows',
    });
  }
  const stages = [...new Set(log.filter(({ stage }) => stage !== null).map(partOf))];
  const points = killPoints(log, settings.seed);
  const died: string[] = [];
  const compared: ComparedFile[] = [];
  let missed = stages;
  for (let game = 1; game <= GAMES && missed.length > 0; game++) {
    const out = `${name}-killed-${game}`;
    const left = points.filter(({ part }) => missed.includes(part));
    died.push(
      ...(await shown(context, 'killed and resumed', settings, (onEvent) =>
        playKilled(program, { config, out, lock: join(whole, LOCK) }, left, onEvent),
      )),
    );
    compared.push(...(await compareGames(whole, out)));
    stopIfAsked(program.signal);
    missed = stages.filter((stage) => !died.includes(stage));
  }
  const parts = [...new Set([...stages, ...compared.map(({ part }) => part)])];
  return {
    stages: parts.map((stage) => {
      const files = compared.filter(({ part }) => part === stage);
      const kills = died.filter((part) => part === stage).length;
      return { stage, kills, compared: files.length, equal: files.every(({ deviation }) => deviation === null) };
    }),
    missed,
    first: compared.find(({ deviation }) => deviation !== null) ?? null,
    endedEarly: settings.governor && !log.some(({ type, iteration }) => type === 'train.step' && iteration! > 0),
  };
}

/** Shows the progress of a game by the stages that it finishes. */
async function shown<T>(
  context: RecipeContext,
  label: string,
  { iterations }: SpinSettings,
  play: (onEvent: (event: RunEvent) => void) => Promise<T>,
): Promise<T> {
  const progress = context.progress(`the small game, ${label}`, 1 + 4 * iterations, 'stages');
  const finished = new Set<string>();
  try {
    return await play((event) => {
      if (event.type !== 'stage.finished' || finished.has(partOf(event))) return;
      finished.add(partOf(event));
      progress.advance(1);
    });
  } finally {
    progress.done();
  }
}

/** The proof as a table and a verdict, ending in a line break. */
export function proofText({ stages, missed, first, equal }: ResumeProof): string {
  const cells = stages.map((one) => [
    one.stage,
    String(one.kills),
    formatCount(one.compared),
    one.equal ? 'equal' : 'NOT EQUAL',
  ]);
  const kills = stages.reduce((n, one) => n + one.kills, 0);
  const verdict =
    first === null
      ? [`After ${kills} kills everything is the same, bit for bit.`]
      : [
          `The first that is not equal: ${first.file}, ${first.deviation!.where}`,
          `  undisturbed: ${first.deviation!.a}`,
          `  killed and resumed: ${first.deviation!.b}`,
        ];
  if (equal && missed.length > 0) verdict.push(`No kill came into ${missed.join(', ')}: nothing is proven there.`);
  return `${alignedText([['stage', 'kills', 'files', ''], ...cells])}\n\n${verdict.join('\n')}\n`;
}
