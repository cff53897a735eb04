/**
 * Proves on the user's own settings that a resume gives the same bytes: a small game, or a small training on labelled pairs, is
 * played without interruption, then again with SIGKILL in every stage and a resume each time, and everything that both
 * leave is compared.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { alignedText, formatCount, formatDuration, type RunEvent, readRunLog } from '../../report/index.ts';
import { failure, writeFileAtomic } from '../../util/index.ts';
import { type RecipeContext, stopIfAsked } from '../run/context.ts';
import { localInputs } from '../run/inputs.ts';
import { LOCK } from '../run/layout.ts';
import type { DpoSettings } from '../settings/dpoSettings.ts';
import type { SpinSettings } from '../settings/settings.ts';
import { killPoints, type Program, playKilled, playWhole, startSeconds } from './kills.ts';
import { type ComparedFile, compareGames, partOf } from './likeness.ts';
import { type Miniature, miniatureGame, miniaturePairs } from './miniature.ts';

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

/** What is proven about: the settings of a command. */
export type ToVerify =
  | { readonly recipe: 'run'; readonly settings: SpinSettings }
  | { readonly recipe: 'dpo'; readonly settings: DpoSettings };

/** @throws SelfplayError when the small game cannot be played, or not be resumed; then its directory is kept */
export async function verifyResume(
  given: ToVerify,
  { command, keep }: VerifyOptions,
  context: RecipeContext,
): Promise<ResumeProof> {
  const begin = performance.now();
  context.say('Measuring how long a small game takes here.');
  const program = { command, signal: context.signal };
  const start = await startSeconds(program);
  const small: Miniature<SpinSettings | DpoSettings> =
    given.recipe === 'run'
      ? await miniatureGame((await localInputs(given.settings, context)).settings, start, context)
      : await miniaturePairs((await localInputs(given.settings, context)).settings, start, context);
  const directory = await mkdtemp(join(tmpdir(), 'selfplay-verify-'));
  context.say(
    `Two games of ${small.size}, one undisturbed and one that is killed: about ${formatDuration(small.seconds)}, and up to ` +
      `${(small.bytes / 1e9).toFixed(1)} GB in ${directory}.`,
  );
  for (const remark of small.remarks) context.say(remark);
  const verify = (name: string, settings: SpinSettings | DpoSettings) => {
    const task = { recipe: given.recipe, name: join(directory, name), settings, stages: small.stages };
    return verifyGame(program, task, context);
  };
  let kept = keep;
  try {
    const games = [await verify('game', small.settings)];
    if (small.ungoverned && games[0]!.endedEarly) {
      context.say('The governor ended the small game early; once more without it, for the stages that are left.');
      games.push(await verify('without-governor', small.ungoverned));
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

/** A small game, and what its directories are to be called. */
interface Task extends Pick<ToVerify, 'recipe'> {
  readonly name: string;
  readonly settings: SpinSettings | DpoSettings;
  readonly stages: number;
}

/** Plays and compares one game in directories beside each other: NAME-undisturbed, NAME-killed-1 ... */
async function verifyGame(program: Program, task: Task, context: RecipeContext): Promise<GameProof> {
  const { recipe, name, settings } = task;
  const config = `${name}.json`;
  await writeFileAtomic(config, `${JSON.stringify(settings, null, 2)}\n`);
  const whole = `${name}-undisturbed`;
  await shown(context, 'undisturbed', task, (onEvent) => playWhole(program, { recipe, config, out: whole }, onEvent));
  const log = await readRunLog(whole);
  if (!log.some(({ type }) => type === 'train.step')) {
    throw failure({
      what: 'the small game ended before any training: nothing to resume there',
      where: whole,
      fix: 'its log says why; another --seed takes other rows',
    });
  }
  const points = killPoints(log, settings.seed);
  const stages = [...new Set(points.map(({ part }) => part))];
  const died: string[] = [];
  const compared: ComparedFile[] = [];
  let missed = stages;
  for (let game = 1; game <= GAMES && missed.length > 0; game++) {
    const out = `${name}-killed-${game}`;
    const left = points.filter(({ part }) => missed.includes(part));
    died.push(
      ...(await shown(context, 'killed and resumed', task, (onEvent) =>
        playKilled(program, { recipe, config, out, lock: join(whole, LOCK) }, left, onEvent),
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
    endedEarly: !log.some(({ type, iteration }) => type === 'train.step' && iteration! > 0),
  };
}

/** Shows the progress of a game by the stages that it finishes. */
async function shown<T>(
  context: RecipeContext,
  label: string,
  { stages }: Task,
  play: (onEvent: (event: RunEvent) => void) => Promise<T>,
): Promise<T> {
  const progress = context.progress(`the small game, ${label}`, stages, 'stages');
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
