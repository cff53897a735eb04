// The preflight of a tiny game: what it finds, that it changes nothing, that it is not repeated; and every check that can be
// broken in a whole game, broken.

import { existsSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  Interrupted,
  type PreflightReport,
  playSpin,
  preflightGame,
  preflightText,
  type RecipeContext,
  resumeRun,
  type SpinInput,
  type SpinSettings,
} from '../../src/recipes/index.ts';
import { endsOf, prefixOf } from '../../src/recipes/preflight/preflight.ts';
import { readRunLog } from '../../src/report/index.ts';
import { failure } from '../../src/util/index.ts';
import { type Disguise, disguised } from './disguised.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings } from './tiny-game.ts';

let home: string;
let game: TinyGame;
let count = 0;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-preflight-'));
  game = await makeTinyGame(home, 20, 1);
});
afterAll(() => rm(home, { recursive: true, force: true }));

const fresh = () => join(home, `out-${count++}`);
const settings = (changes: Partial<SpinInput> = {}, out = fresh()) =>
  tinySettings(game, out, { preflight: true, iterations: 1, ...changes });
const inDisguise = (disguise: Disguise, signal?: AbortSignal): RecipeContext => ({
  ...listener(undefined, signal).context,
  openEngine: async () => ({ engine: await disguised(disguise), choice: { reasons: [] } }),
});
/** Two steps. */
const SHORT = { limit: 24, dev_size: 0 };
let playedOnce: Promise<SpinSettings> | undefined;
/** A short game without a preflight, played once for all tests. */
const played = () => {
  const given = settings({ ...SHORT, preflight: false });
  playedOnce ??= playSpin(given, listener().context).then(() => given);
  return playedOnce;
};
const resultsOf = ({ checks }: PreflightReport) => Object.fromEntries(checks.map(({ name, result }) => [name, result]));
const reportIn = async (run: string) =>
  JSON.parse(await readFile(join(run, 'preflight.json'), 'utf8')) as PreflightReport;
const weights = (run: string) => readFile(join(run, 'iteration-0/model/model.safetensors'));
const failed = (report: PreflightReport) => report.checks.filter(({ result }) => result === 'failure');

describe('the preflight of a sound game', () => {
  it('looks at everything, writes nothing, and shows what is trained on', async () => {
    const given = settings();
    const report = await preflightGame(given, listener().context);
    expect(existsSync(given.out!)).toBe(false);
    expect(resultsOf(report)).toMatchObject({
      start: 'ok',
      margins: 'ok',
      ends: 'ok',
      prefix: 'ok',
      players: 'ok',
      // Six rows see nothing.
      detectable: 'warning',
      memory: 'ok',
      disk: 'ok',
    });
    expect(Object.keys(resultsOf(report)).sort()).toEqual(
      [
        'start',
        'margins',
        'ends',
        'prefix',
        'players',
        'foreign',
        'identical',
        'truncated',
        'signal',
        'detectable',
        'memory',
        'disk',
      ].sort(),
    );
    const figures = Object.fromEntries(report.checks.map((check) => [check.name, check.figures]));
    expect(figures['start']!['loss']).toBeCloseTo(Math.LN2, 4);
    // 36 train, 6 dev and 6 test rows; of 32 drawn pairs the human answers and the samples.
    expect(figures['ends']).toMatchObject({ rows: 36 + 6 + 6 + 2 * 32, wrong: 0 });
    expect(figures['identical']!['answers']).toBe(32);
    expect(figures['signal']!['pairs']).toBe(2 * Math.floor(figures['identical']!['kept']! / 2));
    for (const name of ['cosine', 'sft', 'swapped']) {
      expect(Math.abs(figures['signal']![name]!)).toBeLessThanOrEqual(1);
    }

    expect(report.masks).toHaveLength(3);
    for (const { pieces } of report.masks) {
      expect(pieces.map(({ part }) => part)).toContain('response');
      expect(pieces[0]!.text).toMatch(/^<\|user\|>\d\+\d<\|end\|><\|assistant\|>$/);
      expect(pieces[2]).toEqual({ part: 'end', text: '<|end|>' });
    }
    const { estimate } = report;
    const { evaluate, iterations, seconds } = estimate!;
    const [only] = iterations;
    expect(seconds).toBeCloseTo(evaluate + only!.generate + only!.reference + only!.train + only!.evaluate, 9);

    const plain = preflightText(report);
    expect(plain).toMatch(/<\|user\|>\d\+\d<\|end\|><\|assistant\|>\[\[[^\]]+\]\]/);
    expect(plain).toContain('[[END <|end|>]]');
    expect(plain).toMatch(/^detectable +WARNING +6 test rows/m);
    expect(plain).toMatch(/^ +to change: smaller gains/m);
    expect(plain).toMatch(/^iteration 1 of 1 /m);
  });

  it.each<[string, Partial<SpinInput>, number | null]>([
    // 1 / (4 · 0.5²): iterations have a β each.
    ['IPO at iteration 1', { loss: 'ipo', beta: [0.1, 0.5], start_iteration: 1, replay: false }, 1],
    ['SimPO, which has no reference', { loss: 'simpo' }, null],
  ])('knows ℓ(0) of %s', async (_, changes, start) => {
    const report = await preflightGame(settings({ limit: 12, ...changes }), listener().context);
    const { result, figures } = report.checks.find(({ name }) => name === 'start')!;
    expect(result).toBe('ok');
    if (start === null) expect(figures).not.toHaveProperty('expected');
    else expect([figures['expected'], figures['loss']]).toEqual([start, expect.closeTo(start, 3)]);
  });

  it('with an adapter, whose first gradient is that of B alone', async () => {
    const report = await preflightGame(settings({ limit: 12, lora_rank: 2, lora_dropout: 0.5 }), listener().context);
    expect(resultsOf(report)).toMatchObject({ start: 'ok', margins: 'ok', memory: 'ok' });
    const players = report.checks.find(({ name }) => name === 'players')!;
    expect(players.found).toContain('with a new adapter');
    expect(report.checks.find(({ name }) => name === 'signal')!.figures).toHaveProperty('cosine');
  });
});

describe('in a run', () => {
  it('changes nothing of the game, is kept, is not repeated by a resume, and its estimate is compared', async () => {
    const without = await played();
    expect(existsSync(join(without.out!, 'preflight.json'))).toBe(false);

    const given = settings(SHORT);
    const stop = new AbortController();
    const heard = listener((event) => {
      if (event.type === 'train.step') stop.abort();
    }, stop.signal);
    await expect(playSpin(given, heard.context)).rejects.toThrow(Interrupted);
    expect(heard.said.join('\n')).toMatch(
      /Preflight: \d+ of 11 checks are fine \(preflight\.json\), in .*\. The game should take about /,
    );
    // 24 pairs of one epoch: 16 pairs of the test cost more than a tenth of that.
    expect(heard.said.filter((sentence) => sentence.includes('signal test'))).toEqual([
      expect.stringMatching(/^The signal test is left out: .* `selfplay preflight` with the same settings makes it\.$/),
    ]);
    const { checks } = await reportIn(given.out!);
    expect(checks.map(({ name }) => name)).not.toContain('signal');
    for (const name of ['start', 'margins'])
      expect(checks).toContainEqual(expect.objectContaining({ name, result: 'ok' }));
    expect(checks.find(({ name }) => name === 'identical')!.figures['answers']).toBe(8);
    expect(heard.said.join('\n')).toMatch(/^Warning: preflight: detectable: 6 test rows .*; to change: smaller gains/m);
    const kept = await readFile(join(given.out!, 'preflight.json'), 'utf8');
    const resumed = listener();
    await resumeRun(given.out!, resumed.context);
    expect(await readFile(join(given.out!, 'preflight.json'), 'utf8')).toBe(kept);
    expect((await weights(given.out!)).equals(await weights(without.out!))).toBe(true);

    const events = await readRunLog(given.out!);
    expect(events.filter(({ type }) => type === 'preflight')).toHaveLength(1);
    const compared = events.filter((event) => event.type === 'estimate.compared');
    expect(compared).toHaveLength(1);
    expect(compared[0]).toMatchObject({ estimated: expect.any(Number), took: expect.any(Number) });
    expect(resumed.said.join('\n')).toMatch(/The preflight estimated .* for what was played; it took /);
    // Once more, there is nothing left to play and to say.
    await resumeRun(given.out!, listener().context);
    expect((await readRunLog(given.out!)).filter(({ type }) => type === 'estimate.compared')).toHaveLength(1);
  });

  it('that is large has the signal test, with as many pairs every time', async () => {
    const inRun = async () => {
      const stop = new AbortController();
      const heard = listener((event) => {
        if (event.type === 'preflight') stop.abort();
      }, stop.signal);
      const given = settings({ num_train_epochs: 24 });
      await expect(playSpin(given, heard.context)).rejects.toThrow(Interrupted);
      expect(heard.said.join('\n')).not.toContain('signal test');
      return reportIn(given.out!);
    };
    const [one, another] = [await inRun(), await inRun()];
    expect(one.leftOut).toBeNull();
    const { figures } = one.checks.find(({ name }) => name === 'signal')!;
    // 36 pairs, which learn 24 times: a tenth of that has room for more than 16 of them and not for all.
    expect(figures['pairs']).toBeGreaterThan(8);
    expect(figures['pairs']).toBeLessThan(36);
    expect(another.checks.find(({ name }) => name === 'signal')!.figures).toEqual(figures);
  });

  it('that fails ends the run before it costs anything, and leaves nothing behind; without it the run begins', async () => {
    const checker = join(home, 'anything.mjs');
    await writeFile(checker, 'export default () => true;\n');
    const given = settings({ checker, max_new_tokens: 12 });
    const work = playSpin(given, listener().context);
    await expect(work).rejects.toMatchObject({ kind: 'failure', fix: expect.stringContaining('--no-preflight') });
    await expect(work).rejects.toThrow(/identical: .*0 pairs are left to learn from\n {4}fix: no pair is left/);
    expect(existsSync(given.out!)).toBe(false);
  });
});

describe('what is broken on purpose', () => {
  it('a policy that does not compute as its opponent did: margins and loss', async () => {
    const report = await preflightGame(settings({ limit: 12, beta: 1 }), inDisguise({ rough: true }));
    expect(resultsOf(report)['margins']).toBe('failure');
    expect(resultsOf(report)['start']).toBe('failure');
    // In reduced precision the same micro-batches give the same numbers, whatever their rounding.
    const low = await preflightGame(
      settings({ limit: 12, beta: 1 }),
      inDisguise({ rough: true, info: { dtype: 'bf16' } }),
    );
    expect(resultsOf(low)).toMatchObject({ margins: 'ok', start: 'ok' });
  });

  it('too little memory: smaller micro-batches, or not even the longest pair', async () => {
    const most = (tokens: number): Disguise => ({
      beforeTraining: (now) => {
        if (now > tokens) throw failure({ what: `no room for ${now} tokens`, code: 'out-of-memory' });
      },
    });
    const some = await preflightGame(settings(), inDisguise(most(60)));
    const memory = some.checks.find(({ name }) => name === 'memory')!;
    expect(memory).toMatchObject({ result: 'warning', fix: expect.stringContaining('--micro-batch-tokens') });
    expect(memory.figures['fit']).toBeLessThanOrEqual(60);

    const none = await preflightGame(settings(), inDisguise(most(3)));
    expect(none.checks.find(({ name }) => name === 'memory')).toMatchObject({
      result: 'failure',
      found: expect.stringContaining('no room for'),
    });
    expect(none.estimate).toBeNull();
    expect(preflightText(none)).toContain('1 failure(s)');
  });

  it('samples that are all the human answer', async () => {
    const pairs = join(home, 'identical.jsonl');
    const rows = game.rows.map(({ question, answer }) => ({ prompt: question, real: answer, generated: answer }));
    await writeFile(pairs, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const report = await preflightGame(settings({ pairs }), listener().context);
    expect(failed(report)).toMatchObject([{ name: 'identical', figures: { share: 1, kept: 0 } }]);
    expect(resultsOf(report)['signal']).toBe('warning');
  });

  it('an answer of the file of pairs with two end tokens', async () => {
    const { out } = await played();
    const [first, ...others] = (await readFile(join(out!, 'iteration-0/pairs.jsonl'), 'utf8')).trimEnd().split('\n');
    const record = JSON.parse(first!) as { responses: { ids: number[]; finish: string }[] };
    const end = 2;
    Object.assign(record.responses[0]!, { ids: [record.responses[0]!.ids[0]!, end, end], finish: 'end' });
    const pairs = join(home, 'two-ends.jsonl');
    await writeFile(pairs, [JSON.stringify(record), ...others].map((line) => `${line}\n`).join(''));
    const report = await preflightGame(settings({ pairs }), listener().context);
    expect(failed(report)).toMatchObject([
      { name: 'ends', figures: { wrong: 1 }, found: expect.stringContaining('has 2') },
    ]);
  });

  it('a template whose prompt is no prefix of prompt and answer', async () => {
    const model = fresh();
    await cp(game.model, model, { recursive: true });
    await rm(join(model, 'files.json'));
    const file = join(model, 'tokenizer_config.json');
    const config = JSON.parse(await readFile(file, 'utf8')) as { chat_template: string };
    const chat_template = `${config.chat_template}{% if add_generation_prompt %}{{ '?' }}{% endif %}`;
    await writeFile(file, JSON.stringify({ ...config, chat_template }));
    const work = preflightGame(settings({ model }), listener().context);
    await expect(work).rejects.toMatchObject({ kind: 'usage' });
    await expect(work).rejects.toThrow('the ids of the prompt are not the beginning of the ids of prompt and answer');
  });

  it('ids that the tokenizer does not give', () => {
    const row = {
      id: 'a',
      file: 'f',
      line: 1,
      prompt: [{ role: 'user' as const, content: 'x' }],
      response: 'y',
      promptIds: Int32Array.of(1, 2),
      responseIds: Int32Array.of(5, 9),
    };
    const drawn = [{ file: 'a', line: 1, reasons: [], logProbs: null, record: { id: 'a', responses: [] } }] as never;
    const tokenizer = (prompt: number[], answer: number[], generation = prompt) => ({
      encodePair: () => ({ promptIds: Int32Array.from(prompt), responseIds: Int32Array.from(answer) }),
      encodePrompt: () => Int32Array.from(generation),
    });
    const look = (...given: Parameters<typeof tokenizer>) => prefixOf({ train: [row] }, drawn, tokenizer(...given));
    expect(look([1, 2], [5, 9])).toEqual({ rows: 1, wrong: 0, first: null });
    expect(look([1, 3], [5, 9]).wrong).toBe(1);
    expect(look([1, 2], [5, 8]).wrong).toBe(1);
    expect(look([1, 2], [5, 9], [1, 2, 3]).wrong).toBe(1);

    const ends = (responseIds: number[]) =>
      endsOf({ train: [{ ...row, responseIds: Int32Array.from(responseIds) }], dev: [], test: [] }, [], new Set([9]));
    expect(ends([5, 9])).toEqual({ rows: 1, wrong: 0, first: null });
    expect(ends([5, 9, 9])).toEqual({ rows: 1, wrong: 1, first: 'row a has 2' });
    expect(ends([9, 5]).wrong).toBe(1);
    expect(ends([5]).wrong).toBe(1);
  });

  it('a signal: nothing is left behind', async () => {
    const stop = new AbortController();
    const { context } = listener(undefined, stop.signal);
    const before = await readdir(home);
    const progress: RecipeContext['progress'] = () => ({ advance: () => stop.abort(), done: () => undefined });
    await expect(preflightGame(settings(), { ...context, progress })).rejects.toThrow('stopped as asked');
    expect(await readdir(home)).toEqual(before);
  });
});
