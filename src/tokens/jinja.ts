// A chat template as a program of the Jinja library, changed where the library would quietly render something else than Jinja2 does in
// Python:
// - strip, lstrip and rstrip do not read which characters to take off, and they and the filter trim take JavaScript's white space;
// - == and != compare as JavaScript's do: '' equals false, '1' equals 1, and no list equals another;
// - selectattr and rejectattr find nothing by the test "undefined";
// - what a loop's body sets is still set in the next turn, where Python begins with what was set before the loop.

import { parse, tokenize } from '@huggingface/jinja';

/** A node of a parsed template: its type, and its parts by name. */
type Node = { type: string } & Record<string, unknown>;

const identifier = (value: string): Node => ({ type: 'Identifier', value });
const call = (name: string, ...args: unknown[]): Node => ({ type: 'CallExpression', callee: identifier(name), args });
const set = (name: string, value: Node): Node => ({ type: 'Set', assignee: identifier(name), value, body: [] });

const STRIPS = ['strip', 'lstrip', 'rstrip'] as const;
/** No template can write these names. */
const method = (name: string) => `str.${name}`;
const EQUAL = '==';
/** In a list, the two values reach the function as the library has them. */
const equality = (left: unknown, right: unknown) => call(EQUAL, { type: 'ArrayLiteral', value: [left, right] });

/** The functions that a program calls after `asPython`, by name. */
export const PYTHON_FUNCTIONS: Readonly<Record<string, unknown>> = {
  ...Object.fromEntries(
    STRIPS.map((name) => [
      method(name),
      (text: unknown, characters?: unknown) => strip(text, characters, name !== 'rstrip', name !== 'lstrip'),
    ]),
  ),
  [EQUAL]: equal,
};

/** The program of a template as transformers reads it (trim_blocks, lstrip_blocks). Throws an Error where it is not valid Jinja. */
export function parseTemplate(source: string): unknown {
  return parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
}

/** The program with the changes named at the top, made in place. */
export function asPython(program: unknown): unknown {
  return rewriter()(program);
}

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';

/** A function that changes a part of a program, and what is in it, in place where it can, and gives what stands there now. */
function rewriter(): (part: unknown) => unknown {
  let loops = 0;
  const rewrite = (part: unknown): unknown => {
    if (Array.isArray(part)) return part.flatMap((each: unknown) => [...before(each), rewrite(each)]);
    if (part instanceof Map) return new Map([...part].map(([key, value]) => [rewrite(key), rewrite(value)]));
    if (!isNode(part)) return part;
    for (const [name, value] of Object.entries(part)) part[name] = rewrite(value);
    return replacement(part);
  };
  /** Keeps in variables what a loop's body sets, gives it back at the begin of every turn, and gives the statements that keep it. */
  const before = (statement: unknown): Node[] => {
    if (!isNode(statement) || statement.type !== 'For') return [];
    const own = namesIn(statement['loopvar']);
    const names = [...new Set(namesSet(statement['body']))].filter((name) => !own.includes(name));
    const loop = ++loops;
    const kept = (name: string) => `${name} before loop ${loop}`;
    statement['body'] = [...names.map((name) => set(name, identifier(kept(name)))), ...(statement['body'] as Node[])];
    return names.map((name) => set(kept(name), identifier(name)));
  };
  return rewrite;
}

/** Names of the variables that statements set, those in inner loops and macros left out: they have scopes of their own. */
function namesSet(statements: unknown): string[] {
  return (statements as Node[]).flatMap((statement) => {
    if (statement.type === 'Set') return namesIn(statement['assignee']);
    return statement.type === 'If' ? [...namesSet(statement['body']), ...namesSet(statement['alternate'])] : [];
  });
}

/** Names in what a loop or a statement assigns to: one, or a tuple of them. */
function namesIn(target: unknown): string[] {
  const { type, value } = target as Node;
  if (type === 'TupleLiteral') return (value as unknown[]).flatMap(namesIn);
  return type === 'Identifier' ? [value as string] : [];
}

function replacement(node: Node): Node {
  const { callee, args, filter, operand, operator, left, right } = node as Record<string, Node>;
  if (node.type === 'CallExpression' && callee!.type === 'MemberExpression' && callee!['computed'] !== true) {
    const name = STRIPS.find((each) => (callee!['property'] as Node)['value'] === each);
    return name === undefined ? node : call(method(name), callee!['object'], ...(args as unknown as Node[]));
  }
  if (node.type === 'FilterExpression') {
    const called = filter!.type === 'CallExpression';
    const options = called ? (filter!['args'] as Node[]) : [];
    const name = ((called ? filter!['callee'] : filter) as Node)['value'];
    if (name === 'trim') return call(method('strip'), operand, ...options);
    if ((name === 'selectattr' || name === 'rejectattr') && options[1]?.['value'] === 'undefined') {
      const opposite = name === 'selectattr' ? 'rejectattr' : 'selectattr';
      node['filter'] = call(opposite, options[0], { type: 'StringLiteral', value: 'defined' });
    }
  }
  if (node.type === 'BinaryExpression' && operator!['value'] === '==') return equality(left, right);
  if (node.type === 'BinaryExpression' && operator!['value'] === '!=')
    return {
      type: 'UnaryExpression',
      operator: { type: 'UnaryOperator', value: 'not' },
      argument: equality(left, right),
    };
  return node;
}

/** Python's str.isspace. */
const isSpace = (point: string) => /\p{White_Space}/u.test(point) || (point >= '\x1c' && point <= '\x1f');

/** Python's str.strip: takes off characters at the ends of a text, by default white space. */
function strip(text: unknown, characters: unknown, atStart: boolean, atEnd: boolean): string {
  if (typeof text !== 'string') throw new Error('strips a value that is not a text');
  if (characters != null && typeof characters !== 'string') throw new Error('strips what is not given as a text');
  const points = Array.from(text);
  const off = typeof characters === 'string' ? new Set(characters) : undefined;
  const goes = off === undefined ? isSpace : (point: string) => off.has(point);
  let [start, end] = [0, points.length];
  while (atStart && start < end && goes(points[start]!)) start++;
  while (atEnd && start < end && goes(points[end - 1]!)) end--;
  return points.slice(start, end).join('');
}

/** A value as the library has it: its type, and a list of values, a Map of them, or something plain. */
interface LibraryValue {
  readonly type: string;
  readonly value: unknown;
}

/** Python's == of two of the library's values. */
function equal([a, b]: [LibraryValue, LibraryValue]): boolean {
  const [x, y] = [plain(a), plain(b)];
  if (Array.isArray(x)) return Array.isArray(y) && x.length === y.length && x.every((each, i) => equal([each, y[i]]));
  if (x instanceof Map) {
    return (
      y instanceof Map && x.size === y.size && [...x].every(([key, each]) => y.has(key) && equal([each, y.get(key)]))
    );
  }
  return x === y;
}

/** What `===` compares as Python does: True is 1; None, which the library keeps as undefined, is not undefined. */
function plain({ type, value }: LibraryValue): unknown {
  if (type === 'NullValue') return null;
  return typeof value === 'boolean' ? Number(value) : value;
}
