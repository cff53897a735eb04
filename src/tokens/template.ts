// Renders chat templates (Jinja, as in transformers: trim_blocks and lstrip_blocks on) within limits, because a template comes
// with a downloaded model: no access to JavaScript objects (the interpreter only reads its own values), bounded range(), steps
// and output, and errors that name the template. The limits are far above what real templates need.
// Notable choice: the time that strftime_now gives is an argument, fixed when the template is compiled: a run has one prompt, and the
// same one when it is resumed or repeated on another day.

import { Environment, Interpreter } from '@huggingface/jinja';
import { failure, SelfplayError, usageError } from '../util/index.ts';
import { asPython, PYTHON_FUNCTIONS, parseTemplate } from './jinja.ts';

const MAX_SOURCE = 1_000_000;
const MAX_LIST = 10_000;
const MAX_STEPS = 500_000;
const STEPS_A_TURN = 8;
const CHARACTERS_A_STEP = 256;
const MAX_OUTPUT = 16_000_000;

/** Renders a compiled template with the variables given; throws a failure that names the template and the reason. */
export type RenderTemplate = (variables: Readonly<Record<string, unknown>>) => string;

/** The time on the clock here, as strftime_now gives it: 2026-11-28T09:30:00, without a zone. */
export function wallClock(now = new Date()): string {
  return new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

/** Whether what a template writes depends on the time. */
export const readsClock = (source: string): boolean => /\bstrftime_now\b/.test(source);

/**
 * Compiles a template; `where` names its file in errors. Throws a usage error if it is not valid Jinja.
 * @param time what strftime_now gives, in the form of `wallClock`
 */
export function compileTemplate(source: string, where: string, time = wallClock()): RenderTemplate {
  if (source.length > MAX_SOURCE) {
    throw usageError({ what: `chat template of ${source.length} characters; at most ${MAX_SOURCE}`, where });
  }
  let program: unknown;
  try {
    program = parseTemplate(source);
    refuseObjectInternals(program, where);
    program = asPython(program);
  } catch (error) {
    if (error instanceof SelfplayError) throw error;
    throw usageError({ what: `chat template is not valid Jinja: ${reasonOf(error)}`, where, cause: error });
  }
  // As if the clock were one of UTC: then no zone moves it.
  const globals = templateGlobals(new Date(`${time}Z`));
  return (variables) => {
    try {
      const environment = new Environment();
      for (const [name, value] of Object.entries({ ...globals, ...variables })) environment.set(name, value);
      const interpreter: LibraryInterpreter = new Interpreter(environment);
      limitWork(interpreter);
      return String(interpreter.run(program).value);
    } catch (error) {
      throw failure({ what: `chat template: ${reasonOf(error)}`, where, cause: error });
    }
  };
}

/** Names that only serve to reach behind the values of a template language. The interpreter finds nothing there; say so early. */
const INTERNALS = /^(__\w+|constructor|prototype)$/;

function refuseObjectInternals(node: unknown, where: string): void {
  if (typeof node !== 'object' || node === null) return;
  const { type, property } = node as { type?: unknown; property?: { value?: unknown } };
  if (type === 'MemberExpression' && typeof property?.value === 'string' && INTERNALS.test(property.value)) {
    throw usageError({
      what: `chat template reads .${property.value}: templates may read messages, not object internals`,
      where,
      fix: 'use a model from a source that you trust, or write a chat_template.jinja of your own',
    });
  }
  const children = node instanceof Map ? [...node].flat() : Object.values(node);
  for (const child of children) refuseObjectInternals(child, where);
}

/** What we use of the library's Interpreter (its own declarations do not resolve under Node's module rules). */
interface LibraryInterpreter {
  evaluate(node: unknown, environment: unknown): { readonly value: unknown };
  run(program: unknown): { readonly value: unknown };
}

/** Counts evaluated nodes, turns of loops and texts by size; refuses values that have grown too large. */
function limitWork(interpreter: LibraryInterpreter): void {
  let steps = 0;
  const loopedOver = new Set<unknown>();
  const evaluate = interpreter.evaluate.bind(interpreter);
  interpreter.evaluate = (node, environment) => {
    const { type, iterable } = (node ?? {}) as { type?: string; iterable?: { type?: string; lhs?: unknown } };
    // "for x in list if test" holds the list one level down.
    if (type === 'For') loopedOver.add(iterable?.type === 'SelectExpression' ? iterable.lhs : iterable);
    const result = evaluate(node, environment);
    const { value } = result;
    if (typeof value === 'string') {
      if (value.length > MAX_OUTPUT) throw new Error(`makes a text of more than ${MAX_OUTPUT} characters`);
      steps += value.length / CHARACTERS_A_STEP;
    } else if (Array.isArray(value)) {
      if (value.length > MAX_LIST) throw new Error(`makes a list of more than ${MAX_LIST} items`);
      if (loopedOver.has(node)) steps += value.length * STEPS_A_TURN;
    }
    if (++steps > MAX_STEPS) throw new Error(`takes more than ${MAX_STEPS} steps`);
    return result;
  };
}

function templateGlobals(now: Date): Record<string, unknown> {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    raise_exception: (message: unknown) => {
      throw new Error(`refuses this conversation: ${String(message)}`);
    },
    range: boundedRange,
    ...PYTHON_FUNCTIONS,
    strftime_now: (format: unknown) => formatDate(now, String(format)),
  };
}

/** Python's range(stop), range(start, stop) or range(start, stop, step), of at most MAX_LIST numbers. */
function boundedRange(first: unknown, second?: unknown, step: unknown = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  if (![start, stop, step].every(Number.isSafeInteger) || step === 0)
    throw new Error('range() needs integers, and a step');
  const length = Math.max(0, Math.ceil(((stop as number) - (start as number)) / (step as number)));
  if (length > MAX_LIST) throw new Error(`range() of ${length} numbers; at most ${MAX_LIST}`);
  return Array.from({ length }, (_, index) => (start as number) + index * (step as number));
}

/** The strftime directives that chat templates use, in English; others stay as they are. The date's UTC is the time to write. */
function formatDate(date: Date, format: string): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const name = (options: Intl.DateTimeFormatOptions): string =>
    new Intl.DateTimeFormat('en-US', { ...options, timeZone: 'UTC' }).format(date);
  const directives: Record<string, () => string> = {
    Y: () => String(date.getUTCFullYear()),
    y: () => two(date.getUTCFullYear() % 100),
    m: () => two(date.getUTCMonth() + 1),
    d: () => two(date.getUTCDate()),
    b: () => name({ month: 'short' }),
    B: () => name({ month: 'long' }),
    a: () => name({ weekday: 'short' }),
    A: () => name({ weekday: 'long' }),
    H: () => two(date.getUTCHours()),
    M: () => two(date.getUTCMinutes()),
    S: () => two(date.getUTCSeconds()),
    '%': () => '%',
  };
  return format.replace(/%([YymdbBaAHMS%])/g, (_, letter: string) => (directives[letter] as () => string)());
}

function reasonOf(error: unknown): string {
  return error instanceof RangeError
    ? 'nested too deeply or too large'
    : error instanceof Error
      ? error.message
      : String(error);
}
