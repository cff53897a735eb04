// FLOPs by hand.
import { describe, expect, it } from 'vitest';
import { flopsOf, parameterCount } from '../../src/training/index.ts';

const parameter = (shape: number[], frozen?: 'layer') => ({
  name: '',
  shape,
  aliases: [],
  initial: 'normal' as const,
  ...(frozen ? { frozen } : {}),
});

describe('flopsOf', () => {
  // N = 3·4 + 5 = 17.
  const whole = { parameters: [parameter([3, 4]), parameter([5])] };
  const adapter = { parameters: [parameter([3, 4], 'layer'), parameter([5])] };

  it('counts 2 per parameter and token that is read, 6 per one that is learned, 4 where the base is frozen', () => {
    expect(parameterCount(whole)).toBe(17);
    expect(flopsOf(whole, { read: 10, learned: 0 })).toBe(340);
    expect(flopsOf(whole, { read: 0, learned: 3 })).toBe(306);
    expect(flopsOf(whole, { read: 10, learned: 3 })).toBe(646);
    expect(flopsOf(adapter, { read: 10, learned: 3 })).toBe(340 + 204);
  });
});
