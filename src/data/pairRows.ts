// One row of a file of pairs as texts: {"real", "generated"}, two chats with the same prompt (as the SPIN repository
// releases them), or {"prompt", "real", "generated"}. What has another form is an error; texts that cannot be used are
// found apart, because among many rows there are always a few.

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

/** The texts of a row, or what is wrong with its form. */
export function parsePairRow(row: Readonly<Record<string, unknown>>): PairRow | Malformed {
  return Object.hasOwn(row, 'prompt') ? parseTexts(row) : parseChats(row);
}

/** Why texts of the right form cannot be used, if so: empty, or not valid Unicode. */
export function textProblem({ prompt, real, generated }: PairRow): string | undefined {
  return promptProblem(prompt) ?? responseProblem(real) ?? responseProblem(generated);
}

function parseTexts({ prompt, real, generated }: Readonly<Record<string, unknown>>): PairRow | Malformed {
  const messages = typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt;
  const read = Array.isArray(messages) ? readMessages(messages) : { reason: 'neither a text nor a list of messages' };
  if ('reason' in read) return { key: 'prompt', reason: read.reason };
  const reason = rolesProblem(read.list);
  if (reason !== undefined) return { key: 'prompt', reason };
  if (typeof real !== 'string') return { key: 'real', reason: 'beside a prompt the answer must be a text' };
  if (typeof generated !== 'string') return { key: 'generated', reason: 'beside a prompt the answer must be a text' };
  return { prompt: read.list, real, generated };
}

function parseChats(row: Readonly<Record<string, unknown>>): PairRow | Malformed {
  const real = parseChat(row['real']);
  if ('reason' in real) return { key: 'real', ...real };
  const generated = parseChat(row['generated']);
  if ('reason' in generated) return { key: 'generated', ...generated };
  if (canonicalJson(real.prompt) !== canonicalJson(generated.prompt)) {
    return { key: 'generated', reason: 'the prompt is not that of "real"' };
  }
  return { prompt: real.prompt, real: real.answer, generated: generated.answer };
}

function parseChat(value: unknown): { prompt: Message[]; answer: string } | { reason: string } {
  if (value === undefined) return { reason: 'the row has no such key' };
  if (!Array.isArray(value)) return { reason: 'not a list of messages' };
  const read = readMessages(value);
  if ('reason' in read) return read;
  const last = read.list.at(-1);
  if (last?.role !== 'assistant') return { reason: 'the last message is not by the assistant: there is no answer' };
  const prompt = read.list.slice(0, -1);
  const reason = rolesProblem(prompt);
  return reason === undefined ? { prompt, answer: last.content } : { reason };
}
