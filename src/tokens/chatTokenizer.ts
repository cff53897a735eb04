// The tokenizer of a model directory with its chat template: examples -> prompt ids and response ids. Generation, training and
// evaluation all take their ids from here, so a prompt has the same ids everywhere.
//
// Rules. The chat template writes the control tokens, BOS included; the tokenizer adds none of its own. Response ids are what
// the template adds to the prompt when the answer is there, up to and with the first end id: exactly one, nothing after it. A
// template that ends answers with no control token gets `endId` appended in place of what it writes after the answer.
// A model without a chat template: contents joined by a newline, the answer directly after, then `endId`; a BOS that the
// tokenizer itself would add stands first; prompt and answer are encoded apart.
// Notable choice: what is wrong with one row is a thrown SelfplayError of kind "failure" with the reason in `what`; callers
// that skip rows catch it there and count. What is wrong with the files is a usage error from `loadTokenizer`.

import type { Example, Message } from '../data/index.ts';
import { failure, sha256Hex, usageError } from '../util/index.ts';
import { openCompanions } from './companions.ts';
import { controlTextCheck } from './control.ts';
import { buildEncoder, type Encoder } from './encoder.ts';
import { highestId, readSettings, type TokenizerSettings } from './settings.ts';
import { createStreamDecoder, type StreamDecoder } from './streamDecoder.ts';
import { compileTemplate, type RenderTemplate, readsClock, wallClock } from './template.ts';
import { readTokenizerJson } from './tokenizerJson.ts';

/** Token ids of one example; `responseIds` ends with the only end id in it. */
export interface EncodedPair {
  readonly promptIds: Int32Array;
  readonly responseIds: Int32Array;
}

/** A stretch of an example's text: the prompt, or what is trained on, which is the response and the end token after it. */
export interface MaskPiece {
  readonly text: string;
  readonly part: 'prompt' | 'response' | 'end';
}

/** A loaded tokenizer. All functions are synchronous and have no effects. */
export interface ChatTokenizer {
  /** Name of the model directory or file. */
  readonly name: string;
  /** SHA-256 (hex) of all that decides ids: tokenizer.json, chat template, control tokens; the time where the template writes it. */
  readonly hash: string;
  /** One more than the largest id; a model's own vocabulary may be larger (padded), never smaller. */
  readonly vocabSize: number;
  /** Ids that end an answer when sampled. */
  readonly endIds: ReadonlySet<number>;
  /** The end id that human answers get: the one the template puts after an answer, else the tokenizer's eos. */
  readonly endId: number;
  /** Ids of a text; control tokens written out in it are recognised, none is added. For text that is not user data. */
  encode(text: string): Int32Array;
  /** Text of ids without control tokens. Ids that have no token are left out. */
  decode(ids: ArrayLike<number>): string;
  /** The conversation as the template writes it; with `addGenerationPrompt` the assistant's turn is opened at the end. */
  render(messages: readonly Message[], addGenerationPrompt: boolean): string;
  /** Ids of a prompt with the assistant's turn opened. Throws for a row that must be skipped (see the top). */
  encodePrompt(prompt: readonly Message[]): Int32Array;
  /** Ids of prompt and answer. Throws for a row that must be skipped (see the top). */
  encodePair(example: Pick<Example, 'prompt' | 'response'>): EncodedPair;
  /** Ids as text, control tokens included, cut into prompt, response and, where it is there, the end token. */
  describeMask(ids: EncodedPair): MaskPiece[];
  /** A decoder for ids that arrive one by one. */
  streamDecoder(): StreamDecoder;
}

/** Longer texts in one row are refused: no context is that long, and encoding them takes minutes. */
const MAX_ROW_CHARACTERS = 1_000_000;
const ANSWER_MARK = 'selfplay answer mark';

/**
 * Loads the tokenizer of a Hugging Face model directory, or of a GGUF file; throws usage errors that name file and key.
 * @param time for templates that write the date, in the form of `wallClock`; default: now
 */
export async function loadTokenizer(model: string, time?: string): Promise<ChatTokenizer> {
  const companions = await openCompanions(model);
  const { definition, text } = await readTokenizerJson(companions);
  const settings = await readSettings(companions, definition);
  const encoder = buildEncoder(settings.definition, companions.where('tokenizer.json'));
  const template = settings.template;
  const clock = template !== undefined && readsClock(template.source) ? (time ?? wallClock()) : null;
  const deciding = [text, template?.source ?? null, settings.named, [...settings.endIds], clock];
  const format =
    template === undefined
      ? plainFormat(encoder, settings)
      : templateFormat(
          encoder,
          settings,
          compileTemplate(template.source, template.where, clock ?? time),
          template.where,
        );
  return assemble(companions.name, sha256Hex(JSON.stringify(deciding)), encoder, settings, format);
}

/** What decides the ids of a conversation, besides its texts. */
export interface TokenizerIdentity {
  /** SHA-256 (hex) of tokenizer.json with the control and end tokens that the files beside it name. */
  readonly tokenizer: string;
  /** SHA-256 (hex) of the chat template; null where there is none. */
  readonly chatTemplate: string | null;
  /** Whether the template writes the time, or what depends on it. */
  readonly readsClock: boolean;
}

/** Throws usage errors as `loadTokenizer`. */
export async function hashTokenizer(model: string): Promise<TokenizerIdentity> {
  const companions = await openCompanions(model);
  const { definition, text } = await readTokenizerJson(companions);
  const { named, endIds, template } = await readSettings(companions, definition);
  return {
    tokenizer: sha256Hex(JSON.stringify([text, named, [...endIds]])),
    chatTemplate: template === undefined ? null : sha256Hex(template.source),
    readsClock: template !== undefined && readsClock(template.source),
  };
}

/** How conversations become text and ids: by a chat template or by the plain rule. */
interface Format {
  readonly endId: number;
  render(messages: readonly Message[], addGenerationPrompt: boolean): string;
  promptIds(prompt: readonly Message[]): number[];
  /** Response ids, possibly with more after the first end id. `promptIds` are those of the same prompt. */
  responseIds(prompt: readonly Message[], response: string, promptIds: readonly number[]): number[];
}

function assemble(
  name: string,
  hash: string,
  encoder: Encoder,
  settings: TokenizerSettings,
  format: Format,
): ChatTokenizer {
  const { definition } = settings;
  const controls = new Set(definition.added.filter((token) => token.special).map((token) => token.id));
  const { endId } = format;
  const endIds = new Set([...settings.endIds, endId]);
  const refusal = controlTextCheck(definition.added);
  const check = (messages: readonly Message[]): void => {
    const length = messages.reduce((sum, { content }) => sum + content.length, 0);
    if (length > MAX_ROW_CHARACTERS) {
      throw refuseRow(`the row has ${length} characters; at most ${MAX_ROW_CHARACTERS}`);
    }
    const reason = refusal(messages, (list) => format.render(list, list.at(-1)?.role !== 'assistant'));
    if (reason !== undefined) throw refuseRow(reason);
  };
  const encodePair = ({ prompt, response }: Pick<Example, 'prompt' | 'response'>): EncodedPair => {
    check([...prompt, { role: 'assistant', content: response }]);
    const promptIds = format.promptIds(prompt);
    const rest = format.responseIds(prompt, response, promptIds);
    const end = rest.findIndex((id) => endIds.has(id));
    if (end < 0) throw refuseRow('the chat template puts no end token after this answer');
    if (end === 0) throw refuseRow('the answer has no tokens');
    return { promptIds: Int32Array.from(promptIds), responseIds: Int32Array.from(rest.slice(0, end + 1)) };
  };
  return {
    name,
    hash,
    vocabSize: highestId(definition) + 1,
    endIds,
    endId,
    encode: (text) => Int32Array.from(encoder.encode(text)),
    decode: (ids) => encoder.decode(ids, false),
    render: format.render,
    encodePrompt: (prompt) => {
      check(prompt);
      return Int32Array.from(format.promptIds(prompt));
    },
    encodePair,
    describeMask: ({ promptIds, responseIds }) => {
      const length = responseIds.length - (endIds.has(responseIds.at(-1)!) ? 1 : 0);
      const parts = [
        [promptIds, 'prompt'],
        [responseIds.subarray(0, length), 'response'],
        [responseIds.subarray(length), 'end'],
      ] as const;
      return parts.flatMap(([ids, part]) => (ids.length === 0 ? [] : [{ text: encoder.decode(ids, true), part }]));
    },
    streamDecoder: () => createStreamDecoder(encoder, (id) => controls.has(id)),
  };
}

function refuseRow(what: string): Error {
  return failure({ what, fix: 'the row cannot be used as it is: correct it or leave it out' });
}

function templateFormat(
  encoder: Encoder,
  settings: TokenizerSettings,
  renderTemplate: RenderTemplate,
  where: string,
): Format {
  const render = (messages: readonly Message[], addGenerationPrompt: boolean): string =>
    renderTemplate({
      ...settings.named,
      messages,
      add_generation_prompt: addGenerationPrompt,
      tools: null,
      documents: null,
    });
  const { endId, tail } = afterAnswer(encoder, settings, render, where);
  return {
    endId,
    render,
    promptIds: (prompt) => encoder.encode(render(prompt, true)),
    responseIds: (prompt, response, promptIds) => {
      const text = render([...prompt, { role: 'assistant', content: response }], false);
      const ids = encoder.encode(
        tail === undefined || !text.endsWith(tail) ? text : text.slice(0, text.length - tail.length),
      );
      if (promptIds.some((id, at) => ids[at] !== id)) {
        throw refuseRow('the ids of the prompt are not the beginning of the ids of prompt and answer');
      }
      const rest = ids.slice(promptIds.length);
      return tail === undefined ? rest : [...rest, endId];
    },
  };
}

/** Asks the template what follows an answer: a control token, or else a `tail` of plain text that the end id replaces. */
function afterAnswer(
  encoder: Encoder,
  settings: TokenizerSettings,
  render: Format['render'],
  where: string,
): { endId: number; tail: string | undefined } {
  const conversation: Message[] = [
    { role: 'user', content: 'question' },
    { role: 'assistant', content: ANSWER_MARK },
  ];
  const fix = 'check chat_template.jinja, or the chat_template in tokenizer_config.json';
  let text: string;
  try {
    render(conversation.slice(0, 1), true);
    text = render(conversation, false);
  } catch (error) {
    const what = `a user turn and its answer cannot be rendered: ${(error as Error).message.split('\n')[0]}`;
    throw usageError({ what, where, fix, cause: error });
  }
  const at = text.lastIndexOf(ANSWER_MARK);
  if (at < 0) throw usageError({ what: "the chat template leaves out the assistant's answer", where, fix });
  const tail = text.slice(at + ANSWER_MARK.length);
  const controls = new Set(settings.definition.added.filter((token) => token.special).map((token) => token.id));
  const endId = encoder.encode(tail).find((id) => controls.has(id));
  return endId === undefined ? { endId: settings.eosId as number, tail } : { endId, tail: undefined };
}

function plainFormat(encoder: Encoder, settings: TokenizerSettings): Format {
  const endId = settings.eosId as number;
  const endText = settings.definition.tokenOf.get(endId) as string;
  const join = (messages: readonly Message[]): string => messages.map(({ content }) => content).join('\n');
  return {
    endId,
    render: (messages) => {
      const last = messages.at(-1);
      return last?.role === 'assistant' ? `${join(messages.slice(0, -1))}${last.content}${endText}` : join(messages);
    },
    promptIds: (prompt) => [...encoder.prefix, ...encoder.encode(join(prompt))],
    responseIds: (_prompt, response) => [...encoder.encode(response), endId],
  };
}
