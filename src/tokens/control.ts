// Keeps the text of control tokens in user data from becoming control tokens: a row that writes "<|im_end|>" would otherwise end
// a turn. Such rows are refused, not repaired, because no ids can stand for that text in the middle of a template.

import type { Message } from '../data/index.ts';
import { escapeRegExp } from './encoder.ts';
import type { AddedToken } from './tokenizerJson.ts';

/**
 * A function that gives the reason to refuse messages, or undefined. `render` is the chat template; it is called only in the
 * rare case that a message starts or ends with a part of a control token, to see whether the template completes it.
 */
export function controlTextCheck(
  added: readonly AddedToken[],
): (messages: readonly Message[], render: (messages: readonly Message[]) => string) => string | undefined {
  const controls = added.filter((token) => token.special).map((token) => token.content);
  const longestFirst = [...controls].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(longestFirst.map(escapeRegExp).join('|') || '(?!)', 'gu');
  const starts = new Set(controls.flatMap((text) => parts(text, (at) => text.slice(0, at))));
  const ends = new Set(controls.flatMap((text) => parts(text, (at) => text.slice(at))));
  const longest = longestFirst[0]?.length ?? 0;
  const atEdge = (text: string): boolean => {
    for (let length = 1; length < longest && length <= text.length; length++) {
      if (starts.has(text.slice(-length)) || ends.has(text.slice(0, length))) return true;
    }
    return false;
  };
  const count = (text: string): number => text.match(pattern)?.length ?? 0;
  return (messages, render) => {
    for (const { role, content } of messages) {
      const found = content.match(pattern);
      if (found !== null) return `the ${role} text contains the control token ${found[0]}`;
    }
    if (!messages.some(({ content }) => atEdge(content) || atEdge(content.trim()))) return undefined;
    const guarded = messages.map(({ role, content }) => ({ role, content: `x${content}x` }));
    if (count(render(messages)) === count(render(guarded))) return undefined;
    return 'the text and the chat template together form a control token';
  };
}

function parts(text: string, part: (at: number) => string): string[] {
  return Array.from({ length: Math.max(0, text.length - 1) }, (_, index) => part(index + 1));
}
