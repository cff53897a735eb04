/**
 * A conversation that is typed line by line, as data: what a line means, what has been said so far, and how much of that fits
 * into the context of the model.
 */
import type { Message } from '../../data/index.ts';

/** What was typed: something to answer, or a command. */
export type Input =
  | { readonly kind: 'question'; readonly text: string }
  | { readonly kind: CommandName; readonly argument: string }
  | { readonly kind: 'unknown'; readonly command: string };

const COMMANDS = [
  ['iteration', '[N]', 'the models of the run; with a number, `best` or a name: switch, and ask the same again'],
  ['again', '', 'ask the same again'],
  ['reset', '', 'forget the conversation'],
  ['system', '[TEXT]', 'the system message; with a text: set it; `off`: none'],
  ['temperature', '[X]', 'the temperature; with a number: set it; 0 takes the most probable token'],
  ['help', '', 'this list'],
  ['exit', '', 'leave; so does the end of the input (Ctrl-D)'],
] as const;
export type CommandName = (typeof COMMANDS)[number][0];

const QUOTES = '"""';

/** What `/help` prints. */
export const CHAT_HELP = [
  ...COMMANDS.map(([name, argument, does]) => [`/${name} ${argument}`.trim(), does] as const),
  [QUOTES, `begins a text of several lines, which ends with ${QUOTES}`] as const,
  ['Ctrl-C', 'stops an answer; a second one leaves'] as const,
]
  .map(([what, does]) => `  ${what.padEnd(17)} ${does}`)
  .join('\n');

/** Lines of a text that has been begun with `"""` and is not closed; null where none is open. */
export type Unfinished = readonly string[] | null;

/** Takes a line. `input` is what it completes, if anything: blank lines between questions are nothing. */
export function readLine(unfinished: Unfinished, line: string): { unfinished: Unfinished; input?: Input } {
  const begins = unfinished === null && line.trimStart().startsWith(QUOTES);
  if (unfinished === null && !begins) return line.trim() === '' ? { unfinished } : { unfinished, input: meaning(line) };
  const text = begins ? line.trimStart().slice(QUOTES.length) : line;
  const lines = [...(unfinished ?? []), text];
  if (!text.trimEnd().endsWith(QUOTES)) return { unfinished: lines };
  return { unfinished: null, ...endOfText([...lines.slice(0, -1), text.trimEnd().slice(0, -QUOTES.length)]) };
}

/** What an unfinished text is when no more lines come. */
export function endOfText(lines: readonly string[]): { input?: Input } {
  const text = lines.join('\n').replace(/^\n+|\n+$/g, '');
  return text.trim() === '' ? {} : { input: { kind: 'question', text } };
}

/** A line as a question or a command; `//` begins a question that begins with a slash. */
function meaning(line: string): Input {
  const text = line.trim();
  if (text.startsWith('//')) return { kind: 'question', text: text.slice(1) };
  if (!text.startsWith('/')) return { kind: 'question', text };
  const [, word = '', argument = ''] = /^\/(\S*)\s*(.*)$/s.exec(text)!;
  const command = COMMANDS.find(([name]) => name === word.toLowerCase());
  return command ? { kind: command[0], argument } : { kind: 'unknown', command: `/${word}` };
}

interface Turn {
  readonly question: string;
  readonly answer: string;
}

export interface Conversation {
  readonly system: string | undefined;
  readonly turns: readonly Turn[];
  /** The last question, which of its sampled answers was asked for, and that answer, which is then the last of the turns. */
  readonly asked?: { readonly question: string; readonly sample: number; readonly answer?: string };
}

/** The conversation with a new question at its end. */
export function ask({ system, turns }: Conversation, question: string): Conversation {
  return { system, turns, asked: { question, sample: 0 } };
}

/** The conversation with its last question asked again, for another sample or the same one; undefined without a question. */
export function askAgain({ system, turns, asked }: Conversation, isAnother: boolean): Conversation | undefined {
  if (!asked) return undefined;
  const { question, sample, answer } = asked;
  return {
    system,
    turns: isKept(answer) ? turns.slice(0, -1) : turns,
    asked: { question, sample: sample + (isAnother ? 1 : 0) },
  };
}

/** The conversation when its question has its answer. An empty answer is none that a model could go on from. */
export function answered({ system, turns, asked }: Conversation, answer: string): Conversation {
  const { question, sample } = asked!;
  return {
    system,
    turns: isKept(answer) ? [...turns, { question, answer }] : turns,
    asked: { question, sample, answer },
  };
}

const isKept = (answer: string | undefined): answer is string => answer !== undefined && answer.trim() !== '';

/** What the model is to answer: everything that was said, and the question that waits. */
export function messagesOf({ system, turns, asked }: Conversation): Message[] {
  return [
    ...(system === undefined ? [] : [{ role: 'system' as const, content: system }]),
    ...turns.flatMap(({ question, answer }): Message[] => [
      { role: 'user', content: question },
      { role: 'assistant', content: answer },
    ]),
    { role: 'user', content: asked!.question },
  ];
}

/**
 * The conversation without its oldest turns, as many as must go so that the prompt leaves room for an answer: for
 * min(max_new_tokens, ⌊context / 4⌋) tokens. Undefined where the question alone fills the context.
 * @param lengthOf tokens of messages as a prompt
 */
export function fitted(
  conversation: Conversation,
  lengthOf: (messages: readonly Message[]) => number,
  { context, maxNewTokens }: { readonly context: number; readonly maxNewTokens: number },
): { readonly conversation: Conversation; readonly dropped: number } | undefined {
  const withTurns = (turns: Conversation['turns']): Conversation => ({ ...conversation, turns });
  if (lengthOf(messagesOf(withTurns([]))) >= context) return undefined;
  const room = Math.min(maxNewTokens, Math.floor(context / 4));
  let { turns } = conversation;
  while (turns.length > 0 && lengthOf(messagesOf(withTurns(turns))) + room > context) turns = turns.slice(1);
  return { conversation: withTurns(turns), dropped: conversation.turns.length - turns.length };
}
