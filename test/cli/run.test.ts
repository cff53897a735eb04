import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import {
  type AnsweredPrompt,
  type DpoSettings,
  Interrupted,
  type RecipeContext,
  type ResumeProof,
  type ToVerify,
  type VerifyOptions,
} from '../../src/recipes/index.ts';
import type { RunEvent } from '../../src/report/index.ts';
import { failure } from '../../src/util/index.ts';
import { cli, outcome, results } from './fakes.ts';

const GIVEN = ['--model', 'm', '--data', 'd.jsonl'];
const stamp = { v: 1, seq: 3, time: '2026-01-02T03:04:05.678Z', iteration: null, attempt: null, stage: null } as const;
const warning: RunEvent = { ...stamp, type: 'warning', message: 'the answers look foreign' };

/** A recipe that reports in every way and finishes. */
const talkative = async (_: unknown, context: RecipeContext) => {
  context.say('I play with 2 rows.');
  context.onEvent?.(warning);
  const bar = context.progress('answering', 2, 'rows');
  bar.advance(2);
  bar.done();
  return outcome();
};

const TABLE = '               number\n' + 'SFT model       50.0 (± 50.0)\n' + 'iteration 0 *  100.0 (+50.0 ± 50.0)\n';

describe('selfplay run', () => {
  it('prints the table on stdout, and sentences, progress and what to do next on stderr', async () => {
    const { status, stdout, stderr } = await cli(['run', ...GIVEN], { recipes: { playSpin: talkative } });
    expect(status).toBe(0);
    expect(stdout.startsWith(TABLE)).toBe(true);
    expect(stderr).toMatch(/^I play with 2 rows\.\nanswering: 2 rows in /);
    expect(stderr).toMatch(
      new RegExp(
        '\n\nBest model: iteration 0, in runs/one/iteration-0/model; runs/one/best leads there\n' +
          'Use it:\n' +
          '  selfplay generate --model runs/one/iteration-0/model --data PROMPTS.jsonl\n' +
          '  selfplay eval --model runs/one/iteration-0/model --data HELD_OUT.jsonl\n' +
          'Everything about the run is in runs/one \\(1 min 15 s\\)\n$',
      ),
    );
    expect(stderr).not.toContain('\u001b');
  });

  it('--json prints the outcome and nothing else on stdout', async () => {
    const { stdout } = await cli(['run', ...GIVEN, '--json'], { recipes: { playSpin: talkative } });
    expect(JSON.parse(stdout)).toEqual(outcome());
  });

  it('--quiet leaves the data and warnings', async () => {
    const { stdout, stderr } = await cli(['run', ...GIVEN, '--quiet'], { recipes: { playSpin: talkative } });
    expect(stdout.startsWith(TABLE)).toBe(true);
    expect(stderr).toBe('warning: the answers look foreign\n');
  });

  it('--verbose prints every event as a line of JSON', async () => {
    const { stderr } = await cli(['run', ...GIVEN, '--verbose'], { recipes: { playSpin: talkative } });
    const lines = stderr.split('\n').filter((line) => line.startsWith('{'));
    expect(lines.map((line) => JSON.parse(line))).toEqual([warning]);
  });

  it('--quiet and --verbose exclude each other', async () => {
    const { status, stderr } = await cli(['run', ...GIVEN, '--quiet', '--verbose']);
    expect(status).toBe(2);
    expect(stderr).toContain("'--quiet' cannot be used with option '--verbose'");
  });

  it('a sentence clears the bar that is being drawn', async () => {
    const playSpin = async (_: unknown, context: RecipeContext) => {
      context.progress('answering', 2, 'rows').advance(1);
      context.say('A sentence.');
      return outcome();
    };
    const { stderr } = await cli(['run', ...GIVEN], { tty: true, recipes: { playSpin } });
    expect(stderr).toContain('\r\u001b[KA sentence.\n');
  });

  it('of a game that stopped with its pairs says where they are', async () => {
    const waiting = { iteration: 1, pairs: 'runs/one/iteration-1/pairs.jsonl' };
    const playSpin = async () => ({ ...outcome(), waiting });
    const { status, stderr } = await cli(['run', ...GIVEN], { recipes: { playSpin } });
    expect(status).toBe(0);
    expect(stderr).toContain('\nIteration 1 waits to be trained; its pairs are in runs/one/iteration-1/pairs.jsonl\n');
    expect(stderr).not.toContain('Best model');
    const json = await cli(['run', ...GIVEN, '--json'], { recipes: { playSpin } });
    expect(JSON.parse(json.stdout)).toMatchObject({ waiting });
  });

  it('quotes a path that a shell would cut in pieces', async () => {
    const playSpin = async () => ({ ...outcome(), best: { label: 'iteration 0', model: "it's mine" } });
    const { stderr } = await cli(['run', ...GIVEN], { recipes: { playSpin } });
    expect(stderr).toContain("selfplay eval --model 'it'\\''s mine' --data HELD_OUT.jsonl");
  });
});

describe('the other commands', () => {
  const tuned = () => ({ ...outcome(), results: { ...results(), rows: results().rows.slice(0, 1) } });

  it('sft says how to play with its model', async () => {
    const fineTune = async () => ({ ...tuned(), best: { label: 'SFT model', model: 'runs/sft/model' } });
    const { status, stderr } = await cli(['sft', ...GIVEN], { recipes: { fineTune } });
    expect(status).toBe(0);
    expect(stderr).toContain('Play SPIN with it:\n  selfplay run --model runs/sft/model --data d.jsonl\n');
  });

  it('resume hands over the directory', async () => {
    let seen: string | undefined;
    const resumeRun = async (directory: string) => {
      seen = directory;
      return outcome();
    };
    const { status, stdout } = await cli(['resume', 'runs/one', '--json'], { recipes: { resumeRun } });
    expect(status).toBe(0);
    expect(seen).toBe('runs/one');
    expect(JSON.parse(stdout)).toEqual(outcome());
  });

  it('resume hands over what the run shall go on with, and nothing else', async () => {
    const seen: unknown[] = [];
    const resumeRun = async (_: string, __: RecipeContext, changes: unknown) => {
      seen.push(changes);
      return outcome();
    };
    await cli(['resume', 'runs/one'], { recipes: { resumeRun } });
    await cli(['resume', 'runs/one', '--engine', 'torch', '--device=cuda:1'], { recipes: { resumeRun } });
    expect(seen).toEqual([{}, { engine: 'torch', device: 'cuda:1' }]);
    const { status, stderr } = await cli(['resume', 'runs/one', '--dtype', 'f8']);
    expect(status).toBe(2);
    expect(stderr).toContain('dtype must be one of auto, f32, tf32, bf16, f16, got "f8"');
    expect((await cli(['resume', 'runs/one', '--beta', '1'])).status).toBe(2);
  });

  it('baselines hands over the directory and which ones, all by default', async () => {
    const seen: unknown[] = [];
    const addBaselines = async (directory: string, wanted: unknown) => {
      seen.push([directory, wanted]);
      return outcome();
    };
    expect((await cli(['baselines', 'runs/one'], { recipes: { addBaselines } })).status).toBe(0);
    await cli(['baselines', 'runs/one', '--only', 'sft-steps,sft-reweighted'], { recipes: { addBaselines } });
    expect(seen).toEqual([
      ['runs/one', ['all']],
      ['runs/one', ['sft-steps', 'sft-reweighted']],
    ]);
    expect((await cli(['baselines', 'runs/one', '--only', 'dpo'])).status).toBe(2);
  });

  it('dpo has the losses of the game, without those settings that need an earlier model', async () => {
    let seen: DpoSettings | undefined;
    const trainOnPairs = async (settings: DpoSettings) => {
      seen = settings;
      return outcome();
    };
    const given = ['dpo', '--model', 'm', '--data', 'd.jsonl'];
    expect((await cli([...given, '--loss', 'ipo'], { recipes: { trainOnPairs } })).status).toBe(0);
    expect(seen).toMatchObject({ loss: 'ipo', beta: 0.1, num_train_epochs: 1, learning_rate: 5e-7 });
    const { status, stderr } = await cli([...given, '--loss', 'ipo', '--label-smoothing', '0.1']);
    expect([status, stderr]).toEqual([2, expect.stringContaining('label_smoothing is no parameter of the loss ipo')]);
    expect((await cli([...given, '--reference-alpha', '0.2'])).status).toBe(2);
  });

  it('verify-resume hands over the settings of run, and exits with 1 unless everything is proven to be equal', async () => {
    const seen: unknown[] = [];
    const proof = {
      equal: true,
      stages: [{ stage: 'iteration 0: train', kills: 2, compared: 1, equal: true }],
      missed: [] as string[],
      first: null as ResumeProof['first'],
      directory: null as string | null,
      seconds: 61,
    };
    const verifying = (found: ResumeProof) => async (given: ToVerify, options: VerifyOptions) => {
      seen.push([given.recipe, given.settings.beta, options]);
      return found;
    };
    const verify = (found: ResumeProof, ...more: string[]) =>
      cli(['verify-resume', ...GIVEN, ...more], { recipes: { verifyResume: verifying(found) } });
    const equal = await verify(proof, '--beta', '0.5', '--keep');
    expect([equal.status, equal.stdout]).toEqual([
      0,
      'stage               kills  files\niteration 0: train  2      1      equal\n\n' +
        'After 2 kills everything is the same, bit for bit.\n',
    ]);
    const first = {
      part: 'iteration 0: train',
      file: 'iteration-0/model/model.safetensors',
      deviation: { where: 'w, element 3', a: '1', b: '2' },
    };
    const unequal = { ...proof, equal: false, first, directory: '/tmp/games' };
    const found = await verify(unequal);
    expect(found.status).toBe(1);
    expect(found.stdout).toContain('not equal: iteration-0/model/model.safetensors, w, element 3\n  undisturbed: 1\n');
    expect(found.stderr).toContain('Both games are kept in /tmp/games\n');
    const missed = await verify({ ...proof, missed: ['iteration 1: evaluate'] }, '--json');
    expect([missed.status, JSON.parse(missed.stdout).missed]).toEqual([1, ['iteration 1: evaluate']]);
    const options = (keep: boolean) => ({ command: ['/nowhere/selfplay'], keep });
    expect(seen).toEqual([
      ['run', 0.5, options(true)],
      ['run', 0.1, options(false)],
      ['run', 0.1, options(false)],
    ]);
    // Of labelled pairs the settings of dpo alone: what is run's is refused, and so is its config file.
    await verify(proof, '--recipe', 'dpo', '--beta', '0.5');
    expect(seen.at(-1)).toEqual(['dpo', 0.5, options(false)]);
    const foreign = await verify(proof, '--recipe', 'dpo', '--iterations', '2', '--beta', '0.5,0.1');
    expect(foreign.status).toBe(2);
    expect(foreign.stderr).toMatch(/iterations is no setting of `selfplay dpo` \(it belongs to `selfplay run`\)/);
    expect(foreign.stderr).toMatch(/beta must be .*, got \[0\.5,0\.1\]/);
    const other = await verify(proof, '--recipe', 'sft');
    expect([other.status, other.stderr]).toEqual([2, expect.stringContaining('recipe must be run or dpo, got sft')]);
    expect((await cli(['verify-resume', ...GIVEN, '--beta', '0'])).status).toBe(2);
  });

  it('compare hands over both directories, and prints what was found as text or JSON', async () => {
    const seen: string[][] = [];
    const found = {
      a: '/runs/one',
      b: '/runs/two',
      settings: [{ key: 'beta', a: 0.1, b: 0.5 }],
      lock: [],
      figures: [],
      notes: [],
    };
    const compareRuns = async (...runs: string[]) => {
      seen.push(runs);
      return found;
    };
    const text = await cli(['compare', 'runs/one', 'runs/two'], { recipes: { compareRuns } });
    expect([text.status, text.stderr]).toEqual([0, '']);
    expect(text.stdout).toContain('beta      0.1  0.5\n\nStood on: no difference\n');
    const json = await cli(['compare', 'runs/one', 'runs/two', '--json'], { recipes: { compareRuns } });
    expect(JSON.parse(json.stdout)).toEqual(found);
    expect(seen).toEqual(Array(2).fill(['runs/one', 'runs/two']));
    for (const few of [['compare'], ['compare', 'runs/one'], ['compare', 'a', 'b', 'c']]) {
      expect((await cli(few)).status, few.join(' ')).toBe(2);
    }
  });

  it('compare of what is no run is wrong usage, with the directory', async () => {
    const { compareRuns } = await import('../../src/recipes/index.ts');
    const { status, stderr, stdout } = await cli(['compare', '/nowhere/a', '/nowhere/b'], { recipes: { compareRuns } });
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain('there is no run here\n  where: /nowhere/a/manifest.json\n');
  });

  it('run and sft hand over --lock', async () => {
    const seen: unknown[] = [];
    const keep = async (settings: { readonly lock?: string | undefined }) => {
      seen.push(settings.lock);
      return outcome();
    };
    await cli(['run', ...GIVEN, '--lock', 'one.json'], { recipes: { playSpin: keep } });
    await cli(['sft', ...GIVEN, '--lock', 'two.json'], { recipes: { fineTune: keep } });
    expect(seen).toEqual(['one.json', 'two.json']);
    expect((await cli(['eval', ...GIVEN, '--lock', 'one.json'])).status).toBe(2);
  });

  it('resume without a run is wrong usage', async () => {
    const { status, stderr } = await cli(['resume']);
    expect(status).toBe(2);
    expect(stderr).toContain("error: missing required argument 'run'");
  });

  const answers: AnsweredPrompt[] = [
    { id: 'a', prompt: [{ role: 'user', content: '1+1' }], human: '2', answer: '3', finish: 'end' },
    { id: 'b', prompt: [{ role: 'user', content: '1+2' }], human: '3', answer: 'three', finish: 'length' },
  ];

  it('generate prints the answers as JSON lines and nothing else, with --json and without', async () => {
    const generateAnswers = async () => ({ answers, rows: 2, file: null });
    for (const more of [[], ['--json']]) {
      const { status, stdout } = await cli(['generate', ...GIVEN, ...more], { recipes: { generateAnswers } });
      expect(status).toBe(0);
      expect(stdout).toBe(
        '{"id":"a","prompt":[{"role":"user","content":"1+1"}],"human":"2","answer":"3","finish":"end"}\n' +
          '{"id":"b","prompt":[{"role":"user","content":"1+2"}],"human":"3","answer":"three","finish":"length"}\n',
      );
    }
  });

  it('generate with a file names it', async () => {
    const generateAnswers = async () => ({ answers, rows: 2, file: 'a.jsonl' });
    const { stdout, stderr } = await cli(['generate', ...GIVEN], { recipes: { generateAnswers } });
    expect([stdout, stderr]).toEqual(['', '2 answers are in a.jsonl\n']);
  });

  it('eval prints one row', async () => {
    const evaluateModel = async () => ({ row: results().rows[0]!, file: 'e.json' });
    const { stdout, stderr } = await cli(['eval', ...GIVEN], { recipes: { evaluateModel } });
    expect(stdout).toContain('SFT model  50.0 (± 50.0)\n');
    expect(stderr).toBe('Figures and scores of every row are in e.json\n');
    const json = await cli(['eval', ...GIVEN, '--json'], { recipes: { evaluateModel } });
    expect(JSON.parse(json.stdout)).toEqual({ row: results().rows[0], file: 'e.json' });
  });
});

describe('errors', () => {
  const broken = failure({ what: 'the disk is full', where: 'runs/one', fix: 'make room' });
  const playSpin = () => Promise.reject(broken);

  it('a failure exits with 1, without a stack', async () => {
    const { status, stdout, stderr } = await cli(['run', ...GIVEN], { recipes: { playSpin } });
    expect(status).toBe(1);
    expect(stderr).toBe('error: the disk is full\n  where: runs/one\n  fix: make room\n');
    expect(stdout).toBe('');
  });

  it('shows the stack with --verbose', async () => {
    const { stderr } = await cli(['run', ...GIVEN, '--verbose'], { recipes: { playSpin } });
    expect(stderr).toContain('\n    at ');
  });

  it('is red on a terminal, unless NO_COLOR', async () => {
    const red = await cli(['run', ...GIVEN], { tty: true, recipes: { playSpin } });
    expect(red.stderr).toContain('\u001b[31m');
    const plain = await cli(['run', ...GIVEN], { tty: true, env: { NO_COLOR: '1' }, recipes: { playSpin } });
    expect(plain.stderr.startsWith('error: ')).toBe(true);
  });

  it.each([
    [['runn'], "error: unknown command 'runn'\n(Did you mean run?)\n"],
    [['run', '--modle', 'x'], "error: unknown option '--modle'\n(Did you mean --model?)\n"],
    [['run', '--model'], "error: option '--model <dir>' argument missing\n"],
    [['run', 'extra', ...GIVEN], "error: too many arguments for 'run'"],
  ])('%j is wrong usage', async (argv, message) => {
    const { status, stdout, stderr } = await cli(argv);
    expect(status).toBe(2);
    expect(stderr.slice(0, message.length)).toBe(message);
    expect(stdout).toBe('');
  });

  it('without a command shows the help and exits with 2', async () => {
    const { status, stdout, stderr } = await cli([]);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain('Usage: selfplay');
  });
});

describe('signals', () => {
  /** Waits for the signal and then ends with this error. */
  const until =
    (error: Error) =>
    async (_: unknown, { signal }: RecipeContext) => {
      await new Promise((resolve) => signal!.addEventListener('abort', resolve, { once: true }));
      throw error;
    };

  /** Emits the signals as soon as somebody listens, and runs the command. */
  async function signalled(argv: string[], recipes: Parameters<typeof cli>[1], ...names: string[]) {
    const signals = new EventEmitter();
    const exits: number[] = [];
    signals.on('newListener', (name) => {
      // SIGTERM is the last to be listened for.
      if (name === 'SIGTERM') setTimeout(() => names.map((signal) => signals.emit(signal)), 10);
    });
    const ran = await cli(argv, { ...recipes, signals, exit: (code) => exits.push(code) });
    return { ...ran, exits, listeners: signals.listenerCount('SIGINT') + signals.listenerCount('SIGTERM') };
  }

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ])('%s lets the recipe save, says how to go on and exits with %i', async (name, code) => {
    const recipes = { playSpin: until(new Interrupted('runs/one')) };
    const { status, stderr, exits, listeners } = await signalled(['run', ...GIVEN], { recipes }, name);
    expect(stderr).toBe(
      'finishing the step and saving (Ctrl-C again to stop at once)\n' +
        'stopped as asked; nothing is lost\n  fix: selfplay resume runs/one\n',
    );
    expect([status, exits, listeners]).toEqual([code, [], 0]);
  });

  it('a stop before anything was saved is a stop: of a download', async () => {
    const recipes = { playSpin: until(failure({ what: 'stopped; what was fetched is kept', code: 'stopped' })) };
    const { status, stderr } = await signalled(['run', ...GIVEN], { recipes }, 'SIGINT');
    expect(status).toBe(130);
    expect(stderr).toMatch(/\nstopped; what was fetched is kept\n$/);
  });

  it('the second signal ends the process at once', async () => {
    const recipes = { playSpin: until(new Interrupted('runs/one')) };
    const { exits } = await signalled(['run', ...GIVEN], { recipes }, 'SIGINT', 'SIGTERM');
    expect(exits).toEqual([143]);
  });

  it('a failure while saving stays a failure', async () => {
    const recipes = { playSpin: until(failure({ what: 'the disk is full' })) };
    const { status, stderr } = await signalled(['run', ...GIVEN], { recipes }, 'SIGINT');
    expect(status).toBe(1);
    expect(stderr).toContain('error: the disk is full');
  });

  it('where nothing is saved, whatever ends the command is the stop', async () => {
    const recipes = { evaluateModel: until(failure({ what: 'stopped as asked' })) };
    const { status, stderr } = await signalled(['eval', ...GIVEN], { recipes }, 'SIGINT');
    expect(status).toBe(130);
    expect(stderr).toBe('stopping (Ctrl-C again to stop at once)\nstopped as asked\n');
  });
});
