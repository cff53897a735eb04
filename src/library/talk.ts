/** Talking with models at rest, and playing the main player, as `selfplay chat` and `selfplay play` do. */
import type { Message } from '../data/index.ts';
import {
  type ChatInput,
  chatSchema,
  openPlay,
  openTalk,
  type Partner,
  type Play,
  type PlayInput,
  partnerNamed,
  playSchema,
  type TalkInput,
  talkSchema,
} from '../recipes/index.ts';
import { checked, contextOf, type Options } from './options.ts';
import { openReply, type Reply } from './reply.ts';

/** The models of a run, or one alone, in an engine. What is asked of it is done in turn. */
export interface ModelChat {
  /** Who may answer. */
  readonly partners: readonly Partner[];
  /** Who answers. */
  readonly partner: () => Partner;
  /** Has another one answer: by "best", the number of an iteration, or how its label begins. */
  switchTo(name: string | number): Promise<Partner>;
  /**
   * Asks. The conversation is the caller's to keep.
   * @param messages [system,] user, assistant, user …
   * @param settings in place of those that the chat was opened with
   * @throws SelfplayError for wrong settings; whatever else goes wrong is thrown by the reply
   */
  ask(messages: readonly Message[], settings?: ChatInput): Reply;
  /** Ends the engine, when what was asked before is answered. */
  close(): Promise<void>;
}

/**
 * Opens a chat with a model or with the models of a run, as `selfplay chat`. It must be closed.
 * @param settings as of `selfplay chat`, without `system`, which is a message
 */
export async function chat(settings: Omit<TalkInput, 'system'>, options: Options = {}): Promise<ModelChat> {
  const given = checked(talkSchema, settings);
  const talk = await openTalk(given, contextOf(options));
  const { max_new_tokens, temperature, top_k, top_p, seed } = given;
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const done = last.then(work);
    last = done.catch(() => undefined);
    return done;
  };
  return {
    partners: talk.lineup.partners,
    partner: talk.partner,
    switchTo: (name) =>
      inTurn(async () => {
        const partner = partnerNamed(talk.lineup, String(name));
        await talk.switchTo(partner);
        return partner;
      }),
    ask: (messages, changes = {}) => {
      const asked = structuredClone(messages);
      const how = checked(chatSchema, { max_new_tokens, temperature, top_k, top_p, seed, ...changes });
      return openReply((onText, signal) =>
        inTurn(() => talk.answer({ messages: asked, settings: how, onText, signal })),
      );
    },
    close: () => inTurn(talk.close),
  };
}

/** Opens the pairs of a run for a person to guess at, as `selfplay play`. */
export async function play(settings: PlayInput): Promise<Play> {
  return openPlay(checked(playSchema, settings));
}
