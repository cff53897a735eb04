// A chat template as pieces of text around the messages, found out by what it writes: it is rendered on conversations whose messages are
// marks, and what stands between the marks are the pieces. Whether that is all there is to the template is then tried on other
// conversations. Templates that do more (cut messages, look into them, number them) are refused, never approximated.

import type { Message } from '../data/index.ts';

/** Text before and after what a message says. */
export interface Around {
  readonly before: string;
  readonly after: string;
}

export interface ChatTurns {
  /** Before the first turn where there is no system message: BOS, or a default system message. */
  readonly head: string;
  /**
   * Of a system message. `turn`: stands first, in place of `head`. `first`, `last`: inside the first or last turn of the user, in place
   * of `user.before`. Null: the template takes none.
   */
  readonly system: (Around & { readonly place: 'turn' | 'first' | 'last' }) | null;
  readonly user: Around;
  readonly assistant: Around;
  /** After a last turn of the user: the answer comes next. */
  readonly opening: string;
}

/** As `ChatTokenizer.render`. */
export type Render = (messages: readonly Message[], addGenerationPrompt: boolean) => string;

/** A conversation as its pieces write it, ready for an answer: the rule that templates made from the pieces follow. */
export function renderTurns(
  { head, system, user, assistant, opening }: ChatTurns,
  messages: readonly Message[],
): string {
  const said = messages.filter(({ role }) => role === 'system').map(({ content }) => content);
  const turns = messages.filter(({ role }) => role !== 'system');
  const aside = system !== null && said.length > 0 ? `${system.before}${said.join('\n\n')}${system.after}` : undefined;
  const inTurn = (i: number) =>
    (system?.place === 'first' && turns.findIndex(({ role }) => role === 'user') === i) ||
    (system?.place === 'last' && i === turns.length - 1);
  const texts = turns.map(({ role, content }, i) => {
    const isLast = i === turns.length - 1;
    if (role === 'assistant') return `${assistant.before}${content}${isLast ? '' : assistant.after}`;
    return `${inTurn(i) && aside !== undefined ? aside : user.before}${content}${user.after}${isLast ? opening : ''}`;
  });
  return `${system?.place === 'turn' && aside !== undefined ? aside : head}${texts.join('')}`;
}

const MARKS = {
  system: 'selfplaysystemmark',
  first: 'selfplayfirstmark',
  answer: 'selfplayanswermark',
  last: 'selfplaylastmark',
};
const SYSTEM: Message = { role: 'system', content: MARKS.system };
const FIRST: Message = { role: 'user', content: MARKS.first };
const ANSWER: Message = { role: 'assistant', content: MARKS.answer };
const LAST: Message = { role: 'user', content: MARKS.last };

/**
 * The pieces of a template, or why it has none.
 * @param controls texts of control tokens: pieces do not end inside one
 */
export function turnsOf(render: Render, controls: readonly string[]): ChatTurns | { readonly problem: string } {
  try {
    const turns = pieces(render, controls);
    const found = withSystem(turns, render);
    const odd = CONVERSATIONS.find(
      (messages) =>
        (found.system !== null || messages[0]!.role !== 'system') &&
        renderTurns(found, messages) !== render(messages, true),
    );
    if (odd === undefined) return found;
    const system = odd[0]!.role === 'system' ? ' after a system message' : '';
    return {
      problem: `of a conversation of ${rounds(odd)} question(s)${system} it does more than put text around the messages`,
    };
  } catch (error) {
    return { problem: (error as Error).message.split('\n')[0]! };
  }
}

const rounds = (messages: readonly Message[]) => messages.filter(({ role }) => role === 'user').length;

/** The pieces apart from those of a system message. */
function pieces(render: Render, controls: readonly string[]): ChatTurns {
  const [start, between, back, end] = cut(render([FIRST, ANSWER, LAST], true), [MARKS.first, MARKS.answer, MARKS.last]);
  // What ends a turn is seen where nothing follows; some templates put an end of text there, which no turn has in the middle.
  const afterUser = shared(tail(render, [FIRST]), [between!, end!], controls);
  const afterAnswer = shared(tail(render, [FIRST, ANSWER]), [back!], controls);
  const user = { before: back!.slice(afterAnswer.length), after: afterUser };
  if (!start!.endsWith(user.before)) throw new Error('its first question begins otherwise than the later ones');
  return {
    head: start!.slice(0, start!.length - user.before.length),
    system: null,
    user,
    assistant: { before: between!.slice(afterUser.length), after: afterAnswer },
    opening: end!.slice(afterUser.length),
  };
}

/** Adds what the template does with a system message: nothing where it refuses one, or leaves it out. */
function withSystem(turns: ChatTurns, render: Render): ChatTurns {
  let [one, two]: (string | undefined)[] = [];
  try {
    one = render([SYSTEM, FIRST], true);
    two = render([SYSTEM, FIRST, ANSWER, LAST], true);
  } catch {
    return turns;
  }
  if (!one.includes(MARKS.system)) return turns;
  const [before, after] = cut(one, [MARKS.system, MARKS.first]) as [string, string];
  const { head, user } = turns;
  const isLate = two.indexOf(MARKS.system) > two.indexOf(MARKS.first);
  if (!isLate && after.endsWith(user.before)) {
    const end = after.slice(0, after.length - user.before.length);
    return { ...turns, system: { place: 'turn', before, after: end } };
  }
  if (!before.startsWith(head)) throw new Error('a system message changes what stands before the first question');
  return { ...turns, system: { place: isLate ? 'last' : 'first', before: before.slice(head.length), after } };
}

/** What stands before, between and after the marks, of which each must be there once and in this order. */
function cut(text: string, marks: readonly string[]): string[] {
  const found: string[] = [];
  let at = 0;
  for (const mark of marks) {
    const next = text.indexOf(mark, at);
    if (next < 0 || text.indexOf(mark) !== text.lastIndexOf(mark)) {
      throw new Error('it does not write every message once, in their order');
    }
    found.push(text.slice(at, next));
    at = next + mark.length;
  }
  return [...found, text.slice(at)];
}

/** What is written after the last message when no answer is to come; nothing where that is refused. */
function tail(render: Render, messages: readonly Message[]): string {
  try {
    const text = render(messages, false);
    const mark = messages.at(-1)!.content;
    return text.slice(text.lastIndexOf(mark) + mark.length);
  } catch {
    return '';
  }
}

/** The longest beginning of `candidate` with which all texts begin, and which ends inside no control token of theirs. */
function shared(candidate: string, texts: readonly string[], controls: readonly string[]): string {
  if (texts.every((text) => text.startsWith(candidate))) return candidate;
  let length = 0;
  while (length < candidate.length && texts.every((text) => text[length] === candidate[length])) length++;
  const isInside = (at: number) =>
    texts.some((text) =>
      controls.some((token) => {
        const from = text.lastIndexOf(token, at);
        return from >= 0 && from < at && at < from + token.length;
      }),
    );
  while (length > 0 && isInside(length)) length--;
  return candidate.slice(0, length);
}

const QUESTIONS = ['What is 2 + 2?', 'Two lines:\nthe second, with "quotes" and {{ braces }}.', 'Ünïcode: 東京 😀 <b>'];
const ANSWERS = ['4.', 'Yes: `{% x %}`,\n\n- and no.'];

/** One to three questions, with and without a system message. No text begins or ends with white space, which templates may trim. */
const CONVERSATIONS: readonly (readonly Message[])[] = [1, 2, 3].flatMap((count) => {
  const turns = QUESTIONS.slice(0, count).flatMap((content, i): Message[] => [
    ...(i === 0 ? [] : [{ role: 'assistant', content: ANSWERS[i - 1]! } as const]),
    { role: 'user', content },
  ]);
  return [turns, [{ role: 'system', content: 'You are brief.\nYou add "numbers".' }, ...turns]];
});
