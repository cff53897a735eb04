// The one error type that users see. An error says what is wrong, where (file:line:key) and what to do about it.
// Notable choice: `kind` carries the exit status (usage 2, failure 1), so that no caller inspects messages.

export type ErrorKind = 'usage' | 'failure';

/** A failure that a caller can do something about. */
export type ErrorCode = 'out-of-memory' | 'unreachable' | 'stopped';

/** What an error is made of. `where` is file:line:key as far as known; `fix` is the next step for the reader. */
export interface ErrorParts {
  readonly what: string;
  readonly where?: string | undefined;
  readonly fix?: string | undefined;
  readonly code?: ErrorCode | undefined;
  readonly cause?: unknown;
}

/** An error meant for a person: its message holds what, where and fix, one per line. Build it with usageError or failure. */
export class SelfplayError extends Error {
  readonly kind: ErrorKind;
  readonly what: string;
  readonly where?: string;
  readonly fix?: string;
  readonly code?: ErrorCode;

  constructor(kind: ErrorKind, parts: ErrorParts) {
    const lines = [parts.what];
    if (parts.where !== undefined) lines.push(`  where: ${parts.where}`);
    if (parts.fix !== undefined) lines.push(`  fix: ${parts.fix}`);
    super(lines.join('\n'), parts.cause === undefined ? undefined : { cause: parts.cause });
    this.name = 'SelfplayError';
    this.kind = kind;
    this.what = parts.what;
    if (parts.where !== undefined) this.where = parts.where;
    if (parts.fix !== undefined) this.fix = parts.fix;
    if (parts.code !== undefined) this.code = parts.code;
  }
}

/** The user asked for something impossible or contradictory: exit status 2. */
export function usageError(parts: ErrorParts): SelfplayError {
  return new SelfplayError('usage', parts);
}

/** Something outside the user's request went wrong (damaged file, full disk, dead worker): exit status 1. */
export function failure(parts: ErrorParts): SelfplayError {
  return new SelfplayError('failure', parts);
}

/** Whether an engine had too little memory for what it was asked to compute (`Program.run` says which states are lost). */
export function isOutOfMemory(error: unknown): error is SelfplayError {
  return error instanceof SelfplayError && error.code === 'out-of-memory';
}

/** Whether a server did not answer, though it was asked several times. */
export function isUnreachable(error: unknown): error is SelfplayError {
  return error instanceof SelfplayError && error.code === 'unreachable';
}

/** Whether work ended because it was asked to, and left nothing half done. */
export function isStopped(error: unknown): error is SelfplayError {
  return error instanceof SelfplayError && error.code === 'stopped';
}

/** Process exit status for an error: 2 for usage errors, 1 for everything else. */
export function exitCode(error: unknown): number {
  return error instanceof SelfplayError && error.kind === 'usage' ? 2 : 1;
}

/** Problems as lines: the first of them, and how many more there are. */
export function problemLines(problems: readonly string[], indent = '  ', most = 40): string {
  const more = problems.length - most;
  const shown = more > 0 ? [...problems.slice(0, most), `and ${more} more`] : problems;
  return shown.map((problem) => `\n${indent}${problem}`).join('');
}

/** The text to print for an error: what, where, fix and the cause's own message, one per line; never a stack. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const text = error.message === '' ? error.name : error.message;
  if (error.cause === undefined) return text;
  const cause = error.cause instanceof Error ? error.cause.message : String(error.cause);
  return text.includes(cause) ? text : `${text}\n  cause: ${cause}`;
}
