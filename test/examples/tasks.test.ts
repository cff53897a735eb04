// The demo's instruction set: what it draws is valid, what it must refuse is refused, splits share no problem.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  answerDistribution,
  entropyBits,
  equivalentToHuman,
  finalNumber,
  makeSplits,
  makeTasks,
  valid,
} from '../../examples/demo/tasks.ts';

const tasks = makeTasks({ seed: 7, count: 400 });

/** An independent calculation: reads a task's numbers and words instead of its grammar. */
function expectedTotal(question: string): number {
  const numbers = question.match(/\d+/g)!.map(Number);
  const [a, b, c] = numbers as [number, number, number];
  if (/ x |times|Multiply|boxes/.test(question)) return a * b;
  if (numbers.length === 3) return question.includes('sells') ? a - b + c : a + b - c;
  if (question.startsWith('Take')) return b - a;
  return /minus| - |gives away/.test(question) ? a - b : a + b;
}

describe('makeTasks', () => {
  it('depends on seed and stream alone, and a longer set begins with the shorter one', () => {
    expect(makeTasks({ seed: 7, count: 50 })).toEqual(tasks.slice(0, 50));
    expect(makeTasks({ seed: 8, count: 50 })).not.toEqual(tasks.slice(0, 50));
    expect(makeTasks({ seed: 7, count: 50, stream: 3 })).not.toEqual(tasks.slice(0, 50));
  });

  it('repeats no question and mixes the four operations', () => {
    expect(new Set(tasks.map((task) => task.question)).size).toBe(400);
    const multiplications = tasks.filter(({ answer }) => answer.includes(' x ')).length;
    expect(multiplications).toBeGreaterThan(35);
    expect(multiplications).toBeLessThan(90);
    expect(tasks.filter(({ question }) => question.match(/\d+/g)!.length === 3).length).toBeGreaterThan(70);
  });

  it('writes right answers: total and both equations, by an independent calculation', () => {
    for (const { question, answer } of tasks) {
      expect(finalNumber(answer), `${question} ${answer}`).toBe(expectedTotal(question));
      const equations = [...answer.matchAll(/(\d+) ([-+x]) (\d+) = (\d+)/g)];
      expect(equations).toHaveLength(2);
      for (const [, p, sign, q, result] of equations) {
        const [left, right] = [Number(p), Number(q)];
        expect(sign === '+' ? left + right : sign === '-' ? left - right : left * right).toBe(Number(result));
      }
    }
  });
});

describe('makeSplits', () => {
  it('refuses more rows than the set has, instead of drawing for ever', () => {
    expect(() => makeSplits({ seed: 1, train: 99_000, dev: 1000, test: 1000 })).toThrow('101000 tasks asked for');
  });

  const splits = makeSplits({ seed: 1, train: 1500, dev: 200, test: 300 });

  it('gives the sizes asked for, the same each time', () => {
    expect([splits.train.length, splits.dev.length, splits.test.length]).toEqual([1500, 200, 300]);
    expect(makeSplits({ seed: 1, train: 1500, dev: 200, test: 300 })).toEqual(splits);
  });

  it('shares neither questions nor problems between splits', () => {
    // The problem behind a task: its operation (from the answer's signs) and its numbers, sorted where order is wording.
    const problem = ({ question, answer }: { question: string; answer: string }) => {
      const signs = [...new Set(answer.match(/(?<= )[-+x](?= )/g))].sort().join('');
      const numbers = question.match(/\d+/g)!.map(Number);
      return [signs, ...numbers.sort((p, q) => p - q)].join(' ');
    };
    const inTrain = new Set(splits.train.map(problem));
    const inDev = new Set(splits.dev.map(problem));
    expect([...splits.dev, ...splits.test].filter((task) => inTrain.has(problem(task)))).toEqual([]);
    expect(splits.test.filter((task) => inDev.has(problem(task)))).toEqual([]);
  });
});

describe('valid', () => {
  it('accepts every answer that the grammar lists, and their probabilities sum to 1', () => {
    for (const { question, answer } of tasks.slice(0, 40)) {
      const answers = answerDistribution(question);
      expect(answers.has(answer)).toBe(true);
      expect([...answers.keys()].filter((text) => !valid(question, text))).toEqual([]);
      expect([...answers.values()].reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12);
    }
  });

  it('accepts another wording and order of the same steps', () => {
    const question = 'What is 47 + 38?';
    expect(valid(question, 'First add the tens: 40 + 30 = 70. Then add the ones: 7 + 8 = 15. The answer is 85.')).toBe(
      true,
    );
    expect(valid(question, 'Start: add the ones, 8 + 7 = 15. Now add the tens: 30 + 40 = 70. Total: 85.')).toBe(true);
    const story = 'Ana has 12 apples, gets 25 more and gives away 9. How many apples are left?';
    expect(valid(story, 'We take away 9: 12 - 9 = 3. Next, add 25: 25 + 3 = 28. So Ana has 28 apples now.')).toBe(true);
  });

  it.each([
    ['a wrong step', 'First add the tens: 40 + 30 = 60. Then add the ones: 7 + 8 = 15. The answer is 85.'],
    ['a wrong total', 'First add the tens: 40 + 30 = 70. Then add the ones: 7 + 8 = 15. The answer is 75.'],
    ['other numbers', 'First add the tens: 40 + 20 = 60. Then add the ones: 7 + 8 = 15. The answer is 75.'],
    ['a step twice', 'First add the tens: 40 + 30 = 70. Then add the tens: 40 + 30 = 70. The answer is 85.'],
    ['no total', 'First add the tens: 40 + 30 = 70. Then add the ones: 7 + 8 = 15. '],
    ['words after the end', 'First add the tens: 40 + 30 = 70. Then add the ones: 7 + 8 = 15. The answer is 85. So'],
    ['a lost full stop', 'First add the tens: 40 + 30 = 70 Then add the ones: 7 + 8 = 15. The answer is 85.'],
    ['nothing', ''],
  ])('refuses %s', (_, answer) => {
    expect(valid('What is 47 + 38?', answer)).toBe(false);
  });

  it('refuses the answer to another question, and questions that are none of the set', () => {
    const answer = 'First add the tens: 40 + 30 = 70. Then add the ones: 7 + 8 = 15. The answer is 85.';
    expect(valid('What is 49 + 38?', answer)).toBe(false);
    expect(valid('What is 47 + 380?', answer)).toBe(false);
    expect(valid('Tell me a joke.', answer)).toBe(false);
    expect(answerDistribution('What is 12 - 47?').size).toBe(0);
  });

  it('refuses an answer once any one character is changed, unless the result is itself listed', () => {
    const anyTask = fc.constantFrom(...tasks);
    const character = fc.constantFrom(...'0123456789 .,:+-x=aeT');
    fc.assert(
      fc.property(anyTask, fc.nat(), character, ({ question, answer }, at, replacement) => {
        const index = at % answer.length;
        const changed = answer.slice(0, index) + replacement + answer.slice(index + 1);
        expect(valid(question, changed)).toBe(answerDistribution(question).has(changed));
      }),
      { numRuns: 300 },
    );
  });
});

describe('equivalentToHuman', () => {
  it('compares final totals only', () => {
    expect(finalNumber('7 + 8 = 15. The answer is 85.')).toBe(85);
    expect(finalNumber('none')).toBeUndefined();
    expect(equivalentToHuman('The answer is 85.', 'Total: 85.')).toBe(true);
    expect(equivalentToHuman('The answer is 85.', 'Total: 8.')).toBe(false);
    expect(equivalentToHuman('none', 'none')).toBe(false);
  });
});

describe('entropyBits', () => {
  it('is the entropy of the drawing, by hand for one question', () => {
    // 44 + 44: both equations commute into themselves. Order 3:2, opening 3:2:1, connective 3:2:1, closing 3:2:2:1.
    const entropy = (...weights: number[]) => {
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      return weights.reduce((sum, weight) => sum - (weight / total) * Math.log2(weight / total), 0);
    };
    const expected = entropy(3, 2) + 2 * entropy(3, 2, 1) + entropy(3, 2, 2, 1);
    expect(entropyBits('What is 44 + 44?')).toBeCloseTo(expected, 10);
    expect(answerDistribution('What is 44 + 44?').size).toBe(2 * 3 * 3 * 4);
  });

  it('averages six to seven bits', () => {
    const mean = tasks.reduce((sum, task) => sum + entropyBits(task.question), 0) / tasks.length;
    expect(mean).toBeGreaterThan(6);
    expect(mean).toBeLessThan(7.5);
  });
});
