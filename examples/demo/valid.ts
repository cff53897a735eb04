// The demo's own scorer, as any user would write one: 1 for an answer that is exactly right, else 0.
import type { ScoredRow } from '../../src/evaluation/index.ts';
import { valid } from './tasks.ts';

export default function score({ prompt, answer }: ScoredRow): number {
  return valid(prompt.at(-1)!.content, answer) ? 1 : 0;
}
