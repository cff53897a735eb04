// Ids that are kept between runs: found again, never wrong, never in the way.

import { readdir, readFile, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { encodeExamples, loadTokenizer } from '../../src/tokens/index.ts';
import { failure } from '../../src/util/index.ts';
import { tempDir } from '../util/temp.ts';
import { tokenizerDirectory } from './support.ts';

/** Rows of 1.1 million characters together. */
const examples = Array.from({ length: 1000 }, (_, row) => ({
  prompt: [{ role: 'user' as const, content: `question ${row} ${'?'.repeat(1000)}` }],
  response: `answer ${row} ${'!'.repeat(100)}`,
}));

/** Row r: its prompt is r % 7 ids, its answer r % 3 + 1; every tenth row is refused. */
function countingTokenizer(hash = 'one') {
  const encodePair = vi.fn(({ response }: { response: string }) => {
    const row = Number(response.split(' ')[1]);
    if (row % 10 === 9) throw failure({ what: `row ${row} is refused` });
    return { promptIds: new Int32Array(row % 7).fill(row), responseIds: new Int32Array((row % 3) + 1).fill(row + 1) };
  });
  return { hash, encodePair };
}

const made = (await encodeExamples(examples.slice(0, 1), countingTokenizer(), '/nowhere'))[0];

async function kept() {
  const folder = await tempDir();
  const first = countingTokenizer();
  const result = await encodeExamples(examples, first, folder);
  expect(first.encodePair).toHaveBeenCalledTimes(1000);
  const [name, ...others] = await readdir(folder);
  expect(others).toEqual([]);
  return { folder, result, file: join(folder, name!) };
}

describe('ids of many examples', () => {
  it('are made once, refusals included', async () => {
    const { folder, result } = await kept();
    expect(result[0]).toEqual(made);
    expect(result[9]).toEqual({ refused: 'row 9 is refused' });
    const again = countingTokenizer();
    const found = await encodeExamples(examples, again, folder);
    expect(found).toEqual(result);
    expect(again.encodePair).not.toHaveBeenCalled();
    // No row sees the memory of another.
    const [a, b] = [found[1], found[2]] as { promptIds: Int32Array }[];
    expect(a!.promptIds.buffer).not.toBe(b!.promptIds.buffer);
  });

  it('are made again for another tokenizer, and when a text or the order of rows changes', async () => {
    const { folder } = await kept();
    for (const [rows, hash] of [
      [examples, 'another'],
      [[...examples.slice(0, -1), { ...examples[999]!, response: 'answer 999 x' }], 'one'],
      [examples.toReversed(), 'one'],
    ] as const) {
      const tokenizer = countingTokenizer(hash);
      await encodeExamples(rows, tokenizer, folder);
      expect(tokenizer.encodePair).toHaveBeenCalledTimes(1000);
    }
    expect(await readdir(folder)).toHaveLength(4);
  });

  it('are made again, and kept anew, when the file is damaged anywhere', async () => {
    const { folder, result, file } = await kept();
    const whole = await readFile(file);
    const header = 8 + Number(whole.readBigUInt64LE(0));
    const flipped = (at: number) => Buffer.from(whole.map((byte, i) => (i === at ? byte ^ 1 : byte)));
    const places = [0, whole.indexOf('refused') + 20, header + 8, whole.length - 1];
    const damaged = [...places.map(flipped), whole.subarray(0, -4), Buffer.alloc(0)];
    for (const bytes of damaged) {
      await writeFile(file, bytes);
      const tokenizer = countingTokenizer();
      expect(await encodeExamples(examples, tokenizer, folder)).toEqual(result);
      expect(tokenizer.encodePair).toHaveBeenCalledTimes(1000);
      expect(whole.equals(await readFile(file))).toBe(true);
    }
  });

  it('of few texts are not kept', async () => {
    const folder = await tempDir();
    await encodeExamples(examples.slice(0, 800), countingTokenizer(), folder);
    expect(await readdir(folder)).toEqual([]);
  });

  it('that were not used for longest go when there is no more room', async () => {
    const { folder, file } = await kept();
    // Sparse files: together with one more above 2 GB.
    for (const [name, size, day] of [
      ['old.safetensors', 1.5e9, 1],
      ['newer.safetensors', 1.2e9, 2],
      ['note.txt', 1e9, 1],
    ] as const) {
      const path = join(folder, name);
      await writeFile(path, '');
      await truncate(path, size);
      await utimes(path, day * 86_400, day * 86_400);
    }
    await utimes(file, 3, 3);
    // Finding it again is a use.
    await encodeExamples(examples, countingTokenizer(), folder);
    expect((await stat(file)).mtimeMs).toBeGreaterThan(Date.now() - 60_000);
    await encodeExamples(examples, countingTokenizer('two'), folder);
    const names = await readdir(folder);
    expect(names).toHaveLength(4);
    expect(names).toContain('newer.safetensors');
    expect(names).toContain('note.txt');
    expect(names).not.toContain('old.safetensors');
  });

  it('come where nothing can be kept', async () => {
    const file = join(await tempDir(), 'file');
    await writeFile(file, '');
    expect(await encodeExamples(examples, countingTokenizer(), file)).toHaveLength(1000);
  });

  it('lie in SELFPLAY_CACHE', async () => {
    const cache = await tempDir();
    vi.stubEnv('SELFPLAY_CACHE', cache);
    onTestFinished(() => void vi.unstubAllEnvs());
    await encodeExamples(examples, countingTokenizer());
    expect(await readdir(join(cache, 'tokens'))).toHaveLength(1);
  });

  it('belong to the time where the template writes it', async () => {
    const hashAt = async (dir: string, time: string) => (await loadTokenizer(dir, time)).hash;
    const clock = "{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}";
    const [reads, ignores] = [await tokenizerDirectory({ template: clock }), await tokenizerDirectory()];
    const [before, after] = ['2026-01-01T00:00:00', '2027-01-01T00:00:00'];
    expect(await hashAt(reads, after)).toBe(await hashAt(reads, after));
    expect(await hashAt(reads, after)).not.toBe(await hashAt(reads, before));
    expect(await hashAt(ignores, after)).toBe(await hashAt(ignores, before));
  });
});
