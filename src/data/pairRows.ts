// One row of a file of pairs: {"real", "generated"}, two chats with the same prompt (as the SPIN repository releases them),
// or {"prompt", "real", "generated"}; of labelled pairs the same under the names "chosen" and "rejected". What has another
// form is an error; texts that cannot be used are found apart, because among many rows there are always a few.

import { canonicalJson } from '../util/index.ts';
import { type Message, promptProblem, readMessages, responseProblem, rolesProblem } from './rows.ts';

/** A human answer and a model's answer to one prompt. */
export interface PairRow {
  readonly prompt: Message[];
  readonly real: string;
  readonly generated: string;
}

/** What is wrong with the form of a row, and under which key. */
interface Malformed {
  readonly key: string;
  readonly reason: string;
}

/** The keys under which a row has the two answers. */
export interface AnswerKeys {
  readonly real: string;
  readonly generated: string;
}

const REAL_GENERATED: AnswerKeys = { real: 'real', generated: 'generated' };

/** The texts of a row, or what is wrong with its form. */
export function parsePairRow(row: Readonly<Record<string, unknown>>, keys = REAL_GENERATED): PairRow | Malformed {
  return Object.hasOwn(row, 'prompt') ? parseTexts(row, keys) : parseChats(row, keys);
}

/** Why texts of the right form cannot be used, if so: empty, or not valid Unicode. */
export function textProblem({ prompt, real, generated }: PairRow): string | undefined {
  return promptProblem(prompt) ?? responseProblem(real) ?? responseProblem(generated);
}

function parseTexts(row: Readonly<Record<string, unknown>>, keys: AnswerKeys): PairRow | Malformed {
  const { prompt } = row;
  const messages = typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt;
  const read = Array.isArray(messages) ? readMessages(messages) : { reason: 'neither a text nor a list of messages' };
  if ('reason' in read) return { key: 'prompt', reason: read.reason };
  const reason = rolesProblem(read.list);
  if (reason !== undefined) return { key: 'prompt', reason };
  const real = answerTo(read.list, row[keys.real]);
  if ('reason' in real) return { key: keys.real, ...real };
  const generated = answerTo(read.list, row[keys.generated]);
  if ('reason' in generated) return { key: keys.generated, ...generated };
  return { prompt: read.list, real: real.answer, generated: generated.answer };
}

/** An answer beside its prompt: a text, the message of the assistant, or the chat of both. */
function answerTo(prompt: readonly Message[], value: unknown): { answer: string } | { reason: string } {
  if (typeof value === 'string') return { answer: value };
  if (value !== undefined && !Array.isArray(value)) return { reason: 'the answer must be a text or messages' };
  const chat = readChat(value);
  if ('reason' in chat) return chat;
  const isPrompt = chat.before.length === 0 || canonicalJson(chat.before) === canonicalJson(prompt);
  return isPrompt ? { answer: chat.answer } : { reason: 'the prompt is not that of "prompt"' };
}

function parseChats(row: Readonly<Record<string, unknown>>, keys: AnswerKeys): PairRow | Malformed {
  const real = parseChat(row[keys.real]);
  if ('reason' in real) return { key: keys.real, ...real };
  const generated = parseChat(row[keys.generated]);
  if ('reason' in generated) return { key: keys.generated, ...generated };
  if (canonicalJson(real.prompt) !== canonicalJson(generated.prompt)) {
    return { key: keys.generated, reason: `the prompt is not that of "${keys.real}"` };
  }
  return { prompt: real.prompt, real: real.answer, generated: generated.answer };
}

function parseChat(value: unknown): { prompt: Message[]; answer: string } | { reason: string } {
  const chat = readChat(value);
  if ('reason' in chat) return chat;
  const reason = rolesProblem(chat.before);
  return reason === undefined ? { prompt: chat.before, answer: chat.answer } : { reason };
}

/** Messages of which the last is the assistant's, and what comes before it. */
function readChat(value: unknown): { before: Message[]; answer: string } | { reason: string } {
  if (value === undefined) return { reason: 'the row has no such key' };
  if (!Array.isArray(value)) return { reason: 'not a list of messages' };
  const read = readMessages(value);
  if ('reason' in read) return read;
  const last = read.list.at(-1);
  if (last?.role !== 'assistant') return { reason: 'the last message is not by the assistant: there is no answer' };
  return { before: read.list.slice(0, -1), answer: last.content };
}
