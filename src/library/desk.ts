/** Where a run at rest is met: it is paused and let go on here, and its model answers while it rests. */
import type { Message } from '../data/index.ts';
import {
  type Answer,
  type Chat,
  type ChatInput,
  chatSchema,
  openChat,
  type Place,
  type Seat,
} from '../recipes/index.ts';
import { failure, type SelfplayError } from '../util/index.ts';
import { openBell } from './follow.ts';
import { checked } from './options.ts';
import { openReply, type Reply } from './reply.ts';

/** An answer of the model of a run, and where that was asked. */
export interface ChatAnswer extends Answer {
  /** Which weights answered. */
  readonly place: Place;
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
  chat(messages: readonly Message[], settings?: ChatInput): Reply<ChatAnswer>;
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
  readonly serve: (chat: Chat, place: Place) => Promise<void>;
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
      const asked = structuredClone(messages);
      return openReply<ChatAnswer>(
        (onText, leaving) =>
          new Promise((resolve, reject) => {
            const either = AbortSignal.any([signal, leaving]);
            const serve = (chat: Chat, place: Place) =>
              chat.answer({ messages: asked, settings, onText, signal: either }).then(
                (answer) => resolve({ ...answer, place }),
                (error: unknown) => reject(signal.aborted ? stopped() : error),
              );
            const visit: Visit = { serve, refuse: reject };
            if (isClosed) return reject(failure({ what: 'the run is over', fix: 'ask its model with `generate`' }));
            visits.push(visit);
            bell.ring();
            leaving.addEventListener('abort', () => {
              const waiting = visits.indexOf(visit);
              if (waiting < 0) return;
              visits.splice(waiting, 1);
              reject(leaving.reason);
            });
          }),
      );
    },
    attend: async (seat) => {
      if (!isPaused && visits.length === 0) return;
      const chat = openChat(seat.engine, seat);
      const alive = setInterval(() => undefined, KEEP_ALIVE);
      try {
        while (!signal.aborted) {
          const news = bell.next();
          if (isPaused) tellArrived(seat.place);
          const visit = visits.shift();
          if (visit) await visit.serve(chat, seat.place);
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
