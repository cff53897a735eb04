// verify-resume at work: it passes a sound resume, finds a broken one, and cleans up.

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { proofText, type SpinInput, verifyResume } from '../../src/recipes/index.ts';
import { listener, makeTinyGame, type TinyGame, tinyDpo, tinySettings } from './tiny-game.ts';

const commandOf = (script: URL) => [process.execPath, '--import', 'tsx', fileURLToPath(script)] as const;
const SOUND = commandOf(new URL('../../src/cli/main.ts', import.meta.url));
const BROKEN = commandOf(new URL('./forgetful.ts', import.meta.url));

let home: string;
let game: TinyGame;
const governed: Partial<SpinInput> = { governor: true, dev_size: 20, test_size: 4, batch_size: 4 };
const temporary = process.env['TMPDIR'];

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-verify-test-'));
  game = await makeTinyGame(home);
  process.env['TMPDIR'] = join(home, 'temporary');
  await mkdir(process.env['TMPDIR']);
});
afterAll(async () => {
  if (temporary === undefined) delete process.env['TMPDIR'];
  else process.env['TMPDIR'] = temporary;
  await rm(home, { recursive: true, force: true });
});

describe('verify-resume', () => {
  const settings = () => tinySettings(game, 'not-used', { ...governed, learning_rate: 1e-3 });
  const left = () => readdirSync(process.env['TMPDIR']!).filter((name) => name.startsWith('selfplay-'));

  it('passes a sound resume as a command, with a checker and a scorer, and leaves nothing behind', async () => {
    const [checker, scorer] = [join(home, 'checker.mjs'), join(home, 'scorer.mjs')];
    await writeFile(checker, 'export default ({ response, answer }) => response.length === answer.length + 100;\n');
    await writeFile(scorer, 'export default ({ answer }) => 1 / (1 + answer.length);\n');
    const config = join(home, 'game.json');
    const { out: _, ...given } = { ...settings(), checker, scorer };
    await writeFile(config, JSON.stringify(given));
    const job = spawn(SOUND[0], [...SOUND.slice(1), 'verify-resume', '--config', config, '--json']);
    let [stdout, stderr] = ['', ''];
    job.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    job.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const status = await new Promise((resolve) => job.on('close', resolve));
    expect(status, stderr).toBe(0);
    expect(stderr).toMatch(/ train and 20 dev rows with 6 new tokens, .*: about .* s, and up to /);
    const proof = JSON.parse(stdout);
    expect(proof).toMatchObject({ equal: true, missed: [], first: null, directory: null });
    const kills = proof.stages.map(({ stage, kills, equal }: Record<string, unknown>) => [stage, kills, equal]);
    expect(kills.length).toBeGreaterThanOrEqual(9 + 1);
    for (const [stage, count, equal] of kills) {
      expect(equal, stage).toBe(true);
      if (!String(stage).endsWith('table, lock, settings')) expect(count, stage).toBeGreaterThan(0);
    }
    expect(left()).toEqual([]);
  }, 300_000);

  it('proves the controls of a game, and training on labelled pairs', async () => {
    const { context } = listener();
    const stagesOf = async (given: Parameters<typeof verifyResume>[0]) => {
      const proof = await verifyResume(given, { command: SOUND, keep: false }, context);
      expect(proof).toMatchObject({ equal: true, missed: [], first: null });
      return proof.stages.filter(({ kills }) => kills > 0).map(({ stage }) => stage);
    };
    const controlled = {
      ...settings(),
      governor: false,
      baselines: ['sft-reweighted' as const, 'sft-temperature' as const],
    };
    const stages = await stagesOf({ recipe: 'run', settings: controlled });
    expect(stages).toEqual(
      expect.arrayContaining([
        'baseline sft-temperature: evaluate',
        'baseline sft-reweighted: train',
        'baseline sft-reweighted: evaluate',
      ]),
    );
    expect(await stagesOf({ recipe: 'dpo', settings: tinyDpo(game, 'not-used') })).toEqual([
      'given model: evaluate',
      ...['reference', 'train', 'evaluate'].map((stage) => `iteration 0: ${stage}`),
    ]);
    expect(left()).toEqual([]);
  }, 1_200_000);

  it('finds a resume that forgets the moments: the training is the first that is not equal, and the games are kept', async () => {
    const { context, said } = listener();
    // A governor could roll the broken training back, and the next attempt would log its stages a second time.
    const ungoverned = { ...settings(), governor: false };
    const proof = await verifyResume(
      { recipe: 'run', settings: ungoverned },
      { command: BROKEN, keep: false },
      context,
    );
    expect(proof.equal).toBe(false);
    const stages = new Map(proof.stages.map(({ stage, equal }) => [stage, equal]));
    for (const stage of ['given model: evaluate', 'iteration 0: generate', 'iteration 0: reference']) {
      expect(stages.get(stage), stage).toBe(true);
    }
    expect(stages.get('iteration 0: train')).toBe(false);
    // A step that is logged, or only the weights, where the last step of all went wrong.
    expect(proof.first!.part).toBe('iteration 0: train');
    const { file, deviation } = proof.first!;
    expect(`${file}, ${deviation!.where}`).toMatch(
      /events.jsonl, train.step \d+, |model.safetensors, .*, element \d+$/,
    );
    expect(proofText(proof)).toContain(`The first that is not equal: ${file}, ${deviation!.where}`);
    expect(left()).toEqual([proof.directory!.split('/').at(-1)]);
    expect(existsSync(join(proof.directory!, 'game-undisturbed/results.json'))).toBe(true);
    expect(said.join('\n')).toContain('one undisturbed and one that is killed');
    await rm(proof.directory!, { recursive: true });
  }, 300_000);

  it('stops at once when asked, kills what it has started and leaves nothing behind', async () => {
    const controller = new AbortController();
    const { context } = listener(undefined, controller.signal);
    const children = () =>
      readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
    const before = process.platform === 'linux' ? children() : [];
    const progress = (label: string, total: number, unit: string) => {
      if (label.includes('undisturbed')) setTimeout(() => controller.abort(), 50);
      return context.progress(label, total, unit);
    };
    const work = verifyResume(
      { recipe: 'run', settings: settings() },
      { command: SOUND, keep: false },
      { ...context, progress },
    );
    await expect(work).rejects.toThrow('stopped as asked');
    expect(left()).toEqual([]);
    if (process.platform === 'linux') expect(children()).toEqual(before);
  }, 60_000);

  it('says what the game says when it cannot be played, and keeps it', async () => {
    const scorer = join(home, 'bad.mjs');
    await writeFile(scorer, 'export default () => "much";\n');
    const { context, said } = listener();
    const work = verifyResume(
      { recipe: 'run', settings: { ...settings(), scorer } },
      { command: SOUND, keep: false },
      context,
    );
    await expect(work).rejects.toThrow(/^`selfplay run` ended with status \d: error: .*/);
    expect(said.at(-1)).toMatch(/^The games are kept in /);
    for (const name of left()) rmSync(join(process.env['TMPDIR']!, name), { recursive: true });
  }, 60_000);
});
