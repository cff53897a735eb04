// One row of a dataset file -> prompts with responses. Formats are recognised by their columns, or named by the user as columns
// or as texts with columns in braces.
//
// The rule for chats of several rounds (`turns`): "first" plays on the first round (a leading system message, the first user
// message, the assistant's answer to it), as the SPIN paper does; "last" on the last answer, with everything before it as the
// prompt; "each" on every answer, each with everything before it as its prompt. What is prompt is never trained on. Rounds that
// are not played on are counted, and the reader says how many.

/** One turn of a conversation. */
export interface Message {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

export const TURNS = ['first', 'last', 'each'] as const;
export type Turns = (typeof TURNS)[number];

/** Two columns named by the user: texts, or lists of messages; or texts with columns in braces: "{instruction}\n{input}". */
export interface Columns {
  prompt: string;
  response: string;
}

/** A prompt with its response. */
export interface Round {
  prompt: Message[];
  response: string;
}

/** What a row gives, and how many answers of it are not played on; or the reason why it cannot be used. */
export type ParsedRow = { rounds: Round[]; unused: number } | { reason: string };

type Fields = Readonly<Record<string, unknown>>;

/** How rows are read: a name for reports and the function that reads one. */
export interface RowFormat {
  readonly name: string;
  parse(row: Fields): ParsedRow;
}

const LONE_SURROGATE = /\p{Surrogate}/u;
const BRACES = /\{([^{}]+)\}/g;
const PAIRS: readonly Columns[] = [
  { prompt: 'prompt', response: 'completion' },
  { prompt: 'question', response: 'answer' },
];
/** Names of the one who speaks, as ShareGPT and its kin have them. */
const ROLES: Readonly<Record<string, Message['role']>> = {
  system: 'system',
  human: 'user',
  user: 'user',
  gpt: 'assistant',
  assistant: 'assistant',
  chatgpt: 'assistant',
  bot: 'assistant',
  model: 'assistant',
};
/** Columns with the right answer beside a wrong one: the right one is what plain SFT learns. */
const ANSWERS = ['real', 'chosen'] as const;
const WRONG = { real: 'generated', chosen: 'rejected' } as const;

/** The format of a row by its columns, or undefined if none fits. With `columns` only these count. */
export function recogniseFormat(row: Fields, columns?: Columns, turns: Turns = 'first'): RowFormat | undefined {
  if (columns !== undefined)
    return namedColumns(columns).every((name) => has(row, name)) ? pairFormat(columns) : undefined;
  if (has(row, 'messages')) {
    return { name: 'messages', parse: (one) => parseChat(one['messages'], 'messages', turns) };
  }
  const pair = PAIRS.find(({ prompt, response }) => has(row, prompt) && has(row, response));
  if (pair !== undefined) return pairFormat(pair);
  if (has(row, 'conversations')) return { name: 'conversations', parse: (one) => parseShareGpt(one, turns) };
  if (has(row, 'instruction') && has(row, 'output')) return { name: 'instruction/input/output', parse: parseAlpaca };
  const answer = ANSWERS.find((name) => has(row, name) && has(row, WRONG[name]));
  return answer && { name: `${answer}/${WRONG[answer]}`, parse: (one) => parseLabelled(one, answer) };
}

const has = (row: object, name: string): boolean => Object.hasOwn(row, name);
const column = (row: Fields, name: string): unknown => (has(row, name) ? row[name] : undefined);

/** Columns that a mapping names: those in braces, or the whole of it. */
function namedColumns({ prompt, response }: Columns): string[] {
  return [prompt, response].flatMap((text) => {
    const inside = [...text.matchAll(BRACES)].map(([, name]) => name!);
    return inside.length > 0 ? inside : [text];
  });
}

function pairFormat(columns: Columns): RowFormat {
  return {
    name: `${columns.prompt}/${columns.response}`,
    parse: (row) => {
      const prompt = promptOf(mappedValue(row, columns.prompt), columns.prompt);
      if ('reason' in prompt) return prompt;
      const response = responseOf(mappedValue(row, columns.response), columns.response);
      return 'reason' in response ? response : oneRound(prompt.prompt, response.response);
    },
  };
}

const oneRound = (prompt: Message[], response: string): ParsedRow => ({ rounds: [{ prompt, response }], unused: 0 });

/** A column, or a text with columns in braces; undefined when one of these has no text. */
function mappedValue(row: Fields, mapping: string): unknown {
  const names = [...mapping.matchAll(BRACES)].map(([, name]) => name!);
  if (names.length === 0) return column(row, mapping);
  if (names.some((name) => !['string', 'number', 'boolean'].includes(typeof column(row, name)))) return undefined;
  return mapping.replace(BRACES, (_, name: string) => String(row[name]));
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

/** {"instruction", "input"?, "output"} of Alpaca: an input that is there stands below the instruction, after a blank line. */
function parseAlpaca(row: Fields): ParsedRow {
  const { instruction, input } = { instruction: column(row, 'instruction'), input: column(row, 'input') };
  if (typeof instruction !== 'string') return { reason: '"instruction" is not a text' };
  if (input !== undefined && input !== null && typeof input !== 'string') return { reason: '"input" is not a text' };
  const text = input == null || input.trim() === '' ? instruction : `${instruction}\n\n${input}`;
  const system = column(row, 'system');
  const before: Message[] = typeof system === 'string' && system !== '' ? [{ role: 'system', content: system }] : [];
  const prompt = checkPrompt([...before, { role: 'user', content: text }]);
  if ('reason' in prompt) return prompt;
  const response = responseOf(column(row, 'output'), 'output');
  return 'reason' in response ? response : oneRound(prompt.prompt, response.response);
}

/** {"conversations": [{"from", "value"}]} of ShareGPT; a system prompt may stand in a column of its own. */
function parseShareGpt(row: Fields, turns: Turns): ParsedRow {
  const list = row['conversations'];
  if (!Array.isArray(list)) return { reason: '"conversations" is not a list' };
  const messages = list.map((entry: unknown): unknown => {
    const { from, value, role, content } = (entry ?? {}) as Fields;
    const speaker = from ?? role;
    const known = typeof speaker === 'string' ? ROLES[speaker.toLowerCase()] : undefined;
    return { role: known ?? speaker, content: value ?? content };
  });
  const system = column(row, 'system');
  const hasOwn = (messages[0] as { role?: unknown } | undefined)?.role === 'system';
  const before = typeof system === 'string' && system !== '' && !hasOwn ? [{ role: 'system', content: system }] : [];
  return parseChat([...before, ...messages], 'conversations', turns);
}

/** {"real", "generated"} of SPIN and {"chosen", "rejected"}: two chats, or answers beside a prompt. The first one is used. */
function parseLabelled(row: Fields, answer: (typeof ANSWERS)[number]): ParsedRow {
  const value = row[answer];
  if (has(row, 'prompt') && (typeof value === 'string' || (Array.isArray(value) && value.length === 1))) {
    return pairFormat({ prompt: 'prompt', response: answer }).parse(row);
  }
  return parseChat(value, answer, 'last');
}

function parseChat(value: unknown, name: string, turns: Turns): ParsedRow {
  if (!Array.isArray(value)) return { reason: `"${name}" is not a list` };
  const system = (value[0] as { role?: unknown } | null | undefined)?.role === 'system' ? 1 : 0;
  // Later rounds that are not played on are not checked either.
  const read = readMessages(turns === 'first' ? value.slice(0, system + 2) : value);
  if ('reason' in read) return read;
  const { list } = read;
  const answers = list.flatMap(({ role }, i) => (role === 'assistant' ? [i] : []));
  if (turns === 'first') {
    const prompt = checkPrompt(list.slice(0, system + 1));
    if ('reason' in prompt) return prompt;
    const answer = list[system + 1];
    if (answer === undefined) return { reason: 'the chat has no answer' };
    if (answer.role !== 'assistant')
      return { reason: `the first user message is followed by a ${answer.role} message` };
    const response = checkResponse(answer.content);
    if ('reason' in response) return response;
    const later = value.slice(system + 2).filter((one) => (one as { role?: unknown } | null)?.role === 'assistant');
    return { rounds: [{ ...prompt, ...response }], unused: later.length };
  }
  if (answers.length === 0) return { reason: 'the chat has no answer' };
  const played = turns === 'each' ? answers : answers.slice(-1);
  const rounds: Round[] = [];
  for (const at of played) {
    const prompt = checkPrompt(list.slice(0, at));
    if ('reason' in prompt) return prompt;
    const response = checkResponse(list[at]!.content);
    if ('reason' in response) return response;
    rounds.push({ ...prompt, ...response });
  }
  return { rounds, unused: answers.length - played.length };
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
