/**
 * A game that is killed: `selfplay run` (or `dpo`) and `selfplay resume` as processes that are followed by their log and get SIGKILL
 * where it says. The places are drawn from the log of an undisturbed run of the same game.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { readJsonLines } from '../../formats/index.ts';
import { type RunEvent, tailRunLog } from '../../report/index.ts';
import { failure, rowKey, shuffled, uniform } from '../../util/index.ts';
import { stopIfAsked } from '../run/context.ts';
import { stageKey } from '../run/run.ts';
import { numberOf, partOf } from './likeness.ts';

/** Where a process is to die: so many milliseconds after this event. */
export interface KillPoint {
  /** The stage, over all attempts. */
  readonly part: string;
  /** The stage of one attempt. */
  readonly group: string;
  readonly event: string;
  readonly delay: number;
}

const addressOf = (event: RunEvent) => `${stageKey(event)}/${event.type}${numberOf(event)}`;

/** Random numbers of kills: a stream that nothing else uses. */
const STREAM = 1000;
/** Part of the way to the next event that a kill may wait: beyond it the stage might be over. */
const LATEST = 0.9;
/** After these the stage is over, or about to be. */
const AT_THE_END: ReadonlySet<RunEvent['type']> = new Set(['stage.finished', 'governor.decided']);
/** Kills in a stage of training, where a resume has the most to bring back. */
const IN_TRAINING = 2;

/**
 * Random places, at least one in every stage of the undisturbed game, in its order. In training they are behind the first
 * checkpoint, where there are so many steps. Preparing given pairs is over before a process can be hit.
 */
export function killPoints(events: readonly RunEvent[], seed: number): KillPoint[] {
  const groups = [...new Set(events.filter(({ stage }) => stage !== null && stage !== 'prepare').map(stageKey))];
  return groups.flatMap((group) => {
    const begun = events.filter((event) => stageKey(event) === group && !AT_THE_END.has(event.type));
    const steps = begun.filter((event) => event.type === 'train.step' && event.step > 1);
    const [from, count] = steps.length > 0 ? [steps, IN_TRAINING] : [begun, 1];
    return shuffled(from, seed, `kills ${group}`)
      .slice(0, count)
      .sort((a, b) => a.seq - b.seq)
      .map((event) => {
        const next = events[events.indexOf(event) + 1] ?? event;
        const gap = Date.parse(next.time) - Date.parse(event.time);
        const share = uniform(seed, STREAM, 0, rowKey(group), 0, event.seq);
        return { part: partOf(event), group, event: addressOf(event), delay: gap * share * LATEST };
      });
  });
}

/** How `selfplay` is called here. */
export interface Program {
  /** Executable and first arguments. */
  readonly command: readonly [string, ...string[]];
  /** Aborted: the process is killed, and `play` throws. */
  readonly signal?: AbortSignal | undefined;
}

/** Milliseconds between two looks at the log. */
const LOOK = 4;
/** Characters kept of what a process says. */
const LAST_WORDS = 4000;

/**
 * Runs `selfplay ARGV` and follows the log of `run`; `onEvent` may ask for the end by SIGKILL in so many milliseconds.
 * @returns whether it was killed
 * @throws failure with what the process said when it ended in any other way than well
 */
async function follow(
  { command, signal }: Program,
  argv: readonly string[],
  run: string,
  onEvent: (event: RunEvent) => number | undefined,
): Promise<boolean> {
  const read = tailRunLog(run);
  while (read().length > 0); // what is there already
  stopIfAsked(signal);
  const [file, ...first] = command;
  const job = spawn(file, [...first, ...argv, '--quiet'], { stdio: ['ignore', 'ignore', 'pipe'] });
  const kill = () => job.kill('SIGKILL');
  signal?.addEventListener('abort', kill);
  let said = '';
  job.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-LAST_WORDS);
  });
  let planned: NodeJS.Timeout | undefined;
  const look = setInterval(() => {
    for (const event of read()) {
      const wait = onEvent(event);
      if (wait !== undefined) planned ??= setTimeout(kill, wait);
    }
  }, LOOK);
  try {
    const [status, by] = await new Promise<[number | null, string | null]>((resolve, reject) => {
      job.on('error', reject);
      job.on('close', (...end) => resolve(end));
    });
    stopIfAsked(signal);
    if (by === 'SIGKILL' && planned !== undefined) return true;
    if (status === 0) return false;
    const how = `\`selfplay ${argv[0]}\` ended with ${by ?? `status ${status}`}`;
    throw failure({ what: `${how}: ${said.trim() || 'it said nothing'}`, where: run });
  } finally {
    clearInterval(look);
    clearTimeout(planned);
    signal?.removeEventListener('abort', kill);
  }
}

/** Seconds until a process has begun to work: a command that needs no more than that. */
export async function startSeconds({ command: [file, ...first], signal }: Program): Promise<number> {
  const start = performance.now();
  await new Promise((resolve, reject) => {
    const job = spawn(file, [...first, 'config', 'schema'], { stdio: 'ignore' });
    job.on('error', reject).on('close', resolve);
  });
  stopIfAsked(signal);
  return (performance.now() - start) / 1000;
}

/** What is played: settings in a config file, of which command, and where to. */
export interface Game {
  readonly recipe: 'run' | 'dpo';
  readonly config: string;
  readonly out: string;
}

/** A game that is to be the same as another, whose lock this is. */
export interface Repeated extends Game {
  readonly lock: string;
}

/** Plays a game without interruption. */
export async function playWhole(program: Program, { recipe, config, out }: Game, onEvent: (e: RunEvent) => void) {
  await follow(program, [recipe, '--config', config, '--out', out], out, (event) => {
    onEvent(event);
    return undefined;
  });
}

/**
 * Plays a game that is killed at every point and resumed each time. Points that the game has passed (a resume may have them
 * behind it) are left out.
 * @param points in the order of the game
 * @returns the part in which each process died, as its log has it
 */
export async function playKilled(
  program: Program,
  { recipe, config, out, lock }: Repeated,
  points: readonly KillPoint[],
  onEvent: (event: RunEvent) => void,
): Promise<string[]> {
  const order = [...new Set(points.map(({ group }) => group))];
  let left = [...points];
  const died: string[] = [];
  for (let argv: string[] = [recipe, '--config', config, '--out', out, '--lock', lock]; ; argv = ['resume', out]) {
    const killed = await follow(program, argv, out, (event) => {
      onEvent(event);
      const at = order.indexOf(stageKey(event));
      left = left.filter(({ group }) => at < 0 || order.indexOf(group) >= at);
      const [next] = left;
      if (next?.event !== addressOf(event)) return undefined;
      left = left.slice(1);
      return next.delay;
    });
    if (!killed) return died;
    const part = await lastPart(out);
    if (part !== null) died.push(part);
  }
}

/** The stage in which the last process that wrote this log came to its end; null when it was in none yet. */
async function lastPart(run: string): Promise<string | null> {
  let part: string | null = null;
  for await (const { value } of readJsonLines(join(run, 'events.jsonl'), { tolerateTornTail: true })) {
    const event = value as RunEvent;
    if (event.type === 'run.started' || event.type === 'run.resumed') part = null;
    if (event.stage !== null) part = partOf(event);
  }
  return part;
}
