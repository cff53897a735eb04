// A game in parts: begun at any iteration, with pairs from files, stopped where an iteration has its pairs.

import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readExamples } from '../../src/data/index.ts';
import { Interrupted, playSpin, resumeRun, type SpinInput } from '../../src/recipes/index.ts';
import { type FlaggedRecord, type PairRecord, readLogProbs } from '../../src/recipes/run/records.ts';
import { type RunEvent, readResults, readRunLog } from '../../src/report/index.ts';
import { loadTokenizer } from '../../src/tokens/index.ts';
import { SelfplayError } from '../../src/util/index.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings } from './tiny-game.ts';

let home: string;
let game: TinyGame;
/** Two iterations in one go. */
let whole: string;
let count = 0;

const fresh = (name: string) => join(home, `${name}-${count++}`);
const bytes = (...path: string[]) => readFile(join(...path));
const weights = (run: string, t: number) => bytes(run, `iteration-${t}/model/model.safetensors`);
const pairsOf = (run: string, t: number) => join(run, `iteration-${t}/pairs.jsonl`);
const recordsOf = async (file: string) =>
  (await readFile(file, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as PairRecord);
const flaggedOf = async (run: string, t: number) =>
  (await readFile(join(run, `iteration-${t}/flagged.jsonl`), 'utf8'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as FlaggedRecord);
const foundOf = (events: readonly RunEvent[]) => events.flatMap((event) => (event.type === 'pairs' ? [event] : []));
const stepsOf = (events: readonly RunEvent[]) =>
  events.flatMap((event) => (event.type === 'train.step' ? [event] : []));
const stagesOf = (events: readonly RunEvent[]) =>
  events.flatMap(({ type, iteration, stage }) => (type === 'stage.finished' ? [`${iteration}/${stage}`] : []));

/** Plays; without `data` where the changes say so. */
async function play(changes: Partial<SpinInput>, signal?: AbortSignal, onEvent?: (event: RunEvent) => void) {
  const heard = listener(onEvent, signal);
  const out = changes.out ?? fresh('out');
  const outcome = await playSpin(tinySettings(game, out, changes), heard.context);
  return { ...heard, out, outcome };
}

/** Settings without data, and so without the splits that are cut from it. */
const alone = { data: undefined, dev_size: 0, test_size: 0, iterations: 1 } as const;

async function file(rows: readonly unknown[], as: 'lines' | 'array' = 'lines'): Promise<string> {
  const path = `${fresh('pairs')}.json`;
  const lines = rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row)));
  await writeFile(path, as === 'lines' ? lines.map((line) => `${line}\n`).join('') : `[\n${lines.join(',\n')}\n]`);
  return path;
}

const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });

/** Rows as the SPIN repository releases them; every answer that was generated is off by one. */
const released = () =>
  game.rows.map(({ question, answer }) => ({
    real: [user(question), assistant(answer)],
    generated: [user(question), assistant(answer.replace(/\d+$/, (n) => String(Number(n) + 1)))],
  }));

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-entry-'));
  game = await makeTinyGame(home);
  whole = (await play({})).out;
});
afterAll(() => rm(home, { recursive: true, force: true }));

describe('--start-iteration', () => {
  it('goes on with the model and pairs of another machine, bit for bit as the undivided game', async () => {
    const first = await play({ iterations: 1 });
    const moved = fresh('moved');
    await cp(join(first.out, 'iteration-0'), moved, { recursive: true });
    const entry = { start_iteration: 1, iterations: 1, replay_pairs: join(moved, 'pairs.jsonl') };
    const second = await play({ ...entry, model: join(moved, 'model') });
    expect((await weights(first.out, 0)).equals(await weights(whole, 0))).toBe(true);
    for (const name of ['pairs.jsonl', 'logprobs/sampler.safetensors', 'model/model.safetensors']) {
      const path = `iteration-1/${name}`;
      expect((await bytes(second.out, path)).equals(await bytes(whole, path)), name).toBe(true);
    }
    const figures = (events: readonly RunEvent[]) => stepsOf(events).map(({ step, loss }) => ({ step, loss }));
    const undivided = (await readRunLog(whole)).filter(({ iteration }) => iteration === 1);
    expect(figures(second.events)).toEqual(figures(undivided));
    expect(stagesOf(second.events)).toEqual(['0/prepare', 'null/evaluate', ...stagesOf(undivided)]);
    const rows = async (run: string) => (await readResults(join(run, 'results.json'))).rows;
    const [, before, after] = await rows(whole);
    const [given, played] = await rows(second.out);
    expect([given!.label, played!.label, played!.model]).toEqual(['given model', 'iteration 1', 'iteration-1/model']);
    expect(played!.items).toEqual(after!.items);
    expect(given!.metrics['nats/token']!.mean).toBe(before!.metrics['nats/token']!.mean);
    expect(existsSync(join(second.out, 'iteration-0/model'))).toBe(false);
  });

  it('without replay needs no pairs, and plays iterations t, t+1, …', async () => {
    const { events, outcome } = await play({ start_iteration: 3, iterations: 2, replay: false });
    expect(new Set(stepsOf(events).map(({ iteration }) => iteration))).toEqual(new Set([3, 4]));
    expect(outcome.results.rows.map(({ label }) => label)).toEqual(['given model', 'iteration 3', 'iteration 4']);
  });
});

describe('a window over two earlier iterations', () => {
  it('is entered with a file for each, bit for bit as the undivided game', async () => {
    const window = { replay: 2, replay_weights: [0.5, 0.25], num_train_epochs: 1 };
    const { out } = await play({ ...window, iterations: 3 });
    const entry = { start_iteration: 2, iterations: 1, replay_pairs: [pairsOf(out, 1), pairsOf(out, 0)] };
    const later = { ...window, ...entry, model: join(out, 'iteration-1/model') };
    const last = await play(later);
    expect((await weights(last.out, 2)).equals(await weights(out, 2))).toBe(true);
    const stopped = await play({ ...later, stop_after: 'generate' });
    const said = `--pairs ${pairsOf(stopped.out, 2)} --replay-pairs ${pairsOf(stopped.out, 1)} ${pairsOf(stopped.out, 0)}`;
    expect(stopped.said.join('\n')).toContain(said);
  });
});

describe('a loss that looks back to the SFT model', () => {
  it('has its answers from the replayed pairs of iteration 0, bit for bit', async () => {
    const loss = { loss: 't-spin', beta: 1 } as const;
    const { out } = await play(loss);
    const entry = { start_iteration: 1, iterations: 1, replay_pairs: pairsOf(out, 0) };
    const second = await play({ ...loss, ...entry, model: join(out, 'iteration-0/model') });
    expect((await weights(second.out, 1)).equals(await weights(out, 1))).toBe(true);
  });
});

describe('a governed game from pairs', () => {
  it('rolls an iteration back to them, and numbers its attempts by the iteration', async () => {
    const pairs = await file(released());
    const governed = { governor: true, dev_size: 20, learning_rate: 0.5, max_attempts: 2 };
    const entry = { start_iteration: 1, iterations: 1, replay: false, pairs };
    const { out, events, outcome } = await play({ ...governed, ...entry });
    expect(stagesOf(events).filter((stage) => stage.endsWith('/generate'))).toEqual([]);
    expect(stepsOf(events).map(({ attempt }) => attempt)).toEqual([0, 0, 0, 0, 1, 1, 1, 1]);
    for (const n of [0, 1]) expect(existsSync(join(out, `rejected/iteration-1-attempt-${n}/model`))).toBe(true);
    expect((await recordsOf(pairsOf(out, 1))).length).toBe(48);
    expect(outcome.best.label).toBe('given model');
  });
});

describe('--stop-after generate', () => {
  it('ends the game with its pairs and says how to go on; a resume ends as the game without a stop', async () => {
    const { out, outcome, said, events } = await play({ stop_after: 'generate' });
    const pairs = pairsOf(out, 0);
    expect(outcome.waiting).toEqual({ iteration: 0, pairs });
    expect(said.join('\n')).toContain(
      `Go on here: selfplay resume ${out}; or train elsewhere, with the same settings: selfplay run --model ${game.model} --start-iteration 0 ` +
        `--pairs ${pairs}`,
    );
    expect(events.at(-1)).toMatchObject({ type: 'run.interrupted', reason: 'stop_after generate' });
    expect(stepsOf(events)).toEqual([]);
    const next = await resumeRun(out, listener().context);
    expect(next.waiting).toEqual({ iteration: 1, pairs: pairsOf(out, 1) });
    const last = await resumeRun(out, listener().context);
    expect(last.waiting).toBeUndefined();
    for (const t of [0, 1]) expect((await weights(out, t)).equals(await weights(whole, t)), String(t)).toBe(true);
    const { rows } = await readResults(join(out, 'results.json'));
    expect(rows).toEqual((await readResults(join(whole, 'results.json'))).rows);
  });

  it('comes before the attempts: a governed game that is resumed has the same ones', async () => {
    const governed = { governor: true, dev_size: 20, iterations: 1, learning_rate: 0.5, max_attempts: 2 } as const;
    const undivided = await play(governed);
    const { out, outcome } = await play({ ...governed, stop_after: 'generate' });
    expect(outcome.waiting).toBeDefined();
    const last = await resumeRun(out, listener().context);
    expect([last.waiting, last.best.label]).toEqual([undefined, 'SFT model']);
    for (const n of [0, 1]) {
      const rejected = `rejected/iteration-0-attempt-${n}/model/model.safetensors`;
      expect((await bytes(out, rejected)).equals(await bytes(undivided.out, rejected)), rejected).toBe(true);
    }
  });

  it('in a later iteration says which pairs are replayed elsewhere', async () => {
    const given = {
      start_iteration: 1,
      iterations: 1,
      stop_after: 'generate',
      model: join(whole, 'iteration-0/model'),
    };
    const replay_pairs = pairsOf(whole, 0);
    const { out, said } = await play({ ...given, stop_after: 'generate', replay_pairs });
    expect(said.join('\n')).toContain(
      `--start-iteration 1 --pairs ${pairsOf(out, 1)} --replay-pairs ${pairsOf(out, 0)}`,
    );
    expect(await recordsOf(pairsOf(out, 1))).toEqual(await recordsOf(pairsOf(whole, 1)));
  });
});

describe('--pairs', () => {
  it('of a run are trained on as they are, scored under the model, without data and without generating', async () => {
    const pairs = pairsOf(whole, 0);
    const { out, events, said, outcome } = await play({ ...alone, pairs });
    expect(await recordsOf(pairsOf(out, 0))).toEqual(await recordsOf(pairs));
    expect(stagesOf(events)).toEqual(['0/prepare', 'null/evaluate', '0/reference', '0/train', '0/evaluate']);
    expect(Math.abs(stepsOf(events)[0]!.loss - Math.LN2)).toBeLessThan(1e-6);
    const [mine, theirs] = [
      stepsOf(events),
      stepsOf(await readRunLog(whole)).filter(({ iteration }) => iteration === 0),
    ];
    expect(mine).toHaveLength(theirs.length);
    for (const [i, { loss }] of mine.entries()) expect(loss).toBeCloseTo(theirs[i]!.loss, 3);
    expect(said.join('\n')).toContain('There are no held-out rows');
    expect(outcome.results.rows.map(({ metrics }) => metrics)).toEqual([{}, {}]);
    const manifest = JSON.parse(await readFile(join(out, 'manifest.json'), 'utf8'));
    expect(manifest.hashes).toMatchObject({ data: null, pairs: expect.stringMatching(/^[0-9a-f]{64}$/) });
  });

  it('as rows of the SPIN repository, JSON lines, an array or plain texts: the same pairs with our ids', async () => {
    const rows = released();
    const texts = rows.map(({ real, generated }) => ({
      prompt: real[0]!.content,
      real: real[1]!.content,
      generated: generated[1]!.content,
    }));
    const files = [await file(rows), await file(rows, 'array'), await file(texts)];
    const tokenizer = await loadTokenizer(game.model);
    const { examples } = await readExamples(game.data);
    const records: PairRecord[][] = [];
    for (const pairs of files) records.push(await recordsOf(pairsOf((await play({ ...alone, pairs })).out, 0)));
    expect(records[1]).toEqual(records[0]);
    expect(records[2]).toEqual(records[0]);
    expect(records[0]).toHaveLength(48);
    for (const [i, { id, promptIds, responses, excluded }] of records[0]!.entries()) {
      const { id: known, prompt, response } = examples[i]!;
      const human = tokenizer.encodePair({ prompt, response });
      const generated = tokenizer.encodePair({ prompt, response: texts[i]!.generated });
      expect([id, excluded]).toEqual([known, null]);
      expect(promptIds).toEqual([...human.promptIds]);
      expect(responses.map(({ ids }) => ids)).toEqual([[...human.responseIds], [...generated.responseIds]]);
      expect(responses.map(({ finish }) => finish)).toEqual(['end', 'end']);
    }
  });

  it('starts at ln 2, replayed rows included, and has the human likelier at the end', async () => {
    const [pairs, replay_pairs] = [await file(released()), await file(released().slice(0, 20))];
    const { events } = await play({ ...alone, pairs, replay_pairs, start_iteration: 2, num_train_epochs: 6, beta: 1 });
    const steps = stepsOf(events);
    expect(steps[0]).toMatchObject({ iteration: 2, steps: 36 });
    expect(Math.abs(steps[0]!.loss - Math.LN2)).toBeLessThan(1e-6);
    expect(steps.at(-1)!.loss).toBeLessThan(steps[0]!.loss);
  });

  it('leaves out what it would leave out of its own, and skips a few texts that cannot be used', async () => {
    const rows = released();
    const long = '1+'.repeat(40);
    const pairs = await file([
      ...rows.slice(0, 44),
      { prompt: '1+1', real: '2', generated: '2' },
      { prompt: long, real: '2', generated: '3' },
      { prompt: '8+2', real: '10', generated: 'it is 10' },
      { prompt: '8+2', real: '10', generated: ' ' },
      { prompt: '8+2', real: '10', generated: 'it is 11' },
    ]);
    const { out, said, events } = await play({ ...alone, pairs, checker: 'number' });
    const records = await recordsOf(pairsOf(out, 0));
    const reasons = ['identical', 'over-long', 'equivalent', null];
    expect(records.slice(44).map(({ excluded }) => excluded)).toEqual(reasons);
    expect(records.slice(-2).map(({ responses }) => responses[1].sample)).toEqual([0, 1]);
    expect(records.at(-1)!.id).toBe(records.at(-2)!.id);
    expect(said.join('\n')).toContain(
      `${pairs}: 48 pairs of iteration 0; left out: 1 identical to the other answer, 1 equivalent by the checker, ` +
        '1 over-long; kept although noted: none (iteration-0/flagged.jsonl).',
    );
    expect(said.join('\n')).toContain(`skipped ${pairs}:48: the answer is empty`);
    expect(foundOf(events)).toMatchObject([
      { iteration: 0, stage: 'prepare', pairs: 48, dropped: { identical: 1, equivalent: 1, 'over-long': 1 }, kept: {} },
    ]);
    const flagged = await flaggedOf(out, 0);
    expect(flagged.map(({ file, line, action }) => [file, line, action])).toEqual(
      [45, 46, 47].map((line) => [pairs, line, 'dropped']),
    );
    expect(flagged[2]).toMatchObject({ reasons: ['equivalent'], prompt: [user('8+2')] });
    // What does not fit the model cannot be kept; the prompt of the two last rows is the same row's.
    const all = await play({ ...alone, pairs, checker: 'number', drop: [] });
    const kept = await recordsOf(pairsOf(all.out, 0));
    expect(kept.slice(44).map(({ excluded }) => excluded)).toEqual([null, 'over-long', null, null]);
    const few = await play({ ...alone, pairs, limit: 5 });
    expect(await recordsOf(pairsOf(few.out, 0))).toHaveLength(5);
  });

  it('are judged by the settings of this run, as sampled ones are, and it says which ones it takes back in', async () => {
    const checker = `${fresh('checker')}.mjs`;
    await writeFile(checker, 'export default ({ prompt }) => /^[345]/.test(prompt[0].content);\n');
    const asked = await play({ iterations: 1, checker, drop: ['identical', 'equivalent', 'truncated'] });
    const made = await recordsOf(pairsOf(asked.out, 0));
    const reasonsOf = (records: readonly PairRecord[]) => records.map(({ excluded }) => excluded);
    expect(new Set(reasonsOf(made))).toEqual(new Set(['identical', 'equivalent', 'truncated', null]));
    const entered = async (changes: Partial<SpinInput>) => {
      const { out, said } = await play({ ...alone, pairs: pairsOf(asked.out, 0), ...changes });
      const flagged = (await flaggedOf(out, 0)).map(({ file: _, line: __, ...others }) => others);
      return { records: await recordsOf(pairsOf(out, 0)), flagged, said: said.join('\n') };
    };
    const same = await entered({ checker, drop: ['identical', 'equivalent', 'truncated'] });
    expect(same.records).toEqual(made);
    expect(same.flagged).toEqual((await flaggedOf(asked.out, 0)).map(({ file: _, line: __, ...others }) => others));
    expect(same.said).not.toContain('take part here');
    const other = await entered({ drop: ['truncated'] });
    const cut = ({ responses }: PairRecord) => responses[1].finish === 'length';
    expect(reasonsOf(other.records)).toEqual(made.map((record) => (cut(record) ? 'truncated' : null)));
    // A human answer against a cut sample stays cut, and is not taken for a whole one.
    expect(other.records.map(({ responses }) => responses)).toEqual(made.map(({ responses }) => responses));
    expect(made.some((record) => cut(record) && record.responses[0].finish === 'length')).toBe(true);
    const back = made.filter((record) => record.excluded !== null && !cut(record)).length;
    expect(other.said).toContain(`${back} of these pairs were left out where they were made, and take part here`);
  });

  it('have their prompts compared with held-out ones and named files, and are left out on request', async () => {
    const pairs = await file(released());
    const bench = await file([...game.rows.slice(0, 5), { question: 'none', answer: 'x' }]);
    const listed = async (run: string) =>
      (await readFile(join(run, 'iteration-0/contamination.jsonl'), 'utf8'))
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    const kept = await play({ ...alone, pairs, contamination: [bench] });
    expect((await listed(kept.out)).map(({ file, line, action }) => [file, line, action])).toEqual(
      [1, 2, 3, 4, 5].map((line) => [pairs, line, 'kept']),
    );
    const dropped = await play({ ...alone, pairs, contamination: [bench], contaminated: 'drop', limit: 40 });
    expect((await listed(dropped.out)).every(({ action }) => action === 'dropped')).toBe(true);
    const ids = async (run: string) => (await recordsOf(pairsOf(run, 0))).map(({ id }) => id);
    // A limit is of rows that are left.
    expect(await ids(dropped.out)).toEqual((await ids(kept.out)).slice(5, 45));
    const events = dropped.events.filter(({ type }) => type === 'contamination');
    expect(events).toMatchObject([{ iteration: 0, against: bench, prompts: 6, overlapping: 5, dropped: true }]);
  });

  it('has held-out rows from --eval-data, or from data that later iterations play on; says when they are trained on', async () => {
    const pairs = await file(released());
    const eval_data = await file([{ question: '90+1', answer: '91' }, game.rows[0]]);
    const outside = await play({ ...alone, test_size: undefined, pairs, eval_data });
    expect(outside.outcome.results.rows.map(({ items }) => items.length)).toEqual([2, 2]);
    expect(outside.outcome.results.best!.how).toContain('there is no dev split');
    expect(outside.said.join('\n')).toContain(
      `Warning: 1 of the 48 pairs of iteration 0 have a prompt that overlaps with one of test (the first: ${pairs}:1`,
    );
    const inside = await play({ pairs });
    expect(stagesOf(inside.events)).not.toContain('0/generate');
    expect(stagesOf(inside.events)).toContain('1/generate');
    for (const split of ['dev', 'test']) {
      const found = `6 of the 48 pairs of iteration 0 have a prompt that overlaps with one of ${split} `;
      expect(inside.said.join('\n'), split).toContain(found);
    }
    const last = await readLogProbs(join(inside.out, 'iteration-1/logprobs/sampler.safetensors'));
    expect(last!.size).toBe(36);
  });

  it('is resumed bit for bit, and not with other pairs', async () => {
    const pairs = await file(released());
    const settings = { ...alone, pairs, start_iteration: 1, replay_pairs: pairsOf(whole, 0) };
    const undisturbed = await play(settings);
    const controller = new AbortController();
    const out = fresh('stopped');
    const stop = (event: RunEvent) => event.type === 'train.step' && event.step === 2 && controller.abort();
    await expect(play({ ...settings, out }, controller.signal, stop)).rejects.toBeInstanceOf(Interrupted);
    const before = await readFile(pairs);
    await writeFile(pairs, Buffer.concat([before, Buffer.from('\n')]));
    const error = await resumeRun(out, listener().context).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(SelfplayError);
    expect((error as SelfplayError).what).toContain('pairs has changed since the run began');
    expect((error as SelfplayError).where).toBe(`${join(out, 'manifest.json')}:hashes.pairs`);
    await writeFile(pairs, before);
    // As after a crash between the two files of pairs.
    await rm(pairsOf(out, 0));
    await resumeRun(out, listener().context);
    expect((await weights(out, 1)).equals(await weights(undisturbed.out, 1))).toBe(true);
  });

  it('that were not written yet when it was killed are entered again, and stand in the log once', async () => {
    const controller = new AbortController();
    const out = fresh('killed');
    const stop = (event: RunEvent) =>
      event.type === 'stage.started' && event.stage === 'evaluate' && controller.abort();
    const settings = { iterations: 1, pairs: await file(released()), out };
    await expect(play(settings, controller.signal, stop)).rejects.toBeInstanceOf(Interrupted);
    await rm(pairsOf(out, 0));
    await resumeRun(out, listener().context);
    expect(await recordsOf(pairsOf(out, 0))).toHaveLength(48);
    const events = await readRunLog(out);
    expect(foundOf(events)).toHaveLength(1);
    expect(stagesOf(events).filter((stage) => stage === '0/prepare')).toHaveLength(1);
  });
});

describe('pairs that are refused, with nothing left behind', () => {
  /** Plays with these rows after three good ones; the error must name the fourth line. */
  async function refused(row: unknown, changes: Partial<SpinInput> = {}) {
    const pairs = await file([...released().slice(0, 3), row]);
    const out = fresh('refused');
    const error = await play({ ...alone, pairs, out, ...changes }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(SelfplayError);
    expect(existsSync(out)).toBe(false);
    const { what, where, fix, kind } = error as SelfplayError;
    expect(fix).toBeDefined();
    return [kind, where?.replace(pairs, ''), what] as const;
  }

  it.each([
    ['no object', 7, '', 'not a JSON object'],
    ['other columns', { a: 1 }, ':real', 'no such key'],
    ['a text where messages belong', { real: 'x', generated: 'y' }, ':real', 'not a list of messages'],
    ['no answer', { real: [user('q'), assistant('a')], generated: [user('q')] }, ':generated', 'not by the assistant'],
    ['an unknown role', { real: [{ role: 'bot', content: 'q' }], generated: [] }, ':real', 'has the role "bot"'],
    ['no prompt', { real: [assistant('a')], generated: [assistant('b')] }, ':real', 'does not end with a user message'],
    [
      'two prompts',
      { real: [user('q'), assistant('a')], generated: [user('Q'), assistant('a')] },
      ':generated',
      'the prompt is not that of "real"',
    ],
    ['a number for an answer', { prompt: 'q', real: 'a', generated: 3 }, ':generated', 'must be a text'],
  ])('%s', async (_, row, key, what) => {
    const [kind, where, said] = await refused(row);
    expect([kind, where]).toEqual(['usage', `:4${key}`]);
    expect(said).toContain(what);
  });

  it('a line that is not JSON, a file without rows or without usable ones, no file', async () => {
    expect(await refused('{"real":')).toEqual(['failure', ':4', expect.stringContaining('not valid JSON')]);
    const unusable = await refused({ prompt: '', real: 'a', generated: 'b' });
    expect(unusable).toEqual([
      'usage',
      '',
      expect.stringMatching(/^1 of 4 rows cannot be used:\n.*:4: the prompt is e/),
    ]);
    for (const pairs of [await file([]), join(home, 'nowhere.jsonl')]) {
      const error = (await play({ ...alone, pairs }).catch((reason: unknown) => reason)) as SelfplayError;
      expect([error.kind, error.where]).toEqual(['usage', pairs]);
    }
  });

  it('lines of a pairs.jsonl that are damaged, doubled, of another iteration or of another tokenizer', async () => {
    const record = (await recordsOf(pairsOf(whole, 0))).find(({ responses }) => responses[1].finish === 'end')!;
    const [real, generated] = record.responses;
    const changed = (change: object) => ({ ...record, responses: [real, { ...generated, ...change }] });
    const cases: [unknown, string, string][] = [
      [{ ...record, promptIds: [1.5] }, 'promptIds.0', 'int'],
      [{ ...record, prompt: undefined }, 'prompt', 'array'],
      [
        { ...record, promptIds: record.promptIds.slice(1) },
        'promptIds',
        'other ids here: the pairs are of another tokenizer or chat template',
      ],
      [changed({ finish: 'maybe' }), 'responses.1.finish', 'option'],
      [{ ...record, v: 2 }, 'v', 'expected 1'],
      [changed({ iteration: 4 }), 'responses.1.iteration', 'a pair of iteration 4; needed are those of iteration 0'],
      [changed({ ids: [9999, 2] }), 'responses.1.ids', 'no token 9999: the pairs are of another tokenizer'],
      [
        changed({ ids: [...generated.ids, 5] }),
        'responses.1.finish',
        'no end token: the pairs are of another tokenizer',
      ],
      [changed({ ids: [5, 5, 2] }), 'responses.1.text', 'do not give its text: the pairs are of another tokenizer'],
    ];
    for (const [row, key, what] of cases) {
      const [kind, where, said] = await refused(row);
      expect([kind, where], key).toEqual(['usage', `:4:${key}`]);
      expect(said, key).toContain(what);
    }
    const twice = await file([record, record]);
    const error = (await play({ ...alone, pairs: twice }).catch((reason: unknown) => reason)) as SelfplayError;
    expect([error.where, error.what]).toEqual([`${twice}:2:id`, expect.stringContaining('stands in line 1 already')]);
  });

  it('when only the replayed ones are bad, the others are not left behind either', async () => {
    const pairs = await file(released());
    const [, where] = await refused({ a: 1 }, { pairs, start_iteration: 1, replay_pairs: await file([{ a: 1 }]) });
    expect(where).toMatch(/:1:real$/);
  });
});
