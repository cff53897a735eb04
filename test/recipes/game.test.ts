// A whole game of two iterations with replay: what lies in the run directory, and what a second run of it gives.

import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/checkpoint/index.ts';
import { onnxEngine } from '../../src/engine/index.ts';
import { packGroups, pairGroup } from '../../src/pairs/index.ts';
import {
  generateAnswers,
  generateSchema,
  Interrupted,
  playSpin,
  type RunOutcome,
  resumeRun,
} from '../../src/recipes/index.ts';
import { type FlaggedRecord, type PairRecord, readLogProbs, readPairs } from '../../src/recipes/run/records.ts';
import { type RunEvent, readResults, readRunLog } from '../../src/report/index.ts';
import { gradientName, trainGraph, trainInputs } from '../../src/training/index.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings } from './tiny-game.ts';

const BETA = 0.5;
let home: string;
let game: TinyGame;
let run: string;
let outcome: RunOutcome;
let said: string[];

const json = async (...path: string[]) => JSON.parse(await readFile(join(...path), 'utf8')) as Record<string, unknown>;
const weights = (directory: string, t: number) => readFile(join(directory, `iteration-${t}/model/model.safetensors`));
const recordsOf = async (directory: string, t: number) =>
  (await readFile(join(directory, `iteration-${t}/pairs.jsonl`), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as PairRecord);
const flaggedOf = async (directory: string, t: number) =>
  (await readFile(join(directory, `iteration-${t}/flagged.jsonl`), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as FlaggedRecord);
const numberOf = (text: string) => text.match(/\d+/g)?.at(-1);
const stepsOf = (events: readonly RunEvent[], t: number | null) =>
  events.flatMap((event) => (event.type === 'train.step' && event.iteration === t ? [event] : []));

/** Two passes over all pairs in one batch: the first step of an iteration sees every pair at rate 0. */
const settings = (name: string, changes = {}) =>
  tinySettings(game, join(home, name), { beta: BETA, batch_size: 100, num_train_epochs: 2, ...changes });

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-game-'));
  game = await makeTinyGame(home);
  run = join(home, 'run');
  const heard = listener();
  outcome = await playSpin(settings('run'), heard.context);
  said = heard.said;
});
afterAll(() => rm(home, { recursive: true, force: true }));

describe('the run directory', () => {
  it('holds what others rely on, and no leftovers', async () => {
    for (const t of [0, 1]) {
      for (const name of [
        'pairs.jsonl',
        'flagged.jsonl',
        'model/config.json',
        'model/model.safetensors',
        'model/tokenizer.json',
      ]) {
        expect(existsSync(join(run, `iteration-${t}`, name)), name).toBe(true);
      }
      for (const name of ['samples', 'checkpoints']) {
        expect(existsSync(join(run, `iteration-${t}`, name)), name).toBe(false);
      }
    }
    const manifest = await json(run, 'manifest.json');
    expect(manifest).toMatchObject({ v: 1, command: 'run', settings: { beta: BETA, iterations: 2, seed: 0 } });
    expect(manifest['engine']).toMatchObject({ threads: 1, dtype: 'f32' });
    expect(manifest['hashes']).toMatchObject({ data: expect.stringMatching(/^[0-9a-f]{64}$/), eval_data: null });
    expect((await weights(run, 0)).equals(await weights(run, 1))).toBe(false);
  });

  it('tabulates the SFT model and each iteration, each with its difference from the row above', async () => {
    const results = await readResults(join(run, 'results.json'));
    expect(results).toEqual(outcome.results);
    expect(results.rows.map(({ label }) => label)).toEqual(['SFT model', 'iteration 0', 'iteration 1']);
    expect(results.rows.map(({ model }) => model)).toEqual([game.model, 'iteration-0/model', 'iteration-1/model']);
    for (const [i, row] of results.rows.entries()) {
      expect(row.items).toHaveLength(6);
      for (const name of ['exact-match', 'number', 'number (T=1)', 'nats/token']) {
        expect(row.metrics[name]!.n).toBe(6);
        expect(row.metrics[name]!.difference === undefined, `${row.label} ${name}`).toBe(i === 0);
      }
      expect(row.metrics['real-vs-generated'] === undefined).toBe(i === 0);
    }
    const [sft, first] = results.rows;
    expect(first!.metrics['nats/token']!.difference).toBeCloseTo(
      first!.metrics['nats/token']!.mean - sft!.metrics['nats/token']!.mean,
      10,
    );
    expect(results.rows.map(({ label }) => label)).toContain(outcome.best.label);
    expect(existsSync(join(outcome.best.model, 'config.json'))).toBe(true);
  });

  it('keeps every prompt with its two responses, and why a pair was left out', async () => {
    for (const t of [0, 1]) {
      const records = await recordsOf(run, t);
      expect(records).toHaveLength(36);
      expect(new Set(records.map(({ id }) => id)).size).toBe(36);
      let cut = 0;
      for (const { v, promptIds, responses, excluded } of records) {
        const [real, generated] = responses;
        expect(v).toBe(1);
        expect(promptIds.length).toBeGreaterThan(0);
        expect([real.role, real.iteration, real.sample]).toEqual(['real', null, 0]);
        expect([generated.role, generated.iteration, generated.sample]).toEqual(['generated', t, 0]);
        expect(generated.finish === 'length').toBe(generated.ids.at(-1) !== 2);
        if (generated.finish === 'length') {
          cut++;
          expect(generated.ids).toHaveLength(6);
          expect(real.ids.length).toBeLessThanOrEqual(6);
        } else expect(real.finish).toBe('end');
        expect(real.finish === 'end').toBe(real.ids.at(-1) === 2);
        expect(excluded).toBe(JSON.stringify(real.ids) === JSON.stringify(generated.ids) ? 'identical' : null);
      }
      expect(cut, 'some samples were cut').toBeGreaterThan(0);
      expect(
        records.some(({ excluded }) => excluded === 'identical'),
        'some were identical',
      ).toBe(true);
      const left = records.filter(({ excluded }) => excluded === 'identical').length;
      expect(said.join('\n')).toContain(`${cut} cut at 6; left out: ${left} identical`);
    }
  });

  it('lists every pair with a reason to leave it out, and counts them', async () => {
    const events = await readRunLog(run);
    const lines = (await readFile(game.data, 'utf8')).trimEnd().split('\n');
    for (const t of [0, 1]) {
      const records = await recordsOf(run, t);
      const flagged = await flaggedOf(run, t);
      const noted = records.filter(({ excluded, responses }) => excluded !== null || responses[1].finish === 'length');
      expect(flagged.map(({ id }) => id)).toEqual(noted.map(({ id }) => id));
      for (const [i, { responses, excluded }] of noted.entries()) {
        const [real, generated] = responses;
        const cut = generated.finish === 'length' ? (['truncated'] as const) : [];
        expect(flagged[i]).toMatchObject({
          v: 1,
          reasons: excluded === null ? cut : [excluded, ...cut],
          action: excluded === null ? 'kept' : 'dropped',
          humanTokens: real.ids.length,
          generatedTokens: generated.ids.length,
        });
        expect(flagged[i]!.file).toBe(game.data);
        expect(JSON.parse(lines[flagged[i]!.line - 1]!).question).toBe(flagged[i]!.prompt[0]!.content);
      }
      const found = events.flatMap((e) => (e.type === 'pairs' && e.iteration === t ? [e] : []));
      expect(found).toHaveLength(1);
      const taking = records.filter(({ excluded }) => excluded === null);
      expect(found[0]).toMatchObject({
        pairs: 36,
        dropped: { identical: 36 - taking.length },
        kept: { truncated: flagged.filter(({ action }) => action === 'kept').length },
        lengths: { n: taking.length },
      });
      const longer = taking.filter(({ responses: [real, generated] }) => real.ids.length > generated.ids.length);
      expect(found[0]!.lengths.humanLonger).toBeCloseTo(longer.length / taking.length, 12);
    }
  });

  it('plays on prompts that are in neither held-out split', async () => {
    const trained = new Set((await recordsOf(run, 0)).map(({ id }) => id));
    const { dev, test } = (await json(run, 'baseline/evaluation.json')) as Record<string, { id: string }[]>;
    const heldOut = [...dev!, ...test!].map(({ id }) => id);
    expect(new Set(heldOut).size).toBe(12);
    expect(heldOut.filter((id) => trained.has(id))).toEqual([]);
  });

  it('logs the stages in order, each once', async () => {
    const stages = (await readRunLog(run)).flatMap((event) =>
      event.type === 'stage.finished' ? [`${event.iteration}/${event.stage}`] : [],
    );
    const iteration = (t: number) => ['generate', 'reference', 'train', 'evaluate'].map((name) => `${t}/${name}`);
    expect(stages).toEqual(['null/evaluate', ...iteration(0), ...iteration(1)]);
  });
});

describe('training', () => {
  it('of iteration 1 uses the pairs of both iterations', async () => {
    const events = await readRunLog(run);
    const counts = events.flatMap((event) =>
      event.type === 'stage.finished' && event.stage === 'reference' ? [event.counts['pairs']] : [],
    );
    const [first, second] = [
      await readPairs(join(run, 'iteration-0/pairs.jsonl')),
      await readPairs(join(run, 'iteration-1/pairs.jsonl')),
    ];
    expect(counts).toEqual([first.length, first.length + second.length]);
  });

  it('starts each iteration at ln 2, replayed pairs included', async () => {
    const events = await readRunLog(run);
    for (const t of [0, 1]) {
      const [first, second] = stepsOf(events, t);
      expect(first!.learning_rate).toBe(0);
      for (const step of [first!, second!]) {
        expect(Math.abs(step.loss - Math.LN2)).toBeLessThan(1e-4);
        expect(Math.abs(step['rewards/margins']!)).toBeLessThan(BETA * 12 * 1e-4);
      }
      expect(second!.learning_rate).toBeGreaterThan(0);
    }
  });

  it('scores every pair, replayed ones too, within 1e-4 a token of its opponent', async () => {
    const files = [0, 1].map((t) => join(run, `iteration-${t}/pairs.jsonl`));
    const pairs = [...(await readPairs(files[1]!)), ...(await readPairs(files[0]!))];
    const sampler = await readLogProbs(join(run, 'iteration-1/logprobs/sampler.safetensors'));
    const folder = (await readdir(join(run, 'iteration-1/logprobs'))).find((name) => !name.includes('.'))!;
    const scored = new Map<string, Float32Array>();
    for (const shard of await readdir(join(run, 'iteration-1/logprobs', folder))) {
      for (const [name, values] of (await readLogProbs(join(run, 'iteration-1/logprobs', folder, shard)))!) {
        scored.set(name, values);
      }
    }
    const engine = await onnxEngine({ threads: 1 });
    const { model } = await loadModel(engine, join(run, 'iteration-0/model'));
    for (const { name, shape } of model.parameters) await engine.createState(gradientName(name), shape);
    const objective = { kind: 'spin', beta: BETA, sftWeight: 0 } as const;
    const program = await engine.compile(trainGraph(model, objective));
    let replayed = 0;
    for (const pair of pairs) {
      const name = `${pair.iteration}/${pair.id}/0`;
      if (pair.iteration === 0) replayed++;
      const generatedReference =
        pair.iteration === 1 ? sampler!.get(`${pair.id}/0`)! : scored.get(`generated/${name}`)!;
      const group = pairGroup({ ...pair, realReference: scored.get(`real/${name}`)!, generatedReference });
      const results = await program.run(trainInputs(packGroups([group]), objective, { pairs: 1, realTokens: 1 }));
      const margin = results['realReward']!.data[0]! - results['generatedReward']!.data[0]!;
      expect(Math.abs(margin)).toBeLessThanOrEqual(BETA * (pair.real.length + pair.generated.length) * 1e-4);
    }
    expect(replayed).toBeGreaterThan(10);
    await engine.dispose();
  });

  it('without replay uses only the fresh pairs', async () => {
    const { context, events } = listener();
    await playSpin(settings('fresh', { replay: false }), context);
    const counts = events.flatMap((e) => (e.type === 'stage.finished' && e.stage === 'reference' ? [e.counts] : []));
    expect(counts[1]!['pairs']).toBe((await readPairs(join(home, 'fresh/iteration-1/pairs.jsonl'))).length);
    expect((await weights(join(home, 'fresh'), 0)).equals(await weights(run, 0))).toBe(true);
    expect((await weights(join(home, 'fresh'), 1)).equals(await weights(run, 1))).toBe(false);
  });

  it('warns when the warm-up leaves nothing to learn with', async () => {
    const { context, said } = listener();
    await playSpin(settings('idle', { iterations: 1, num_train_epochs: 1 }), context);
    expect(said.join('\n')).toContain('Warning: there is only one step');
  });
});

describe('the same again', () => {
  it('with the same seed and settings gives the same weights and scores, bit for bit', async () => {
    await playSpin(settings('again'), listener().context);
    for (const t of [0, 1]) expect((await weights(join(home, 'again'), t)).equals(await weights(run, t))).toBe(true);
    const { rows } = await readResults(join(home, 'again/results.json'));
    expect(rows).toEqual(outcome.results.rows);
  });

  it('with another seed, shard size or memory: another game, the same game, the same answers', async () => {
    await playSpin(settings('seed', { iterations: 1, seed: 1 }), listener().context);
    expect((await weights(join(home, 'seed'), 0)).equals(await weights(run, 0))).toBe(false);
    const { context } = listener();
    await playSpin(settings('shards', { iterations: 1, shard_size: 7, generation_batch_size: 3 }), context);
    const ids = (records: PairRecord[]) => records.map(({ responses }) => responses[1].ids);
    expect(ids(await recordsOf(join(home, 'shards'), 0))).toEqual(ids(await recordsOf(run, 0)));
  });

  it('resuming a finished run returns the same table and changes nothing', async () => {
    const before = await readFile(join(run, 'results.json'), 'utf8');
    const again = await resumeRun(run, listener().context);
    expect(again.results).toEqual(outcome.results);
    expect(again.best).toEqual(outcome.best);
    expect(await readFile(join(run, 'results.json'), 'utf8')).toBe(before);
    const events = await readRunLog(run);
    expect(events.filter(({ type }) => type === 'run.finished')).toHaveLength(1);
    expect(stepsOf(events, 1)).toHaveLength(2);
  });
});

describe('which rows', () => {
  const idsOf = async (name: string, changes: object) => {
    await playSpin(settings(name, { iterations: 1, ...changes }), listener().context);
    return (await recordsOf(join(home, name), 0)).map(({ id }) => id);
  };

  it('--limit takes the first rows of the train split, --sample seeded random ones', async () => {
    const all = (await recordsOf(run, 0)).map(({ id }) => id);
    expect(await idsOf('limit', { limit: 9 })).toEqual(all.slice(0, 9));
    const sample = await idsOf('sample', { sample: 9 });
    expect(sample).toHaveLength(9);
    expect(sample).not.toEqual(all.slice(0, 9));
    expect(all.filter((id) => sample.includes(id))).toEqual(sample);
  });

  it('--eval-data gives the rows of the table, and none of the data are held out for it', async () => {
    const other = join(home, 'other.jsonl');
    const held = [90, 91, 92, 93].map((n) => ({ question: `${n}+1`, answer: `${n + 1}` }));
    await writeFile(other, held.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const ids = await idsOf('outside', { eval_data: other, test_size: undefined });
    expect(ids).toHaveLength(42);
    const { rows } = await readResults(join(home, 'outside/results.json'));
    expect(rows[0]!.items).toHaveLength(4);
    expect(rows[0]!.items.filter(({ id }) => ids.includes(id))).toEqual([]);
  });

  it('the checker leaves out whole samples that it accepts, never one that was cut', async () => {
    // Greedy answers, which depend on the prompt alone; then human answers that differ from them, but not in the number.
    const greedy = join(home, 'greedy.jsonl');
    const { threads, seed } = settings('unused');
    await generateAnswers(
      generateSchema.parse({ model: game.model, data: game.data, out: greedy, max_new_tokens: 6, threads, seed }),
      listener().context,
    );
    const answers = (await readFile(greedy, 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const data = join(home, 'reworded.jsonl');
    const reworded = answers.map(({ prompt, answer }) => ({
      question: prompt[0].content,
      answer: `so ${numberOf(answer) ?? 'none'}`,
    }));
    await writeFile(data, reworded.map((row) => `${JSON.stringify(row)}\n`).join(''));
    await idsOf('checker', { checker: 'number', temperature: 0, data });
    const records = await recordsOf(join(home, 'checker'), 0);
    const whole = records.filter(
      ({ responses: [, { text, finish }] }) => numberOf(text) !== undefined && finish === 'end',
    );
    expect(whole.length).toBeGreaterThan(0);
    expect(records.filter(({ excluded }) => excluded === 'equivalent')).toEqual(whole);
    // With room for one token every sample is cut: "9" against "so 9" is right so far, and no more.
    await idsOf('cut', { checker: 'number', temperature: 0, data, max_new_tokens: 1 });
    const right = (await recordsOf(join(home, 'cut'), 0)).filter(
      ({ responses: [real, generated] }) => numberOf(real.text) === numberOf(generated.text),
    );
    expect(right.length).toBeGreaterThan(0);
    for (const { excluded } of right) expect(excluded).toBeNull();
    // The same by a module of the user's, which is given both answers.
    const module = join(home, 'checker.mjs');
    const last = '(text) => text.match(/\\d+/g)?.at(-1)';
    await writeFile(
      module,
      `const last = ${last};\nexport default ({ answer, response }) => last(answer) !== undefined && last(answer) === last(response)\n`,
    );
    await idsOf('module', { checker: module, temperature: 0, data });
    expect(await recordsOf(join(home, 'module'), 0)).toEqual(records);
    const scored = (await readPairs(join(home, 'checker/iteration-0/pairs.jsonl'))).map(({ id }) => id);
    expect(scored).toEqual(records.filter(({ excluded }) => excluded === null).map(({ id }) => id));
  });
});

describe('rules', () => {
  it('of the user decide what is dropped', async () => {
    await playSpin(settings('rules', { iterations: 1, drop: ['truncated'] }), listener().context);
    const [before, after] = [await recordsOf(run, 0), await recordsOf(join(home, 'rules'), 0)];
    const cut = ({ responses }: PairRecord) => responses[1].finish === 'length';
    expect(after.map(({ excluded }) => excluded)).toEqual(before.map((one) => (cut(one) ? 'truncated' : null)));
    const kept = (await readPairs(join(home, 'rules/iteration-0/pairs.jsonl'))).map(({ id }) => id);
    expect(kept).toEqual(before.filter((one) => !cut(one)).map(({ id }) => id));
    const actions = (await flaggedOf(join(home, 'rules'), 0)).map(({ reasons, action }) => [reasons[0], action]);
    expect(actions).toContainEqual(['identical', 'kept']);
  });

  it('a prompt in several rows is noted by default, and left out but for the first on request', async () => {
    const twice = [...game.rows, ...game.rows.slice(0, 12).map(({ question }) => ({ question, answer: 'none' }))];
    const data = join(home, 'twice.jsonl');
    await writeFile(data, twice.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const changes = { iterations: 1, data, dev_size: 0, test_size: 0 };
    await playSpin(settings('twice', changes), listener().context);
    await playSpin(settings('once', { ...changes, drop: ['duplicate-prompt'] }), listener().context);
    const noted = (await flaggedOf(join(home, 'twice'), 0)).filter(({ reasons }) =>
      reasons.includes('duplicate-prompt'),
    );
    expect(noted.length).toBeGreaterThan(6);
    for (const { line, action } of noted) expect([line > 48, action]).toEqual([true, 'kept']);
    const pairs = await readPairs(join(home, 'once/iteration-0/pairs.jsonl'));
    expect(pairs).toHaveLength(48);
    expect(new Set(pairs.map(({ promptIds }) => promptIds.join()))).toHaveProperty('size', 48);
  });

  it('say when length alone tells the answers apart', async () => {
    const data = join(home, 'wordy.jsonl');
    const wordy = game.rows.map(({ question, answer }) => ({ question, answer: `${answer} and that is all` }));
    await writeFile(data, wordy.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const wordyGame = listener();
    await playSpin(settings('wordy', { iterations: 1, data, max_new_tokens: 30, temperature: 0 }), wordyGame.context);
    expect(wordyGame.said.join('\n')).toMatch(
      /Warning: iteration 0: length alone tells .* the longer one is the human one /,
    );
    expect(said.join('\n')).not.toContain('length alone');
  });
});

describe('contamination', () => {
  const fileOf = async (name: string, questions: readonly string[]) => {
    const file = join(home, name);
    const rows = questions.map((question) => JSON.stringify({ question, answer: 'x' }));
    await writeFile(file, rows.map((row) => `${row}\n`).join(''));
    return file;
  };
  const listOf = async (directory: string) =>
    (await readFile(join(directory, 'contamination.jsonl'), 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);

  it('of a clean game is a sentence, and no file', async () => {
    expect(said.join('\n')).toContain('No train prompt overlaps with one of dev, test.');
    expect(existsSync(join(run, 'contamination.jsonl'))).toBe(false);
    const events = (await readRunLog(run)).filter(({ type }) => type === 'contamination');
    expect(events).toMatchObject([
      { against: 'dev', prompts: 6, overlapping: 0, dropped: false },
      { against: 'test', prompts: 6, overlapping: 0, dropped: false },
    ]);
  });

  it('with a named file is listed and warned of, and the rows are left out on request', async () => {
    const trained = (await recordsOf(run, 0)).map(({ id }) => id);
    const bench = await fileOf('bench.jsonl', ['nothing', ...game.rows.slice(0, 10).map(({ question }) => question)]);
    const kept = listener();
    await playSpin(settings('kept', { iterations: 1, contamination: [bench] }), kept.context);
    const list = await listOf(join(home, 'kept'));
    expect(list.length).toBeGreaterThan(2);
    for (const { id, file, line, against, with: other, words, action } of list) {
      expect(trained).toContain(id);
      expect([file, against, action]).toEqual([game.data, bench, 'kept']);
      expect(other).toMatchObject({ file: bench, line: (line as number) + 1 });
      expect(words).toBe(game.rows[(line as number) - 1]!.question);
    }
    expect(kept.said.join('\n')).toContain(
      `Warning: ${list.length} of the 36 train rows have a prompt that overlaps with one of ${bench}`,
    );
    expect((await recordsOf(join(home, 'kept'), 0)).map(({ id }) => id)).toEqual(trained);

    const dropped = listener();
    const changes = { iterations: 1, contamination: [bench], contaminated: 'drop' };
    await playSpin(settings('dropped', changes), dropped.context);
    const ids = list.map(({ id }) => id);
    expect((await recordsOf(join(home, 'dropped'), 0)).map(({ id }) => id)).toEqual(
      trained.filter((id) => !ids.includes(id)),
    );
    expect(dropped.said.join('\n')).toContain('they are left out.');
    expect(dropped.events.filter(({ type }) => type === 'contamination')).toMatchObject([
      {},
      {},
      { against: bench, prompts: 11, overlapping: list.length, dropped: true },
    ]);
    const before = await readFile(join(home, 'dropped/contamination.jsonl'), 'utf8');
    const resumed = listener();
    await resumeRun(join(home, 'dropped'), resumed.context);
    expect(await readFile(join(home, 'dropped/contamination.jsonl'), 'utf8')).toBe(before);
    // Said again, and logged once.
    expect(resumed.said.join('\n')).toContain('they are left out.');
    const logged = (await readRunLog(join(home, 'dropped'))).filter(({ type }) => type === 'contamination');
    expect(logged).toHaveLength(3);
    // A limit is of rows that are left.
    await playSpin(settings('limited', { ...changes, limit: 30 - list.length }), listener().context);
    expect(await recordsOf(join(home, 'limited'), 0)).toHaveLength(30 - list.length);
  });
});

describe('a signal', () => {
  const stopAt = async (name: string, when: (event: RunEvent) => boolean) => {
    const controller = new AbortController();
    const { context } = listener((event) => when(event) && controller.abort(), controller.signal);
    const error = await playSpin(tinySettings(game, join(home, name)), context).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(Interrupted);
    expect((error as Interrupted).fix).toBe(`selfplay resume ${join(home, name)}`);
    expect((await readRunLog(join(home, name))).at(-1)!.type).toBe('run.interrupted');
  };

  it('in the middle of training leaves a checkpoint, and a resume ends at the same weights and table', async () => {
    const whole = await playSpin(tinySettings(game, join(home, 'whole')), listener().context);
    await stopAt('stopped', (event) => event.type === 'train.step' && event.iteration === 1 && event.step === 2);
    expect(existsSync(join(home, 'stopped/iteration-1/checkpoints/step-000002'))).toBe(true);
    expect(existsSync(join(home, 'stopped/iteration-1/model'))).toBe(false);
    const { context, events } = listener();
    const resumed = await resumeRun(join(home, 'stopped'), context);
    const known = stepsOf(await readRunLog(join(home, 'whole')), 1);
    const figures = (of: readonly RunEvent[]) => stepsOf(of, 1).map(({ step, loss }) => ({ step, loss }));
    expect(figures(events)).toEqual(known.slice(2).map(({ step, loss }) => ({ step, loss })));
    expect(resumed.results.rows).toEqual(whole.results.rows);
    expect((await weights(join(home, 'stopped'), 1)).equals(await weights(join(home, 'whole'), 1))).toBe(true);
    expect(figures(await readRunLog(join(home, 'stopped')))).toEqual(known.map(({ step, loss }) => ({ step, loss })));
  });

  it('between two shards keeps the finished ones', async () => {
    await stopAt('shard', (event) => event.type === 'shard.finished' && event.stage === 'generate');
    const { context, events } = listener();
    await resumeRun(join(home, 'shard'), context);
    const shards = (of: readonly RunEvent[]) =>
      of.flatMap((e) => (e.type === 'shard.finished' && e.iteration === 0 && e.stage === 'generate' ? [e.shard] : []));
    expect(shards(events)).toEqual([1, 2]);
    expect(shards(await readRunLog(join(home, 'shard')))).toEqual([0, 1, 2]);
  });
});
