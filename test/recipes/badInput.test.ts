// Bad input: one clear message with place and fix, the right kind of error, and no leftovers.

import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Interrupted, playSpin, resumeRun, type SpinInput } from '../../src/recipes/index.ts';
import { type RunEvent, readRunLog } from '../../src/report/index.ts';
import { diskIo, lockDirectory, SelfplayError } from '../../src/util/index.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings } from './tiny-game.ts';

let home: string;
let game: TinyGame;
let count = 0;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-bad-'));
  game = await makeTinyGame(home, 5);
});
afterAll(() => rm(home, { recursive: true, force: true }));

const fresh = (name: string) => join(home, `${name}-${count++}`);

async function rejection(work: Promise<unknown>): Promise<SelfplayError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SelfplayError);
  return error as SelfplayError;
}

/** Plays with changed settings, expects a refusal, and that nothing was left in the output directory. */
async function refused(changes: Partial<SpinInput>): Promise<SelfplayError> {
  const out = fresh('out');
  const error = await rejection(playSpin(tinySettings(game, out, { iterations: 1, ...changes }), listener().context));
  expect(existsSync(changes.out ?? out)).toBe(changes.out !== undefined && existsSync(changes.out));
  return error;
}

/** A copy of the model directory after `change`. */
async function changedModel(change: (dir: string) => Promise<void>): Promise<string> {
  const dir = fresh('model');
  await cp(game.model, dir, { recursive: true });
  await rm(join(dir, 'files.json'));
  await change(dir);
  return dir;
}

async function dataFile(lines: readonly unknown[]): Promise<string> {
  const file = `${fresh('data')}.jsonl`;
  await writeFile(file, lines.map((row) => `${typeof row === 'string' ? row : JSON.stringify(row)}\n`).join(''));
  return file;
}

describe('a model', () => {
  it('that is not there', async () => {
    const error = await refused({ model: join(home, 'nowhere') });
    expect(error.kind).toBe('usage');
    expect(error.message).toContain(join(home, 'nowhere'));
  });

  it('with a malformed config.json', async () => {
    const model = await changedModel((dir) => writeFile(join(dir, 'config.json'), '{ "model_type": "llama", '));
    const error = await refused({ model });
    expect(error.what).toContain('not valid JSON');
    expect(error.where).toContain(join(model, 'config.json'));
  });

  it('with a setting that is not supported', async () => {
    const model = await changedModel(async (dir) => {
      const config = JSON.parse(await readFile(join(dir, 'config.json'), 'utf8')) as object;
      await writeFile(join(dir, 'config.json'), JSON.stringify({ ...config, hidden_act: 'relu7' }));
    });
    const error = await refused({ model });
    expect(error.message).toContain('hidden_act');
    expect(error.message).toContain('relu7');
  });

  it('without a tokenizer', async () => {
    const model = await changedModel((dir) => rm(join(dir, 'tokenizer.json')));
    const error = await refused({ model });
    expect(error.message).toContain('tokenizer.json');
    expect(error.message).toContain(model);
  });

  it('with a broken chat template', async () => {
    const model = await changedModel(async (dir) => {
      const file = join(dir, 'tokenizer_config.json');
      const config = JSON.parse(await readFile(file, 'utf8')) as object;
      await writeFile(file, JSON.stringify({ ...config, chat_template: '{% for message in %}' }));
    });
    const error = await refused({ model });
    expect(error.message).toContain('template');
    expect(error.message).toContain(model);
  });
});

describe('data', () => {
  it('that is not there, or is a directory', async () => {
    const missing = await refused({ data: join(home, 'no.jsonl') });
    expect([missing.kind, missing.where]).toEqual(['usage', join(home, 'no.jsonl')]);
    const directory = await refused({ data: home });
    expect([directory.kind, directory.where]).toEqual(['usage', home]);
    const held = await refused({ eval_data: join(home, 'no.jsonl') });
    expect([held.kind, held.where]).toEqual(['usage', join(home, 'no.jsonl')]);
  });

  it('with a line that is not JSON', async () => {
    const data = await dataFile([...game.rows.slice(0, 5), '{"question": "1+', ...game.rows.slice(5)]);
    const error = await refused({ data });
    expect(error.message).toContain(`${data}:6`);
  });

  it('with rows without answers: a few are skipped and named, many are refused', async () => {
    const without = game.rows.map((row, i) => (i < 2 ? { question: row.question } : row));
    const some = await dataFile(without);
    const { context, said } = listener();
    await playSpin(tinySettings(game, fresh('out'), { iterations: 1, data: some }), context);
    expect(said.join('\n')).toContain(`skipped ${some}:1: `);
    const many = await dataFile(game.rows.map((row, i) => (i < 9 ? { question: row.question, answer: '' } : row)));
    const error = await refused({ data: many });
    expect(error.kind).toBe('usage');
    expect(error.message).toContain('9 of 48 rows cannot be used');
    expect(error.message).toContain(`${many}:1: `);
  });

  it('with unknown columns', async () => {
    const data = await dataFile(game.rows.map(({ question, answer }) => ({ ask: question, say: answer })));
    const error = await refused({ data });
    expect(error.kind).toBe('usage');
    expect(error.message).toContain('"ask", "say"');
    expect(error.fix).toContain('--prompt-column');
    expect((await refused({ data, prompt_column: 'ask' })).fix).toContain('--response-column');
    const { context } = listener();
    await playSpin(
      tinySettings(game, fresh('out'), { iterations: 1, data, prompt_column: 'ask', response_column: 'say' }),
      context,
    );
  });

  it('with prompts longer than the context: a few are skipped and named wherever they land, many are refused', async () => {
    const long = { question: '1+'.repeat(60), answer: '5' };
    const one = await dataFile([...game.rows.slice(0, 3), long, ...game.rows.slice(3)]);
    // Whichever split the row lands in, of 49 rows it is one.
    for (const seed of [0, 1, 2]) {
      const { context, said } = listener();
      const settings = { iterations: 1, data: one, seed, dev_size: 18, test_size: 18 };
      await playSpin(tinySettings(game, fresh('out'), settings), context);
      expect(said.join('\n')).toMatch(new RegExp(`skipped ${one}:4: \\d+ tokens, longer than the 64`));
    }
    const many = await dataFile(
      game.rows.map((row, i) => (i % 5 === 0 ? { ...row, question: `${i}${long.question}` } : row)),
    );
    const error = await refused({ data: many });
    expect(error.kind).toBe('usage');
    expect(error.what).toContain('10 of 48 rows cannot be used');
    expect(error.what).toMatch(/jsonl:(1|6|11|16|21): \d+ tokens, longer than the 64 that fit/);
    expect(error.fix).toContain('longer context');
    const none = await refused({ data: many, limit: 1, dev_size: 0, test_size: 0 });
    expect(none.kind).toBe('usage');
  });
});

describe('a checker', () => {
  it('that cannot be loaded stops the game before it begins', async () => {
    const checker = join(home, 'no-checker.mjs');
    const error = await refused({ checker });
    expect([error.kind, error.where]).toEqual(['usage', checker]);
    expect(error.what).toContain('there is no such file');
  });

  it('that fails in the middle names the row, and the answers so far are kept', async () => {
    const checker = join(home, 'sulking.mjs');
    await writeFile(checker, 'export default () => "perhaps"\n');
    const out = fresh('sulking');
    const error = await rejection(playSpin(tinySettings(game, out, { iterations: 1, checker }), listener().context));
    expect(error.what).toMatch(/the checker gave perhaps for row [0-9a-f]{16}/);
    expect(existsSync(join(out, 'iteration-0/samples/00000.jsonl'))).toBe(true);
    expect(existsSync(join(out, 'iteration-0/pairs.jsonl'))).toBe(false);
  });
});

describe('files named as contamination', () => {
  it('that are not there, or are no data', async () => {
    const missing = await refused({ contamination: [join(home, 'no.jsonl')] });
    expect([missing.kind, missing.where]).toEqual(['usage', join(home, 'no.jsonl')]);
    expect(missing.fix).toContain('--contamination');
    const data = await dataFile([{ a: 1 }]);
    expect((await refused({ contamination: [data] })).where).toBe(data);
  });

  it('that leave no row to train on', async () => {
    const error = await refused({ contamination: [game.data], contaminated: 'drop' });
    expect(error.kind).toBe('usage');
    expect(error.what).toContain('all 36 train rows overlap');
    expect(error.fix).toContain('--contaminated keep');
  });

  it('can be mended after a refusal that came later', async () => {
    const out = fresh('later');
    const scorer = join(home, 'no-scorer.mjs');
    await rejection(
      playSpin(tinySettings(game, out, { iterations: 1, scorer, contamination: [game.data] }), listener().context),
    );
    expect(existsSync(out)).toBe(false);
  });
});

describe('the output directory', () => {
  it('is refused when it holds anything, and left as it is', async () => {
    const out = fresh('full');
    await mkdir(out);
    await writeFile(join(out, 'letter.txt'), 'dear');
    const error = await refused({ out });
    expect([error.kind, error.where]).toEqual(['usage', out]);
    expect(error.fix).toContain('--out');
    expect(await readFile(join(out, 'letter.txt'), 'utf8')).toBe('dear');
  });

  it('is refused when it is a file or lies in one', async () => {
    for (const out of [game.data, join(game.data, 'run')]) {
      const error = await rejection(playSpin(tinySettings(game, out), listener().context));
      expect([error.kind, error.where]).toEqual(['usage', out]);
      expect(error.fix).toContain('--out');
    }
  });

  it('can be used again after a refusal, once the input is mended', async () => {
    const out = fresh('again');
    await mkdir(out);
    await rejection(playSpin(tinySettings(game, out, { data: await dataFile([{ a: 1 }]) }), listener().context));
    await playSpin(tinySettings(game, out, { iterations: 1 }), listener().context);
    expect(existsSync(join(out, 'results.json'))).toBe(true);
    const second = await rejection(playSpin(tinySettings(game, out), listener().context));
    expect(second.what).toContain('there is a run in this directory already');
    expect(second.fix).toContain(`selfplay resume ${out}`);
  });
});

describe('a resume', () => {
  /** A run stopped in its first iteration. */
  async function stopped(changes: Partial<SpinInput> = {}): Promise<string> {
    const out = fresh('stopped');
    const controller = new AbortController();
    const stop = (event: RunEvent) => event.type === 'train.step' && controller.abort();
    const { context } = listener(stop, controller.signal);
    const error = await rejection(playSpin(tinySettings(game, out, { iterations: 1, ...changes }), context));
    expect(error).toBeInstanceOf(Interrupted);
    return out;
  }

  it('is refused where there is no run, or the manifest is not one', async () => {
    const none = await rejection(resumeRun(home, listener().context));
    expect([none.kind, none.where]).toEqual(['usage', join(home, 'manifest.json')]);
    for (const text of ['{', 'null', '{}', '{"v":1,"command":"run","settings":{"model":7}}']) {
      const dir = fresh('manifest');
      await mkdir(dir);
      await writeFile(join(dir, 'manifest.json'), text);
      const error = await rejection(resumeRun(dir, listener().context));
      expect(error.where, text).toBe(join(dir, 'manifest.json'));
      expect(error.fix, text).toBeDefined();
    }
  });

  it('is refused while another process works in the directory', async () => {
    const out = await stopped();
    const lock = await lockDirectory(out);
    const before = await readFile(join(out, 'events.jsonl'), 'utf8');
    const error = await rejection(resumeRun(out, listener().context));
    await lock.release();
    expect(error.kind).toBe('usage');
    expect(error.what).toContain(`in use by process ${process.pid}`);
    expect(await readFile(join(out, 'events.jsonl'), 'utf8')).toBe(before);
  });

  it('is refused when data, named files or model have changed, by name; and goes on when they are back', async () => {
    const data = await dataFile(game.rows);
    const eval_data = await dataFile(game.rows.slice(0, 4));
    const contamination = await dataFile(game.rows.slice(0, 2));
    const model = await changedModel(async () => undefined);
    const out = await stopped({ data, eval_data, model, contamination: [game.data, contamination] });
    const files = { data, eval_data, contamination, model: join(model, 'tokenizer_config.json') };
    for (const [name, file] of Object.entries(files)) {
      const bytes = await readFile(file);
      await writeFile(file, Buffer.concat([bytes, Buffer.from('\n')]));
      const error = await rejection(resumeRun(out, listener().context));
      expect(error.kind).toBe('usage');
      expect(error.what).toContain(`${name} has changed`);
      expect(error.where).toBe(`${join(out, 'manifest.json')}:hashes.${name}`);
      await writeFile(file, bytes);
    }
    await rm(data);
    expect((await rejection(resumeRun(out, listener().context))).where).toBe(data);
    await writeFile(data, game.rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const outcome = await resumeRun(out, listener().context);
    expect(outcome.results.rows).toHaveLength(2);
  });
});

describe('a full disk', () => {
  it('stops at any write with the path and the fix; after a resume the weights are those of an undisturbed run', async () => {
    const weights = (out: string) => readFile(join(out, 'iteration-0/model/model.safetensors'));
    const expected = fresh('sound');
    await playSpin(tinySettings(game, expected, { iterations: 1 }), listener().context);
    const open = diskIo.open.bind(diskIo);
    const failing = [
      'evaluation.json',
      '00001.jsonl',
      'flagged.jsonl',
      'pairs.jsonl',
      'sampler.safetensors',
      'step-000001',
      '.model.',
    ];
    for (const name of failing) {
      const out = fresh('disk');
      const full = () => Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      const spy = vi.spyOn(diskIo, 'open').mockImplementation(async (path, flags) => {
        const file = await open(path, flags);
        const matches = flags === 'wx' && path.startsWith(out) && path.includes(name);
        return matches ? { ...file, write: () => Promise.reject(full()) } : file;
      });
      const error = await rejection(playSpin(tinySettings(game, out, { iterations: 1 }), listener().context));
      spy.mockRestore();
      expect(error.kind).toBe('failure');
      expect(error.what, name).toContain('ENOSPC');
      expect(error.where, name).toContain(out);
      expect(error.fix, name).toContain('free disk space');
      expect((await readRunLog(out)).at(-1)!.type).toBe('run.failed');
      await resumeRun(out, listener().context);
      expect((await weights(out)).equals(await weights(expected)), name).toBe(true);
    }
  });
});
