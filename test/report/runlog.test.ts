// The log over restarts: seq goes on, superseded events disappear for readers, torn and foreign lines.
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type NewEvent, openRunLog, type RunEvent, readRunLog, tailRunLog } from '../../src/report/index.ts';

let dir: string;
let file: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'selfplay-log-'));
  file = join(dir, 'events.jsonl');
});
afterEach(() => rmSync(dir, { recursive: true }));

const at = { iteration: 0, attempt: 0, stage: 'train' } as const;
const outside = { iteration: null, attempt: null, stage: null } as const;

const step = (number: number): NewEvent => ({
  ...at,
  type: 'train.step',
  step: number,
  steps: 9,
  loss: 0.69,
  'rewards/accuracies': 0.5,
  grad_norm: 1,
  learning_rate: 1e-6,
  tokens: 100,
  seconds: 0.5,
});

/** The steps a reader sees, and the other events by type. */
const story = (events: RunEvent[]) => events.map((event) => (event.type === 'train.step' ? event.step : event.type));

async function write(events: NewEvent[]): Promise<void> {
  const log = await openRunLog(dir);
  for (const event of events) await log.emit(event);
  await log.close();
}

describe('openRunLog', () => {
  it('stamps events and tells the listener after the line is written', async () => {
    const heard: RunEvent[] = [];
    const log = await openRunLog(dir, {
      now: () => Date.UTC(2030, 0, 2, 3, 4, 5, 6),
      onEvent: (event) => {
        expect(readFileSync(file, 'utf8')).toContain(`"seq":${event.seq}`);
        heard.push(event);
      },
    });
    const first = await log.emit({ ...outside, type: 'run.started', command: 'run', version: '0.1.0' });
    expect(first).toEqual({
      v: 1,
      seq: 0,
      time: '2030-01-02T03:04:05.006Z',
      ...outside,
      type: 'run.started',
      command: 'run',
      version: '0.1.0',
    });
    expect(log.nextSeq()).toBe(1);
    // Not awaited one by one: the order is that of the calls.
    await Promise.all([1, 2, 3].map((number) => log.emit(step(number))));
    await log.sync();
    await log.close();
    expect(heard.map(({ seq }) => seq)).toEqual([0, 1, 2, 3]);
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual(heard);
    expect(await readRunLog(dir)).toEqual(heard);
  });

  it('goes on with the numbers after a restart', async () => {
    await write([step(1), step(2)]);
    await write([step(3)]);
    expect((await readRunLog(dir)).map(({ seq }) => seq)).toEqual([0, 1, 2]);
  });

  it('cuts off a line that a crash has torn, at every length', async () => {
    await write([step(1), step(2)]);
    const whole = readFileSync(file);
    const secondLine = whole.indexOf(10) + 1;
    for (let length = secondLine; length < whole.length - 1; length += 7) {
      writeFileSync(file, whole.subarray(0, length));
      expect(story(await readRunLog(dir))).toEqual([1]);
      await write([step(7)]);
      const events = await readRunLog(dir);
      expect(story(events)).toEqual([1, 7]);
      expect(events[1]!.seq).toBe(1);
    }
  });

  it('refuses a figure that is not finite, and goes on afterwards', async () => {
    const log = await openRunLog(dir);
    await expect(log.emit({ ...step(1), loss: Number.NaN } as NewEvent)).rejects.toThrow(/loss/);
    await log.emit(step(2));
    await log.close();
    expect((await readRunLog(dir)).map(({ seq }) => seq)).toEqual([0]);
  });

  it('knows every event by its type', async () => {
    // @ts-expect-error: a shard without its number is no event
    const incomplete: NewEvent = { ...at, type: 'shard.finished', seconds: 1, counts: {} };
    await expect(write([incomplete])).rejects.toThrow(/shard/);
    await write([
      { ...outside, type: 'run.started', command: 'run', version: '1' },
      { ...at, type: 'stage.started' },
      {
        ...at,
        stage: 'generate',
        type: 'shard.finished',
        shard: 0,
        shards: 2,
        file: 'iteration-0/samples/00000.jsonl',
        seconds: 1,
        counts: { rows: 64 },
      },
      { ...at, type: 'stage.finished', seconds: 2, counts: { rows: 128 } },
      {
        ...at,
        stage: 'evaluate',
        type: 'evaluation',
        split: 'dev',
        model: 'iteration-0/model',
        metrics: { number: { mean: 0.5, standardError: null, n: 1 } },
      },
      { ...outside, type: 'note', message: 'n' },
      { ...outside, type: 'warning', message: 'w' },
      { ...outside, type: 'run.failed', message: 'm' },
      { ...outside, type: 'run.interrupted', reason: 'SIGINT' },
      { ...outside, type: 'run.finished', seconds: 3 },
    ]);
    expect(await readRunLog(dir)).toHaveLength(10);
  });
});

describe('readRunLog', () => {
  const resumed = (supersedesFrom: number): NewEvent => ({ ...outside, type: 'run.resumed', supersedesFrom });

  it('leaves out what a resume supersedes', async () => {
    // A checkpoint after step 2 (next seq 2); steps 3 and 4 are done again.
    await write([step(1), step(2), step(3), step(4)]);
    await write([resumed(2), step(3), step(4), step(5)]);
    const events = await readRunLog(dir);
    expect(story(events)).toEqual([1, 2, 'run.resumed', 3, 4, 5]);
    expect(events.map(({ seq }) => seq)).toEqual([0, 1, 4, 5, 6, 7]);
    expect(readFileSync(file, 'utf8').trimEnd().split('\n')).toHaveLength(8);
  });

  it('keeps what stays true when the work is done again', async () => {
    const reduced: NewEvent = { ...at, type: 'micro-batch.reduced', step: 2, before: 100, tokens: 50 };
    await write([step(1), reduced, step(2), resumed(1), step(2), resumed(0), step(1)]);
    expect(story(await readRunLog(dir))).toEqual(['micro-batch.reduced', 'run.resumed', 1]);
  });

  it('takes resumes of resumes: a marker can supersede earlier markers', async () => {
    await write([step(1), step(2), step(3)]);
    await write([resumed(2), step(3)]);
    await write([resumed(1), step(2), step(3)]);
    expect(story(await readRunLog(dir))).toEqual([1, 'run.resumed', 2, 3]);
  });

  it('keeps everything when there was nothing to do again', async () => {
    await write([step(1), { ...outside, type: 'run.interrupted', reason: 'SIGTERM' }]);
    await write([resumed(2), step(2)]);
    expect(story(await readRunLog(dir))).toEqual([1, 'run.interrupted', 'run.resumed', 2]);
  });

  it.each([
    ['another schema version', (line: string) => line.replace('"v":1', '"v":2'), /:2/],
    ['an unknown type', (line: string) => line.replace('train.step', 'train.leap'), /type/],
    ['a seq that does not rise', (line: string) => line.replace('"seq":1', '"seq":0'), /seq does not rise/],
    ['no JSON', () => '{"v":', /:2/],
  ])('names the line of %s', async (_, damage, message) => {
    await write([step(1), step(2)]);
    const [first, second] = readFileSync(file, 'utf8').split('\n');
    writeFileSync(file, `${first}\n${damage(second!)}\n`);
    await expect(readRunLog(dir)).rejects.toThrow(message);
    await expect(readRunLog(dir)).rejects.toMatchObject({ where: `${file}:2` });
    await expect(openRunLog(dir)).rejects.toThrow(message);
  });

  it('can be read while a line is being written', async () => {
    await write([step(1)]);
    appendFileSync(file, '{"v":1,"seq":1,"ti');
    expect(story(await readRunLog(dir))).toEqual([1]);
  });
});

describe('the tail of a log', () => {
  it('gives each event once, when its line is whole', async () => {
    const read = tailRunLog(dir);
    expect(read()).toEqual([]);
    await write([step(1), step(2)]);
    expect(story(read())).toEqual([1, 2]);
    const [, second] = readFileSync(file, 'utf8').split('\n');
    appendFileSync(file, second!.slice(0, 20));
    expect(read()).toEqual([]);
    appendFileSync(file, `${second!.slice(20)}\n`);
    expect(story(read())).toEqual([2]);
    expect(read()).toEqual([]);
  });

  it('reads a long log piece by piece, and a line that is longer than a piece', async () => {
    const long: NewEvent = { ...outside, type: 'note', message: 'é'.repeat(2 ** 21) };
    await write([...Array.from({ length: 9000 }, () => step(1)), long, step(2)]);
    const read = tailRunLog(dir);
    const pieces: RunEvent[][] = [];
    for (let piece = read(); piece.length > 0; piece = read()) pieces.push(piece);
    expect(pieces.length).toBeGreaterThan(3);
    expect(pieces.flat().map(({ seq }) => seq)).toEqual(Array.from({ length: 9002 }, (_, i) => i));
    expect(pieces.flat()[9000]).toMatchObject(long);
  });
});
