/**
 * Answers of the model that is in the engine, to a conversation. A run that rests there is not touched: the KV cache is one
 * of its own, random numbers are addressed, and no file is written.
 */
import { type Message, promptProblem, rolesProblem } from '../../data/index.ts';
import type { Engine } from '../../engine/index.ts';
import { type CompletionGenerator, openGenerator, type Sampling } from '../../generation/index.ts';
import { usageError } from '../../util/index.ts';
import type { Player } from '../game/opponent.ts';
import type { ChatSettings } from '../settings/settings.ts';

export interface ChatRequest {
  /** The conversation so far; the model answers the last turn, which is not its own. */
  readonly messages: readonly Message[];
  readonly settings: ChatSettings;
  /** Which of the answers to this conversation is wanted, from 0, where they are sampled. */
  readonly sample?: number;
  /** Called with the answer's text piece by piece, never half of a character. */
  readonly onText: (piece: string) => void;
  readonly signal: AbortSignal;
}

export interface Answer {
  /** The pieces joined. */
  readonly text: string;
  /** Token ids, with the end token if there is one. */
  readonly ids: Int32Array;
  /** `length`: cut at max_new_tokens or at the end of the context. */
  readonly finish: 'end' | 'length';
}

export interface Chat {
  /**
   * The same conversation, settings, sample and weights give the same answer. Throws the reason of an aborted signal, and
   * usage errors and failures about the conversation or the memory; the chat goes on all the same.
   */
  readonly answer: (request: ChatRequest) => Promise<Answer>;
  /** Must be called before the weights change. */
  readonly close: () => Promise<void>;
}

const CACHE = 'chat';

/** A chat with the model in the engine. What it compiles is kept until it is closed, or until it is sampled otherwise. */
export function openChat(engine: Engine, { loaded, tokenizer }: Player): Chat {
  let opened: { readonly key: string; readonly generator: CompletionGenerator } | undefined;
  async function close(): Promise<void> {
    await opened?.generator.dispose();
    opened = undefined;
  }
  async function generatorFor(sampling: Sampling): Promise<CompletionGenerator> {
    const key = JSON.stringify(sampling);
    if (opened?.key === key) return opened.generator;
    await close();
    const generator = await openGenerator(engine, loaded.model, { batchSize: 1, sampling, cache: CACHE });
    opened = { key, generator };
    return generator;
  }
  return {
    close,
    answer: async ({ messages, settings, sample, onText, signal }) => {
      const problem = rolesProblem(messages) ?? promptProblem(messages);
      if (problem !== undefined) {
        throw usageError({ what: problem, where: 'messages', fix: 'give [system,] user, assistant, user …' });
      }
      const promptIds = tokenizer.encodePrompt(messages);
      const { temperature, top_k: topK, top_p: topP, max_new_tokens: maxNewTokens, seed } = settings;
      const generator = await generatorFor({ temperature, topK, topP });
      const decoder = tokenizer.streamDecoder();
      let text = '';
      const show = (piece: string) => {
        if (piece === '') return;
        text += piece;
        onText(piece);
      };
      const [answer] = await generator.generate([{ id: JSON.stringify(messages), sample, promptIds }], {
        maxNewTokens,
        endIds: tokenizer.endIds,
        seed,
        iteration: 0,
        signal,
        onToken: (token) => show(decoder.push(token)),
      });
      show(decoder.end());
      return { text, ids: answer!.ids, finish: answer!.finish };
    },
  };
}
