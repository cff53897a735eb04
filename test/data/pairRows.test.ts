import { describe, expect, it } from 'vitest';
import { parsePairRow, textProblem } from '../../src/data/index.ts';

const user = { role: 'user', content: 'q' } as const;
const system = { role: 'system', content: 's' } as const;
const answer = (content: string) => ({ role: 'assistant', content }) as const;

describe('a row of pairs', () => {
  it('as two chats: all but the last message is the prompt', () => {
    const rounds = [system, user, answer('a'), user];
    const row = { real: [...rounds, answer('human')], generated: [...rounds, answer('model')], score: 1 };
    expect(parsePairRow(row)).toEqual({ prompt: rounds, real: 'human', generated: 'model' });
  });

  it('as texts, the prompt also as messages', () => {
    const texts = { real: 'human', generated: 'model' };
    expect(parsePairRow({ prompt: 'q', ...texts })).toEqual({ prompt: [user], ...texts });
    expect(parsePairRow({ prompt: [system, user], ...texts })).toEqual({ prompt: [system, user], ...texts });
    expect(parsePairRow({ prompt: [user, answer('a')], ...texts })).toMatchObject({ key: 'prompt' });
    expect(parsePairRow({ prompt: 3, ...texts })).toMatchObject({ key: 'prompt' });
  });

  it('may have texts that cannot be used', () => {
    const pair = { prompt: [{ ...user }], real: 'human', generated: 'model' };
    expect(textProblem(pair)).toBeUndefined();
    expect(textProblem({ ...pair, generated: '\n' })).toBe('the answer is empty');
    expect(textProblem({ ...pair, real: '\ud800' })).toBe('the answer is not valid Unicode');
    expect(textProblem({ ...pair, prompt: [{ ...user, content: ' ' }] })).toBe('the prompt is empty');
  });
});
