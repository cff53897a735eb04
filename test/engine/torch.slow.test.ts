// The torch engine passes the suite that every engine passes, in f32 and in bf16.
import { describe, expect, it } from 'vitest';
import { conformance } from './conformance.ts';
import { torchForTests } from './torchForTests.ts';

/** One op on operands of bf16, which have 8 significant bits. */
const BF16 = 1e-2;

const torch = await torchForTests('the conformance suite on the torch engine');

describe.skipIf(!torch)('with torch', () => {
  conformance('torch', () => torch!('f32'));
  conformance('torch', () => torch!('bf16'), BF16);

  it('says what torch complains of, and goes on', async () => {
    const engine = await torch!('f32');
    // 8 TB: nothing has that much memory.
    await expect(engine.createState('huge', [2 ** 21, 2 ** 20])).rejects.toMatchObject({ code: 'out-of-memory' });
    await engine.createState('small', [2]);
    await engine.writeState('small', Float32Array.of(1, 2));
    expect(await engine.readState('small')).toEqual(Float32Array.of(1, 2));
    await engine.dispose();
  });
});
