/** A conversation that is typed: lines in, events out. What prints the events is a terminal's business (cli/). */
import { SelfplayError } from '../../util/index.ts';
import { lineupText, partnerNamed } from '../run/lineup.ts';
import type { TalkSettings } from '../settings/talkSettings.ts';
import {
  answered,
  ask,
  askAgain,
  CHAT_HELP,
  type Conversation,
  endOfText,
  fitted,
  type Input,
  messagesOf,
  readLine,
  type Unfinished,
} from './conversation.ts';
import type { Talk } from './talk.ts';

export type TalkEvent =
  /** An answer begins, of the model with this label. */
  | { readonly type: 'begins'; readonly label: string }
  /** More of its text, never half of a character. */
  | { readonly type: 'piece'; readonly text: string }
  /** It is over: the pieces joined. `stopped`: by the user. */
  | {
      readonly type: 'answer';
      readonly label: string;
      readonly question: string;
      readonly answer: string;
      readonly finish: 'end' | 'length' | 'stopped';
    }
  /** What a command was asked for. */
  | { readonly type: 'reply'; readonly text: string }
  /** A remark that nobody asked for. */
  | { readonly type: 'note'; readonly text: string }
  /** Something was not done, and why. */
  | { readonly type: 'problem'; readonly text: string };

/** What a line is heard with. `signal` stops the answer that it asks for. */
export interface Ear {
  readonly emit: (event: TalkEvent) => void;
  readonly signal: AbortSignal;
}

export interface Conversing {
  /** Takes a line. False when the conversation is over. */
  readonly hear: (line: string, ear: Ear) => Promise<boolean>;
  /** No more lines come: a text that is not closed is asked as it is. */
  readonly end: (ear: Ear) => Promise<void>;
  /** Whether a text of several lines is open. */
  readonly isOpen: () => boolean;
  /** Drops the text of several lines that is open. */
  readonly drop: () => void;
}

type Sampling = Pick<TalkSettings, 'max_new_tokens' | 'temperature' | 'top_k' | 'top_p' | 'seed' | 'system'>;

export function converse(talk: Talk, { system, ...given }: Sampling): Conversing {
  let settings = given;
  let conversation: Conversation = { system, turns: [] };
  let unfinished: Unfinished = null;

  /** Answers the question at the end of `asking`, which becomes the conversation when it has an answer. */
  async function respond(asking: Conversation, before: string | undefined, { emit, signal }: Ear): Promise<void> {
    const context = talk.contextLength();
    const fits = fitted(asking, talk.promptLength, { context, maxNewTokens: settings.max_new_tokens });
    if (!fits) return emit({ type: 'problem', text: `That does not fit into the context of ${context} tokens.` });
    if (fits.dropped > 0) {
      const turns = fits.dropped === 1 ? 'turn is' : `${fits.dropped} turns are`;
      const text = `The conversation has outgrown the context of ${context} tokens: its oldest ${turns} forgotten.`;
      emit({ type: 'note', text });
    }
    conversation = fits.conversation;
    const { question, sample } = conversation.asked!;
    const { label } = talk.partner();
    let text = '';
    const onText = (piece: string) => {
      text += piece;
      emit({ type: 'piece', text: piece });
    };
    emit({ type: 'begins', label });
    const messages = messagesOf(conversation);
    const finish = await talk.answer({ messages, settings, sample, onText, signal }).then(
      (answer) => answer.finish,
      (error: unknown) => {
        if (signal.aborted) return 'stopped' as const;
        throw error;
      },
    );
    conversation = answered(conversation, text);
    emit({ type: 'answer', label, question, answer: text, finish });
    if (finish === 'length') {
      emit({ type: 'note', text: `Cut after ${settings.max_new_tokens} tokens, or at the end of the context.` });
    } else if (text === before && settings.temperature === 0) {
      const why = 'at temperature 0 it is the most probable one each time';
      emit({ type: 'note', text: `The same answer: ${why}. /temperature 1 samples.` });
    }
  }

  async function again(isAnother: boolean, ear: Ear): Promise<boolean> {
    const asking = askAgain(conversation, isAnother);
    if (asking) await respond(asking, isAnother ? conversation.asked?.answer : undefined, ear);
    return asking !== undefined;
  }

  async function iteration(name: string, ear: Ear): Promise<void> {
    const { lineup } = talk;
    if (name === '') return ear.emit({ type: 'reply', text: lineupText(lineup, talk.partner()) });
    const partner = partnerNamed(lineup, name);
    await talk.switchTo(partner);
    if (!(await again(false, ear))) ear.emit({ type: 'reply', text: `Now ${partner.label} answers.` });
  }

  function temperature(argument: string): string | undefined {
    const value = Number(argument);
    if (!Number.isFinite(value) || value < 0) return undefined;
    if (argument !== '') settings = { ...settings, temperature: value };
    return `The temperature is ${settings.temperature}.`;
  }

  function systemMessage(argument: string): string {
    if (argument !== '') conversation = { ...conversation, system: argument === 'off' ? undefined : argument };
    return conversation.system === undefined ? 'There is no system message.' : `System: ${conversation.system}`;
  }

  /** False when the conversation is over. */
  async function act(input: Input, ear: Ear): Promise<boolean> {
    const { emit } = ear;
    switch (input.kind) {
      case 'question':
        await respond(ask(conversation, input.text), undefined, ear);
        break;
      case 'again':
        if (!(await again(true, ear))) emit({ type: 'problem', text: 'Nothing has been asked yet.' });
        break;
      case 'iteration':
        await iteration(input.argument, ear);
        break;
      case 'reset':
        conversation = { system: conversation.system, turns: [] };
        emit({ type: 'reply', text: 'The conversation is forgotten.' });
        break;
      case 'system':
        emit({ type: 'reply', text: systemMessage(input.argument) });
        break;
      case 'temperature': {
        const text = temperature(input.argument);
        if (text !== undefined) emit({ type: 'reply', text });
        else emit({ type: 'problem', text: `The temperature must be 0 or more, got ${input.argument}.` });
        break;
      }
      case 'help':
        emit({ type: 'reply', text: CHAT_HELP });
        break;
      case 'unknown':
        emit({ type: 'problem', text: `There is no ${input.command}; /help lists what there is.` });
        break;
      case 'exit':
        return false;
    }
    return true;
  }

  /** What goes wrong with one question does not end the conversation. */
  async function attempt(input: Input | undefined, ear: Ear): Promise<boolean> {
    if (!input) return true;
    try {
      return await act(input, ear);
    } catch (error) {
      if (!(error instanceof SelfplayError)) throw error;
      ear.emit({ type: 'problem', text: error.where === undefined ? error.what : error.message });
      return true;
    }
  }

  return {
    hear: (line, ear) => {
      const { unfinished: open, input } = readLine(unfinished, line);
      unfinished = open;
      return attempt(input, ear);
    },
    end: async (ear) => {
      const { input } = unfinished === null ? {} : endOfText(unfinished);
      unfinished = null;
      await attempt(input, ear);
    },
    isOpen: () => unfinished !== null,
    drop: () => {
      unfinished = null;
    },
  };
}
