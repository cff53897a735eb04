/** An answer while it is written: piece by piece, and the whole. */
import type { Answer } from '../recipes/index.ts';
import { deferred, follow, openBell } from './follow.ts';

/** A reader that leaves early stops the answer. */
export interface Reply<A = Answer> extends AsyncIterable<string> {
  readonly answer: Promise<A>;
}

/**
 * @param begin writes the answer: gives its text to `onText` piece by piece, never half of a character; when the signal is
 * aborted, it stops and rejects
 */
export function openReply<A>(begin: (onText: (piece: string) => void, signal: AbortSignal) => Promise<A>): Reply<A> {
  const leaving = new AbortController();
  const { promise: answer, resolve, reject } = deferred<A>();
  answer.catch(() => undefined); // an answer that nobody reads must not end the program
  const pieces: string[] = [];
  const bell = openBell();
  begin((piece) => {
    pieces.push(piece);
    bell.ring();
  }, leaving.signal).then(resolve, reject);
  const leave = async () => {
    leaving.abort();
    await answer.catch(() => undefined);
  };
  const iterate = () => {
    let shown = 0;
    const read = () => pieces.slice(shown, (shown = pieces.length));
    return follow({ bell, read, outcome: answer, leave });
  };
  return { answer, [Symbol.asyncIterator]: iterate };
}
