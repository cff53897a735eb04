// Progress of a long stage on a terminal: one line with a bar, rate and time left that is redrawn in place; anywhere
// else a plain line now and then. Nothing here may hurt a run: a closed or broken stream turns it off silently.
import { formatCount, formatDuration, formatRate } from './text.ts';

/** Share of the work from which time left is shown. */
const GUESS_FROM = 0.05;

/** What progress needs of an output stream; `process.stderr` fits. */
export interface ProgressStream {
  write(text: string): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  isTTY?: boolean;
  columns?: number;
}

export interface ProgressOptions {
  /** What is being done, "Generating answers". */
  label: string;
  /** Number of units in all. */
  total: number;
  /** Plural of what is counted, "rows". */
  unit: string;
  /** Default: standard error. */
  stream?: ProgressStream;
  /** Milliseconds; a test sets it. */
  now?: () => number;
  /** Environment: NO_COLOR (any text) leaves out colour, TERM=dumb means plain lines. */
  env?: Record<string, string | undefined>;
}

export interface Progress {
  /** `count` more units are done; `extra` is a short remark at the end of the line ("loss 0.62"). */
  advance(count: number, extra?: string): void;
  /** Ends the stage with one line that stays. Further calls do nothing. */
  done(): void;
}

const REDRAW_MS = 100;
const PLAIN_MS = 10_000;
const PLAIN_SOONEST_MS = 1000;
const MIN_BAR = 8;
const MAX_BAR = 30;
const CLEAR = '\r\u001b[K';

/** Streams that have a listener for errors, and whether they have failed. */
const broken = new WeakMap<ProgressStream, boolean>();

function writeSafely(stream: ProgressStream, text: string): void {
  if (broken.get(stream) === undefined) {
    broken.set(stream, false);
    // A pipe whose reader is gone reports EPIPE here, later than the write; without a listener it ends the process.
    stream.on('error', () => broken.set(stream, true));
  }
  if (broken.get(stream) === true) return;
  try {
    stream.write(text);
  } catch {
    broken.set(stream, true);
  }
}

/** Starts the progress of one stage. On a terminal the line is redrawn at most ten times a second. */
export function progress(options: ProgressOptions): Progress {
  const { label, total, unit, stream = process.stderr, now = Date.now, env = process.env } = options;
  const live = stream.isTTY === true && env['TERM'] !== 'dumb';
  const colour = live && (env['NO_COLOR'] ?? '') === '';
  const start = now();
  let count = 0;
  let lastTime = live ? Number.NEGATIVE_INFINITY : start;
  let lastTenth = 0;
  let ended = false;

  const seconds = (): number => Math.max(0, (now() - start) / 1000);
  const share = (): number => (total > 0 ? Math.min(1, count / total) : 1);

  /** "52 %  266/512 rows  12.3 rows/s  20 s left  extra" */
  function facts(extra: string): string {
    const parts = [`${Math.floor(share() * 100)} %`, `${formatCount(count)}/${formatCount(total)} ${unit}`];
    const elapsed = seconds();
    if (count > 0 && elapsed > 0) {
      parts.push(`${formatRate(count / elapsed)} ${unit}/s`);
      // The first few say little: answers side by side end together, long after the first was begun.
      if (share() >= GUESS_FROM) parts.push(`${formatDuration((Math.max(0, total - count) * elapsed) / count)} left`);
    }
    if (extra !== '') parts.push(extra);
    return parts.join('  ');
  }

  function drawLive(extra: string): void {
    // The last column stays free: some terminals wrap as soon as it is written.
    const width = Math.max(1, (stream.columns ?? 80) - 1);
    const text = facts(extra);
    const bar = Math.min(MAX_BAR, width - label.length - text.length - 4);
    if (bar < MIN_BAR) {
      writeSafely(stream, `${CLEAR}${`${label}  ${text}`.slice(0, width)}`);
      return;
    }
    const filled = Math.round(share() * bar);
    const full = '█'.repeat(filled);
    const drawn = (colour ? `\u001b[36m${full}\u001b[39m` : full) + '░'.repeat(bar - filled);
    writeSafely(stream, `${CLEAR}${label}  ${drawn}  ${text}`);
  }

  return {
    advance(more, extra = '') {
      if (ended) return;
      count += more;
      const since = now() - lastTime;
      if (live) {
        if (since < REDRAW_MS && count < total) return;
        drawLive(extra);
      } else {
        const tenth = Math.floor(share() * 10);
        if (since < PLAIN_MS && (tenth === lastTenth || since < PLAIN_SOONEST_MS)) return;
        lastTenth = tenth;
        writeSafely(stream, `${label}: ${facts(extra)}\n`);
      }
      lastTime = now();
    },
    done() {
      if (ended) return;
      ended = true;
      const elapsed = seconds();
      const counted = count === total ? formatCount(count) : `${formatCount(count)} of ${formatCount(total)}`;
      const rate = count > 0 && elapsed > 0 ? ` (${formatRate(count / elapsed)} ${unit}/s)` : '';
      const line = `${label}: ${counted} ${unit} in ${formatDuration(elapsed)}${rate}\n`;
      writeSafely(stream, live ? `${CLEAR}${line}` : line);
    },
  };
}
