// events.jsonl: the append-only log of a run. One process writes, any number read while it grows.
// Nothing in it is ever changed: a resume appends a marker, and readers leave out what the marker supersedes.
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { openAppender, readJsonLines } from '../formats/index.ts';
import { failure } from '../util/index.ts';
import { LASTING, type NewEvent, type RunEvent, runEvent } from './events.ts';

const FILE = 'events.jsonl';
/** What a tail reads at once: it bounds the memory that a long log takes. */
const PIECE_BYTES = 1 << 20;

export interface RunLog {
  /**
   * Stamps the event with version, seq and time, and appends it; resolves with the whole event when the system has
   * taken the line. Events keep the order of the calls.
   * @throws if a figure is not finite, or if the line cannot be written
   */
  emit(event: NewEvent): Promise<RunEvent>;
  /**
   * The seq of the next event. A checkpoint stores it: after a resume from there, `run.resumed` supersedes from it.
   */
  nextSeq(): number;
  /** Resolves when all events so far are on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface RunLogOptions {
  /** Called with each event after it was written. */
  onEvent?: (event: RunEvent) => void;
  /** Milliseconds since 1970; a test sets it. */
  now?: () => number;
}

/**
 * Opens the log of the run directory `dir` (which must exist) for appending, creating it if need be. A line torn by a
 * crash is cut off; seq goes on where the log ends.
 */
export async function openRunLog(dir: string, { onEvent, now = Date.now }: RunLogOptions = {}): Promise<RunLog> {
  const file = join(dir, FILE);
  const appender = await openAppender(file);
  let seq = 0;
  try {
    for await (const event of eventsOf(file)) seq = event.seq + 1;
  } catch (error) {
    await appender.close();
    throw error;
  }
  return {
    async emit(event) {
      const stamped = runEvent.parse({ v: 1, seq, time: new Date(now()).toISOString(), ...event });
      seq++;
      await appender.append(stamped);
      onEvent?.(stamped);
      return stamped;
    },
    nextSeq: () => seq,
    sync: () => appender.sync(),
    close: () => appender.close(),
  };
}

/**
 * The events of a run that count, in order: without those that a later `run.resumed` supersedes (the markers and LASTING events stay). May
 * be called while the run is going; a line that is only half written is left out.
 * @throws SelfplayError naming the line of a damaged or unknown event, or if there is no log
 */
export async function readRunLog(dir: string): Promise<RunEvent[]> {
  let kept: RunEvent[] = [];
  for await (const event of eventsOf(join(dir, FILE))) {
    if (event.type === 'run.resumed') {
      kept = kept.filter(({ seq, type }) => seq < event.supersedesFrom || LASTING.has(type));
    }
    kept.push(event);
  }
  return kept;
}

/**
 * Follows the log of the run directory `dir` from its first event on, superseded ones included. Each call reads the next
 * events that are there, about a megabyte at most: none when there are no more yet, or no log. A line that is only half
 * written is left for a later call (a resume may cut it off).
 */
export function tailRunLog(dir: string): () => RunEvent[] {
  const file = join(dir, FILE);
  let position = 0;
  return () => {
    if (!existsSync(file)) return [];
    const handle = openSync(file, 'r');
    try {
      const left = fstatSync(handle).size - position;
      for (let size = PIECE_BYTES; left > 0; size *= 2) {
        const bytes = Buffer.alloc(Math.min(size, left));
        const count = readSync(handle, bytes, 0, bytes.length, position);
        const end = bytes.subarray(0, count).lastIndexOf('\n') + 1;
        if (end === 0 && size < left) continue; // a line longer than that
        position += end;
        const lines = bytes.subarray(0, end).toString('utf8').split('\n').slice(0, -1);
        return lines.map((line) => JSON.parse(line) as RunEvent);
      }
      return [];
    } finally {
      closeSync(handle);
    }
  };
}

/** All events of the file, checked one by one, their seq rising. */
async function* eventsOf(file: string): AsyncGenerator<RunEvent, void, undefined> {
  let last = -1;
  for await (const { line, value } of readJsonLines(file, { tolerateTornTail: true })) {
    const parsed = runEvent.safeParse(value);
    const issue = parsed.error?.issues[0];
    const problem = issue === undefined ? undefined : `${issue.path.join('.')}: ${issue.message}`;
    if (!parsed.success || parsed.data.seq <= last) {
      throw failure({
        what: `not an event of this version of selfplay (${problem ?? 'seq does not rise'})`,
        where: `${file}:${line}`,
        fix: 'read the run with the version of selfplay that wrote it',
      });
    }
    last = parsed.data.seq;
    yield parsed.data;
  }
}
