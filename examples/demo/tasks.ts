// The instruction set of the demo: small worked problems, written by the project itself, with an exact checker.
//
// A question fixes its numbers; the answer shows two steps and a total, in an order and a wording drawn at random,
// so that answers have entropy (about six bits) as real ones have. Every answer that can be drawn for a question is a
// sentence of one small weighted grammar: `write` draws from it, `ends` recognises it, `distribution` lists it. The
// checker is therefore exact in both directions. Splits share no numbers, not only no sentences: "What is 12 + 30?"
// in the training set keeps "Add 30 and 12." out of the test set.
import { uniform, usageError } from '../../src/util/index.ts';

/** One row of the set: an instruction and a worked answer. */
export type Task = { question: string; answer: string };

/** Text, a weighted choice, or a sequence of parts. */
type Grammar = string | { choose: readonly (readonly [weight: number, option: Grammar])[] } | { join: Grammar[] };

/** Next number of a stream, uniform on [0, 1). */
type Draw = () => number;

const choose = (...choices: readonly (readonly [number, Grammar])[]): Grammar => ({ choose: choices });
const join = (...parts: Grammar[]): Grammar => ({ join: parts });

/** Draws one sentence. */
function write(grammar: Grammar, draw: Draw): string {
  if (typeof grammar === 'string') return grammar;
  if ('join' in grammar) return grammar.join.map((part) => write(part, draw)).join('');
  let left = draw() * grammar.choose.reduce((sum, [weight]) => sum + weight, 0);
  const picked = grammar.choose.find(([weight]) => (left -= weight) < 0) ?? grammar.choose.at(-1)!;
  return write(picked[1], draw);
}

/** Every position at which a sentence of the grammar can end when it starts at `start` of `text`. */
function ends(grammar: Grammar, text: string, start: number): number[] {
  if (typeof grammar === 'string') return text.startsWith(grammar, start) ? [start + grammar.length] : [];
  if ('join' in grammar) {
    return grammar.join.reduce((from, part) => [...new Set(from.flatMap((at) => ends(part, text, at)))], [start]);
  }
  return grammar.choose.flatMap(([, option]) => ends(option, text, start));
}

/** All sentences with their probabilities; two derivations of one sentence are added up. */
function distribution(grammar: Grammar): Map<string, number> {
  if (typeof grammar === 'string') return new Map([[grammar, 1]]);
  const result = new Map<string, number>();
  const add = (text: string, probability: number) => result.set(text, (result.get(text) ?? 0) + probability);
  if ('choose' in grammar) {
    const total = grammar.choose.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, option] of grammar.choose) {
      for (const [text, probability] of distribution(option)) add(text, (probability * weight) / total);
    }
    return result;
  }
  const [first, ...rest] = grammar.join;
  if (first === undefined) return new Map([['', 1]]);
  const tails = distribution({ join: rest });
  for (const [head, p] of distribution(first)) for (const [tail, q] of tails) add(head + tail, p * q);
  return result;
}

const names = ['Ana', 'Ben', 'Eva', 'Leo', 'Max', 'Mia', 'Tom', 'Zoe'];
const things = ['apples', 'books', 'cards', 'coins', 'plums', 'shells', 'stamps', 'stars'];

/** What a question asks: the operation, its numbers and, in a story, who has what. */
type Problem = { operation: Operation; a: number; b: number; c: number; name: string; thing: string; story: boolean };
type Operation = 'add' | 'subtract' | 'multiply' | 'two steps';

/** Question templates of each operation; those with {name} are stories. */
const templates = {
  add: [
    'What is {a} + {b}?',
    'How much is {a} plus {b}?',
    'Add {a} and {b}.',
    '{name} has {a} {thing} and gets {b} more. How many {thing} does {name} have now?',
  ],
  subtract: [
    'What is {a} - {b}?',
    'How much is {a} minus {b}?',
    'Take {b} away from {a}.',
    '{name} has {a} {thing} and gives away {b}. How many {thing} are left?',
  ],
  multiply: [
    'What is {a} x {b}?',
    'How much is {a} times {b}?',
    'Multiply {a} by {b}.',
    '{name} fills {b} boxes with {a} {thing} each. How many {thing} are in the boxes?',
  ],
  'two steps': [
    '{name} has {a} {thing}, gets {b} more and gives away {c}. How many {thing} are left?',
    '{name} has {a} {thing}, sells {c} and buys {b} more. How many {thing} does {name} have now?',
    'What is {a} + {b} - {c}?',
    'Start with {a}, add {b} and take away {c}. What do you get?',
  ],
} as const satisfies Record<Operation, readonly string[]>;

const operations = Object.keys(templates) as Operation[];

/** Share of each operation in the set. */
const shares: Record<Operation, number> = { add: 0.3, subtract: 0.3, multiply: 0.15, 'two steps': 0.25 };

/** A template as a pattern that reads its numbers and words back. */
function pattern(template: string): RegExp {
  const seen = new Set<string>();
  const source = template.replace(/[.?+*]/g, '\\$&').replace(/\{(\w+)\}/g, (_, field: string) => {
    if (seen.has(field)) return `\\k<${field}>`;
    seen.add(field);
    if (field === 'name') return `(?<name>${names.join('|')})`;
    if (field === 'thing') return `(?<thing>${things.join('|')})`;
    return `(?<${field}>[1-9]\\d?)`;
  });
  return new RegExp(`^${source}$`);
}

const patterns = operations.flatMap((operation) =>
  templates[operation].map((template) => ({ operation, pattern: pattern(template) })),
);

/** Reads a question back, or undefined if it is none of ours. */
function parse(question: string): Problem | undefined {
  for (const { operation, pattern } of patterns) {
    const fields = pattern.exec(question)?.groups;
    if (fields === undefined) continue;
    const problem = {
      operation,
      a: Number(fields['a']),
      b: Number(fields['b']),
      c: Number(fields['c'] ?? 0),
      name: fields['name'] ?? '',
      thing: fields['thing'] ?? '',
      story: fields['name'] !== undefined,
    };
    return solvable(problem) ? problem : undefined;
  }
  return undefined;
}

/** Whether the numbers are in the range of the set: no negative number on any way, no step that does nothing. */
function solvable({ operation, a, b, c }: Pick<Problem, 'operation' | 'a' | 'b' | 'c'>): boolean {
  const twoDigits = (n: number) => n > 10 && n < 100 && n % 10 !== 0;
  if (operation === 'multiply') return twoDigits(a) && a < 50 && b > 1 && b < 10;
  if (operation === 'two steps') return twoDigits(a) && twoDigits(b) && c > 1 && c < 10;
  return twoDigits(a) && twoDigits(b) && (operation === 'add' || a > b);
}

/** The right final number. */
function solve({ operation, a, b, c }: Problem): number {
  if (operation === 'multiply') return a * b;
  return operation === 'subtract' ? a - b : a + b - c;
}

/** "40 + 30 = 70", or with the operands exchanged: the larger first is a little more usual. */
const commutes = (a: number, sign: '+' | 'x', b: number): Grammar => {
  const result = sign === '+' ? a + b : a * b;
  const written = (p: number, q: number) => `${p} ${sign} ${q} = ${result}`;
  return a === b ? written(a, b) : choose([2, written(a, b)], [1, written(b, a)]);
};

const minus = (a: number, b: number) => `${a} - ${b} = ${a - b}`;

/** The closing sentence. */
function closing(problem: Problem): Grammar {
  const { name, thing, story } = problem;
  const total = solve(problem);
  if (!story) {
    return choose(
      [3, `The answer is ${total}.`],
      [2, `That makes ${total}.`],
      [2, `So we get ${total}.`],
      [1, `Total: ${total}.`],
    );
  }
  const counted = `${total} ${thing}`;
  if (problem.operation === 'multiply') {
    return choose(
      [3, `There are ${counted}.`],
      [2, `That makes ${counted}.`],
      [2, `So the boxes hold ${counted}.`],
      [1, `The answer is ${total}.`],
    );
  }
  return choose(
    [3, `${name} has ${counted}.`],
    [2, `That makes ${counted}.`],
    [2, `So ${name} has ${counted} now.`],
    [1, `The answer is ${total}.`],
  );
}

/** Two steps, the first opening the answer. */
const steps = (first: [what: string, equation: Grammar], second: [what: string, equation: Grammar]): Grammar =>
  join(
    choose([3, `First ${first[0]}: `], [2, `Start: ${first[0]}, `], [1, `We ${first[0]}: `]),
    first[1],
    '. ',
    choose([3, `Then ${second[0]}: `], [2, `Next, ${second[0]}: `], [1, `Now ${second[0]}: `]),
    second[1],
    '. ',
  );

/** Every right answer to a problem. */
function answers(problem: Problem): Grammar {
  const { operation, a, b, c } = problem;
  const [aOnes, bOnes] = [a % 10, b % 10];
  const [aTens, bTens] = [a - aOnes, b - bOnes];
  let orders: [Grammar, Grammar];
  if (operation === 'two steps') {
    const [gain, loss] = [`add ${b}`, `take away ${c}`];
    orders = [
      steps([gain, commutes(a, '+', b)], [loss, minus(a + b, c)]),
      steps([loss, minus(a, c)], [gain, commutes(a - c, '+', b)]),
    ];
  } else if (operation === 'subtract') {
    orders = [
      steps(['take away the tens', minus(a, bTens)], ['take away the ones', minus(a - bTens, bOnes)]),
      steps(['take away the ones', minus(a, bOnes)], ['take away the tens', minus(a - bOnes, bTens)]),
    ];
  } else {
    const [verb, sign] = operation === 'add' ? (['add', '+'] as const) : (['multiply', 'x'] as const);
    const tens: [string, Grammar] = [`${verb} the tens`, commutes(aTens, sign, operation === 'add' ? bTens : b)];
    const ones: [string, Grammar] = [`${verb} the ones`, commutes(aOnes, sign, operation === 'add' ? bOnes : b)];
    orders = [steps(tens, ones), steps(ones, tens)];
  }
  return join(choose([3, orders[0]], [2, orders[1]]), closing(problem));
}

/** Draws a question. */
function ask(draw: Draw): { problem: Problem; question: string } {
  const between = (low: number, high: number) => low + Math.floor(draw() * (high - low + 1));
  const pick = <T>(list: readonly T[]): T => list[between(0, list.length - 1)]!;
  let share = draw();
  const operation = operations.find((name) => (share -= shares[name]) < 0) ?? 'add';
  let numbers: { a: number; b: number; c: number };
  do {
    const b = operation === 'multiply' ? between(2, 9) : between(11, 99);
    numbers = {
      a: between(11, operation === 'multiply' ? 49 : 99),
      b,
      c: operation === 'two steps' ? between(2, 9) : 0,
    };
  } while (!solvable({ operation, ...numbers }));
  const template = pick<string>(templates[operation]);
  const problem = { operation, ...numbers, name: pick(names), thing: pick(things), story: template.includes('{name}') };
  const question = template.replace(/\{(\w+)\}/g, (_, field: string) => String(problem[field as keyof Problem]));
  return { problem, question };
}

/** Far below the number of distinct questions, so that drawing never runs dry. */
const MAX_ROWS = 100_000;

/** Tasks without end, each question once: candidate number i depends on (seed, stream, i) alone. Iteration 1 of the random numbers deals out the splits. */
function* candidates(seed: number, stream: number, rows: number): Generator<{ problem: Problem; task: Task }> {
  if (rows > MAX_ROWS) {
    throw usageError({ what: `${rows} tasks asked for, the set has ${MAX_ROWS}`, fix: 'ask for fewer tasks' });
  }
  const seen = new Set<string>();
  for (let i = 0; ; i++) {
    let position = 0;
    const draw = () => uniform(seed, stream, 0, [i, 0], 0, position++);
    const { problem, question } = ask(draw);
    if (seen.has(question)) continue;
    seen.add(question);
    yield { problem, task: { question, answer: write(answers(problem), draw) } };
  }
}

/**
 * `count` (at most 100,000) tasks with distinct questions. `stream` (default 0) gives other tasks for the same seed; two
 * streams may overlap.
 */
export function makeTasks({ seed, count, stream = 0 }: { seed: number; count: number; stream?: number }): Task[] {
  const tasks: Task[] = [];
  for (const { task } of candidates(seed, stream, count)) {
    if (tasks.length >= count) break;
    tasks.push(task);
  }
  return tasks;
}

/** Sizes of the three splits: the game, the choices, the table. */
export type SplitSizes = { train: number; dev: number; test: number };

/**
 * Three sets that share no problem: every combination of operation and numbers (a + b counts as b + a) belongs to one
 * split, drawn in proportion to the sizes; all its wordings go there.
 */
export function makeSplits({ seed, ...sizes }: { seed: number } & SplitSizes): Record<keyof SplitSizes, Task[]> {
  const wanted = (Object.keys(sizes) as (keyof SplitSizes)[]).filter((name) => sizes[name] > 0);
  const rows = wanted.reduce((sum, name) => sum + sizes[name], 0);
  const splits: Record<keyof SplitSizes, Task[]> = { train: [], dev: [], test: [] };
  for (const { problem, task } of candidates(seed, 0, rows)) {
    if (wanted.every((name) => splits[name].length >= sizes[name])) break;
    let share = uniform(seed, 0, 1, [numbersKey(problem), 0], 0, 0) * rows;
    const name = wanted.find((split) => (share -= sizes[split]) < 0) ?? wanted.at(-1)!;
    if (splits[name].length < sizes[name]) splits[name].push(task);
  }
  return splits;
}

/** One integer for the operation and its numbers, the same for a + b and b + a. */
function numbersKey({ operation, a, b, c }: Problem): number {
  const [p, q] = operation === 'add' || operation === 'two steps' ? [Math.min(a, b), Math.max(a, b)] : [a, b];
  return ((operations.indexOf(operation) * 100 + p) * 100 + q) * 10 + c;
}

/** Whether `answer` is, to the letter, one of the answers that the set can hold for `question`. */
export function valid(question: string, answer: string): boolean {
  const problem = parse(question);
  return problem !== undefined && ends(answers(problem), answer, 0).includes(answer.length);
}

/** The last whole number of an answer, undefined where there is none. */
export function finalNumber(answer: string): number | undefined {
  const last = answer.match(/\d+/g)?.at(-1);
  return last === undefined ? undefined : Number(last);
}

/** Whether an answer ends in the human answer's total: needs no label beside the human answer itself. */
export function equivalentToHuman(human: string, answer: string): boolean {
  const total = finalNumber(human);
  return total !== undefined && finalNumber(answer) === total;
}

/** Every answer that can be drawn for `question`, with its probability; empty if the question is none of ours. */
export function answerDistribution(question: string): Map<string, number> {
  const problem = parse(question);
  return problem === undefined ? new Map() : distribution(answers(problem));
}

/** Entropy in bits of the answer to `question`: 2^entropy answers on average, weighted as they are drawn. */
export function entropyBits(question: string): number {
  let bits = 0;
  for (const p of answerDistribution(question).values()) bits -= p * Math.log2(p);
  return bits;
}
