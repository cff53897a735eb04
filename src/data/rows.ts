// One row of a dataset file -> prompt messages and response. Formats are recognised by their columns:
// {"messages"}, {"prompt","completion"}, {"question","answer"}, or two columns that the user names.
// Notable choice: of a chat only the first round is used, as in the SPIN paper: a leading system message, the first user
// message and the assistant's answer to it. Later rounds are neither used nor checked.

/** One turn of a conversation. */
export interface Message {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

/** Two columns named by the user: texts, or lists of messages. */
export interface Columns {
  prompt: string;
  response: string;
}

/** A usable row, or the reason why it is not. */
export type ParsedRow = { prompt: Message[]; response: string } | { reason: string };

/** How rows are read: a name for reports and the function that reads one. */
export interface RowFormat {
  readonly name: string;
  parse(row: Readonly<Record<string, unknown>>): ParsedRow;
}

const LONE_SURROGATE = /\p{Surrogate}/u;
const PAIRS: readonly Columns[] = [
  { prompt: 'prompt', response: 'completion' },
  { prompt: 'question', response: 'answer' },
];

/** The format of a row by its columns, or undefined if none fits. With `columns` only these count. */
export function recogniseFormat(row: Readonly<Record<string, unknown>>, columns?: Columns): RowFormat | undefined {
  if (columns !== undefined) return hasColumns(row, columns) ? pairFormat(columns) : undefined;
  if (Object.hasOwn(row, 'messages')) return { name: 'messages', parse: (one) => parseChat(one['messages']) };
  const pair = PAIRS.find((names) => hasColumns(row, names));
  return pair && pairFormat(pair);
}

function hasColumns(row: object, { prompt, response }: Columns): boolean {
  return Object.hasOwn(row, prompt) && Object.hasOwn(row, response);
}

function pairFormat(columns: Columns): RowFormat {
  return {
    name: `${columns.prompt}/${columns.response}`,
    parse: (row) => {
      const prompt = promptOf(column(row, columns.prompt), columns.prompt);
      if ('reason' in prompt) return prompt;
      const response = responseOf(column(row, columns.response), columns.response);
      return 'reason' in response ? response : { ...prompt, ...response };
    },
  };
}

function column(row: Readonly<Record<string, unknown>>, name: string): unknown {
  return Object.hasOwn(row, name) ? row[name] : undefined;
}

function promptOf(value: unknown, name: string): { prompt: Message[] } | { reason: string } {
  if (value === undefined || value === null) return { reason: `no "${name}"` };
  if (typeof value === 'string') return checkPrompt([{ role: 'user', content: value }]);
  if (!Array.isArray(value)) return { reason: `"${name}" is neither a text nor a list of messages` };
  const messages = readMessages(value);
  return 'reason' in messages ? messages : checkPrompt(messages.list);
}

function responseOf(value: unknown, name: string): { response: string } | { reason: string } {
  if (value === undefined || value === null) return { reason: `no "${name}": the row has no answer` };
  if (typeof value === 'string') return checkResponse(value);
  if (!Array.isArray(value)) return { reason: `"${name}" is neither a text nor a list of messages` };
  const messages = readMessages(value);
  if ('reason' in messages) return messages;
  const [only, more] = messages.list;
  if (only?.role !== 'assistant' || more !== undefined) return { reason: `"${name}" is not one assistant message` };
  return checkResponse(only.content);
}

function parseChat(value: unknown): ParsedRow {
  if (!Array.isArray(value)) return { reason: '"messages" is not a list' };
  const system = (value[0] as { role?: unknown } | null | undefined)?.role === 'system' ? 1 : 0;
  const round = readMessages(value.slice(0, system + 2));
  if ('reason' in round) return round;
  const prompt = checkPrompt(round.list.slice(0, system + 1));
  if ('reason' in prompt) return prompt;
  const answer = round.list[system + 1];
  if (answer === undefined) return { reason: 'the chat has no answer' };
  if (answer.role !== 'assistant') return { reason: `the first user message is followed by a ${answer.role} message` };
  const response = checkResponse(answer.content);
  return 'reason' in response ? response : { ...prompt, ...response };
}

/** The messages of a list, or why it is none. */
export function readMessages(list: readonly unknown[]): { list: Message[] } | { reason: string } {
  const messages: Message[] = [];
  for (const entry of list) {
    const { role, content } = (entry ?? {}) as { role?: unknown; content?: unknown };
    if (role !== 'system' && role !== 'user' && role !== 'assistant') {
      return {
        reason: `a message has the role ${JSON.stringify(role) ?? 'undefined'} (known: system, user, assistant)`,
      };
    }
    if (typeof content !== 'string') return { reason: `the content of a ${role} message is not a text` };
    messages.push({ role, content });
  }
  return { list: messages };
}

function checkPrompt(messages: Message[]): { prompt: Message[] } | { reason: string } {
  const reason = rolesProblem(messages) ?? promptProblem(messages);
  return reason === undefined ? { prompt: messages } : { reason };
}

function checkResponse(response: string): { response: string } | { reason: string } {
  const reason = responseProblem(response);
  return reason === undefined ? { response } : { reason };
}

/** What is wrong with the roles of a prompt, if anything: [system], then user and assistant in turns, the user last. */
export function rolesProblem(messages: readonly Message[]): string | undefined {
  const turns = messages[0]?.role === 'system' ? messages.slice(1) : messages;
  if (turns.some(({ role }, index) => role !== (index % 2 === 0 ? 'user' : 'assistant'))) {
    return `roles do not alternate: ${messages.map(({ role }) => role).join(', ')}`;
  }
  return turns.at(-1)?.role === 'user' ? undefined : 'the prompt does not end with a user message';
}

/** What is wrong with the texts of a prompt, if anything. */
export function promptProblem(messages: readonly Message[]): string | undefined {
  const turns = messages.filter(({ role }) => role !== 'system');
  if (turns.some(({ content }) => content.trim() === '')) return 'the prompt is empty';
  return messages.some(({ content }) => LONE_SURROGATE.test(content)) ? 'the prompt is not valid Unicode' : undefined;
}

/** What is wrong with the text of an answer, if anything. */
export function responseProblem(response: string): string | undefined {
  if (response.trim() === '') return 'the answer is empty';
  return LONE_SURROGATE.test(response) ? 'the answer is not valid Unicode' : undefined;
}
