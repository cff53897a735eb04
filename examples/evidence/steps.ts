// A scorer for worked answers in the style of GSM8K: the share of an answer's annotated steps, <<48/2=24>>, that are right.
// No label is needed. An answer without steps scores 0.
import type { ScoredRow } from '../../src/evaluation/index.ts';

const STEP = /<<([^<>=]+)=([^<>=]+)>>/g;
/** Numbers, + − · / and brackets: nothing else is computed. */
const ARITHMETIC = /^[\d.+\-*/() ]+$/;

export default function score({ answer }: ScoredRow): number {
  const steps = [...answer.matchAll(STEP)];
  if (steps.length === 0) return 0;
  return steps.filter(([, left, right]) => isRight(left!, right!)).length / steps.length;
}

/** Whether the left side comes to the number on the right, up to what its decimals round away. */
export function isRight(left: string, right: string): boolean {
  const digits = right.replaceAll(/[,$ ]/g, '');
  const stated = Number(digits);
  if (digits === '' || !Number.isFinite(stated)) return false;
  const value = compute(left.replaceAll(/[,$]/g, ''));
  if (value === undefined) return false;
  const decimals = digits.split('.')[1]?.length ?? 0;
  return Math.abs(value - stated) <= 0.5 * 10 ** -decimals * (decimals > 0 ? 1 : 0) + 1e-9 * Math.abs(value) + 1e-9;
}

/** The value of a term; undefined where it is none. */
function compute(text: string): number | undefined {
  if (!ARITHMETIC.test(text)) return undefined;
  const tokens = text.match(/\d*\.?\d+|[+\-*/()]/g) ?? [];
  let at = 0;
  const sum = (): number => {
    let value = product();
    while (tokens[at] === '+' || tokens[at] === '-')
      value = tokens[at++] === '+' ? value + product() : value - product();
    return value;
  };
  const product = (): number => {
    let value = factor();
    while (tokens[at] === '*' || tokens[at] === '/') value = tokens[at++] === '*' ? value * factor() : value / factor();
    return value;
  };
  const factor = (): number => {
    const token = tokens[at++];
    if (token === '-') return -factor();
    if (token !== '(') return token === undefined ? Number.NaN : Number(token);
    const value = sum();
    return tokens[at++] === ')' ? value : Number.NaN;
  };
  const value = sum();
  return at === tokens.length && Number.isFinite(value) ? value : undefined;
}
