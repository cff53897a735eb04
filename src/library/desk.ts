/** Where a run at rest is met: it is paused and let go on here, and its model answers while it rests. */
import type { Message } from '../data/index.ts';
import {
  type Chat,
  type ChatAnswer,
  type ChatInput,
  chatSchema,
  openChat,
  type Place,
  type Seat,
} from '../recipes/index.ts';
import { failure, type SelfplayError } from '../util/index.ts';
import { deferred, follow, openBell } from './follow.ts';
import { checked } from './options.ts';

/** An answer: its text piece by piece while it is written, and the whole. A reader that leaves early stops it. */
export interface Reply extends AsyncIterable<string> {
  readonly answer: Promise<ChatAnswer>;
}

/** What a program does with a run that is under way. */
export interface Control {
  /**
   * Makes the run rest at the next safe point: between two optimizer steps, two answers, two shards.
   * @returns where it rests, once it does; null when it was let go on or was over before
   */
  pause(): Promise<Place | null>;
  /** Lets a paused run go on. */
  continue(): void;
  /**
   * Asks the model that is in the engine: the run rests at the next safe point until it has answered, and then goes on
   * unless it is paused. Nothing of the run changes by it.
   * @param messages [system,] user, assistant, user …
   * @param settings as of `selfplay generate`: max_new_tokens, temperature (0: the most probable answer), top_k, top_p, seed
   * @throws SelfplayError for wrong settings; whatever else goes wrong is thrown by the reply
   */
  chat(messages: readonly Message[], settings?: ChatInput): Reply;
}

export interface Desk extends Control {
  /** What the run calls at its safe points. */
  readonly attend: (seat: Seat) => Promise<void>;
  /** The run is over: nobody comes any more. */
  readonly close: () => void;
}

/** Node ends a program that waits for nothing but a promise; a run at rest is not over. Milliseconds. */
const KEEP_ALIVE = 2 ** 30;

interface Visit {
  readonly serve: (chat: Chat) => Promise<void>;
  readonly refuse: (reason: SelfplayError) => void;
}

const stopped = () => failure({ what: 'the run was stopped before its model had answered' });

/** @param signal ends every rest: the run shall stop */
export function openDesk(signal: AbortSignal): Desk {
  const bell = openBell();
  const visits: Visit[] = [];
  let arrivals: ((place: Place | null) => void)[] = [];
  let isPaused = false;
  let isClosed = false;
  signal.addEventListener('abort', bell.ring, { once: true });

  const tellArrived = (place: Place | null) => {
    for (const tell of arrivals) tell(place);
    arrivals = [];
  };

  return {
    pause: () => {
      if (isClosed) return Promise.resolve(null);
      isPaused = true;
      return new Promise((resolve) => {
        arrivals.push(resolve);
        bell.ring();
      });
    },
    continue: () => {
      isPaused = false;
      tellArrived(null);
      bell.ring();
    },
    chat: (messages, given = {}) => {
      const settings = checked(chatSchema, given);
      const leaving = new AbortController();
      const { promise: answer, resolve, reject } = deferred<ChatAnswer>();
      answer.catch(() => undefined); // an answer that nobody reads must not end the program
      const pieces: string[] = [];
      const news = openBell();
      const onText = (piece: string) => {
        pieces.push(piece);
        news.ring();
      };
      const asked = structuredClone(messages);
      let served: Promise<void> | undefined;
      const serve = (chat: Chat) => {
        const either = AbortSignal.any([signal, leaving.signal]);
        served = chat
          .answer({ messages: asked, settings, onText, signal: either })
          .then(resolve, (error: unknown) => reject(signal.aborted ? stopped() : error));
        return served;
      };
      const visit: Visit = { serve, refuse: reject };
      if (isClosed) reject(failure({ what: 'the run is over', fix: 'ask its model with `generate`' }));
      else visits.push(visit);
      bell.ring();
      const leave = async () => {
        leaving.abort();
        const waiting = visits.indexOf(visit);
        if (waiting >= 0) visits.splice(waiting, 1);
        reject(leaving.signal.reason);
        await served;
      };
      const iterate = () => {
        let shown = 0;
        const read = () => pieces.slice(shown, (shown = pieces.length));
        return follow({ bell: news, read, outcome: answer, leave });
      };
      return { answer, [Symbol.asyncIterator]: iterate };
    },
    attend: async (seat) => {
      if (!isPaused && visits.length === 0) return;
      const chat = openChat(seat);
      const alive = setInterval(() => undefined, KEEP_ALIVE);
      try {
        while (!signal.aborted) {
          const news = bell.next();
          if (isPaused) tellArrived(seat.place);
          const visit = visits.shift();
          if (visit) await visit.serve(chat);
          else if (isPaused) await news;
          else break;
        }
      } finally {
        clearInterval(alive);
        await chat.close();
      }
    },
    close: () => {
      isClosed = true;
      tellArrived(null);
      for (const { refuse } of visits.splice(0)) refuse(stopped());
    },
  };
}
