import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { SpinSettings } from '../../src/recipes/index.ts';
import { cli, outcome } from './fakes.ts';

const root = mkdtempSync(join(tmpdir(), 'selfplay-cli-'));
afterAll(() => rmSync(root, { recursive: true }));
let directories = 0;

/** A directory with these files. */
function directoryWith(files: Record<string, string | Uint8Array>): string {
  const directory = join(root, String(directories++));
  mkdirSync(directory);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
  return directory;
}

/** Runs `selfplay run` beside these files; the settings that reached the recipe. */
async function run(files: Record<string, string | Uint8Array>, ...flags: string[]) {
  let settings: SpinSettings | undefined;
  const ran = await cli(['run', ...flags], {
    directory: directoryWith(files),
    recipes: {
      playSpin: async (given) => {
        settings = given;
        return outcome();
      },
    },
  });
  return { ...ran, settings };
}

const HELP = '  fix: `selfplay run --help` explains every setting\n';

describe('config file', () => {
  it('flags win over the file, the file over defaults', async () => {
    const { settings, status } = await run(
      { 'c.yaml': 'model: m\ndata: d\nbeta: 0.2\nbatch_size: 8\nlearning_rate: 5e-6\n' },
      '--config',
      'c.yaml',
      '--beta',
      '0.3',
    );
    expect(status).toBe(0);
    expect(settings).toMatchObject({ model: 'm', beta: 0.3, batch_size: 8, learning_rate: 5e-6, iterations: 1 });
  });

  it('a bad value in the file does not matter where a flag replaces it', async () => {
    const { settings } = await run({ 'c.yaml': 'model: m\ndata: d\nbeta: -1\n' }, '--config', 'c.yaml', '--beta', '1');
    expect(settings?.beta).toBe(1);
  });

  it('is found by its name, and that is said', async () => {
    const { settings, stderr } = await run({ 'selfplay.config.yaml': 'model: m\ndata: d\nseed: 7\n' });
    expect(settings?.seed).toBe(7);
    expect(stderr).toContain('Settings come from selfplay.config.yaml, where flags do not say otherwise.\n');
  });

  it('JSON with tabs, a $schema and the name of a model as in TRL', async () => {
    const text = '{\n\t"$schema": "x.json",\n\t"model_name_or_path": "m",\n\t"data": "d",\n\t"replay": false\n}\n';
    const { settings, status } = await run({ 'selfplay.config.json': text });
    expect(status).toBe(0);
    expect(settings).toMatchObject({ model: 'm', replay: false });
  });

  it.each([
    ['true', 'true'],
    ['false', 'false'],
    ['auto', 'auto'],
    ['"true"', 'true'],
  ])('gradient_checkpointing: %s is a choice like others', async (written, expected) => {
    const { settings } = await run({
      'selfplay.config.yaml': `model: m\ndata: d\ngradient_checkpointing: ${written}\n`,
    });
    expect(settings?.gradient_checkpointing).toBe(expected);
  });

  it('gradient_checkpointing and max_memory that are none are refused', async () => {
    const bad = 'model: m\ndata: d\ngradient_checkpointing: maybe\nmax_memory: 0\n';
    const { status, stderr } = await run({ 'selfplay.config.yaml': bad });
    expect(status).toBe(2);
    expect(stderr).toContain('selfplay.config.yaml:3:gradient_checkpointing');
    expect(stderr).toContain('must be one of auto, true, false, got "maybe"');
    expect(stderr).toContain('selfplay.config.yaml:4:max_memory');
  });

  it('an empty file and a byte order mark are no problem', async () => {
    expect((await run({ 'c.yaml': '# nothing\n' }, '--config', 'c.yaml', '--model', 'm', '--data', 'd')).status).toBe(
      0,
    );
    expect((await run({ 'c.yaml': '\ufeffmodel: m\ndata: d\n' }, '--config', 'c.yaml')).settings?.model).toBe('m');
  });

  it('reports everything wrong together, flags and file, each with its place', async () => {
    const yaml =
      'model: 3\nlearning_rate: -0.1\n\nbatchsize: 8\nbeta: "0.1"\noptimizer: sgd\nreplay: maybe\nwarmup_ratio: .nan\n' +
      'evaluations: 2\nconstructor: 1\ntop_p: [1]\nbatch_size: 0\n';
    const { status, stdout, stderr } = await run(
      { 'c.yaml': yaml },
      '--config',
      'c.yaml',
      '--limit',
      '1.5',
      '--seed',
      'x',
    );
    expect(stderr).toBe(
      'error: 13 settings need correction\n' +
        '  c.yaml:4:batchsize: unknown key batchsize (did you mean batch_size?)\n' +
        '  c.yaml:9:evaluations: evaluations is no setting of `selfplay run` (it belongs to `selfplay sft`)\n' +
        '  c.yaml:10:constructor: unknown key constructor\n' +
        '  c.yaml:1:model: model must be a text that is not empty, got 3\n' +
        '  --limit: limit must be a whole number of at least 1, got 1.5\n' +
        '  --seed: seed must be a whole number of at least 0, got "x"\n' +
        '  c.yaml:11:top_p: top_p must be a number of more than 0 and at most 1, got [1]\n' +
        '  c.yaml:5:beta: beta must be a number of more than 0, got "0.1"\n' +
        '  c.yaml:7:replay: replay must be true or false, got "maybe"\n' +
        '  c.yaml:2:learning_rate: learning_rate must be a number of more than 0, got -0.1\n' +
        '  c.yaml:12:batch_size: batch_size must be a whole number of at least 1, got 0\n' +
        '  c.yaml:6:optimizer: optimizer must be one of adamw, rmsprop, got "sgd"\n' +
        '  c.yaml:8:warmup_ratio: warmup_ratio must be a number of at least 0 and at most 1, got NaN\n' +
        HELP,
    );
    expect(status).toBe(2);
    expect(stdout).toBe('');
  });

  it('says together what rules between settings find', async () => {
    const neither = await run({ 'c.yaml': 'beta: 0\n' }, '--config', 'c.yaml');
    expect(neither.stderr).toBe(
      'error: 3 settings need correction\n' +
        '  --model: model is missing (add --model: Model directory in Hugging Face layout: config.json, tokenizer.json, weights; or an adapter of PEFT)\n' +
        '  c.yaml:1:beta: beta must be a number of more than 0, got 0\n' +
        '  --data: data is missing: give the data that the model was fine-tuned on, or pairs\n' +
        HELP,
    );
    const flags = ['--model', 'm', '--pairs', 'p', '--iterations', '2', '--start-iteration', '1', '--dev-size', '5'];
    const odd = await run({}, ...flags, '--stop-after', 'generate');
    expect(odd.stderr).toContain('4 settings need correction');
    expect(odd.stderr).toContain('--iterations: more than one iteration needs data');
    expect(odd.stderr).toContain('--dev-size: dev_size needs data');
    expect(odd.stderr).toContain('--replay-pairs: the pairs of the iteration before are missing');
    expect(odd.stderr).toContain('--stop-after: with pairs from a file the first iteration generates nothing');
    const early = await run({}, '--model', 'm', '--data', 'd', '--replay-pairs', 'p', '--no-replay');
    expect(early.stderr).toContain(
      'there is no iteration before iteration 0: replay_pairs needs a start_iteration of at least 1\n  where: --replay-pairs',
    );
    const late = ['--model', 'm', '--data', 'd', '--start-iteration', '2', '--no-replay'];
    expect((await run({}, ...late, '--reference-alpha', '0.5')).stderr).toContain(
      'error: reference_alpha mixes in the SFT model, which a game that starts later does not have',
    );
    expect((await run({}, ...late, '--loss', 't-spin')).stderr).toContain(
      'the loss t-spin compares with the answers of the SFT model',
    );
    for (const good of [
      ['--data', 'd', '--start-iteration', '1', '--replay-pairs', 'q', '--loss', 't-spin'],
      ['--data', 'd', '--start-iteration', '2', '--no-replay', '--loss', 't-spin', '--history-weight', '0'],
      ['--data', 'd', '--start-iteration', '2', '--no-replay', '--reference-alpha', '0'],
      ['--pairs', 'p'],
      ['--pairs', 'p', '--start-iteration', '2', '--no-replay'],
      ['--pairs', 'p', '--start-iteration', '2', '--replay-pairs', 'q'],
      ['--data', 'd', '--start-iteration', '2', '--replay-pairs', 'q', '--stop-after', 'generate', '--iterations', '2'],
    ]) {
      expect((await run({}, '--model', 'm', ...good)).stderr).not.toContain('error');
    }
  });

  const base = 'model: m\ndata: d\n';
  const EXAMPLE = '  fix: one `key: value` a line; `selfplay config print` writes an example\n';
  it.each<[string, string, string]>([
    [
      'one wrong value',
      `${base}beta: 0\n`,
      `beta must be a number of more than 0, got 0\n  where: c.yaml:3:beta\n${HELP}`,
    ],
    [
      'infinity',
      `${base}max_grad_norm: .inf\n`,
      `max_grad_norm must be a number of more than 0, got Infinity\n  where: c.yaml:3:max_grad_norm\n${HELP}`,
    ],
    [
      'no value',
      `${base}seed:\n`,
      `seed must be a whole number of at least 0, got null\n  where: c.yaml:3:seed\n${HELP}`,
    ],
    [
      'a whole number beyond 2^53',
      `${base}seed: 9007199254740993\n`,
      `seed must be a whole number of at least 0, got 9007199254740992\n  where: c.yaml:3:seed\n${HELP}`,
    ],
    ['one unknown key', `${base}betta: 1\n`, 'unknown key betta\n  where: c.yaml:3:betta\n  fix: did you mean beta?\n'],
    ['nothing given', '', `2 settings need correction\n`],
    [
      'settings that exclude each other',
      `${base}limit: 1\nsample: 2\n`,
      `limit and sample exclude each other\n  where: c.yaml:4:sample\n${HELP}`,
    ],
    [
      'a name and its alias',
      `${base}model_name_or_path: n\n`,
      'model is given twice\n  where: c.yaml:3:model_name_or_path\n  fix: remove it, or c.yaml:1:model\n',
    ],
    [
      'a key twice',
      `${base}data: e\n`,
      `the config file is not valid YAML: Map keys must be unique\n  where: c.yaml:3\n${EXAMPLE}`,
    ],
    [
      'a text where a list belongs',
      `${base}contamination: test.jsonl\n`,
      `contamination must be a list, each a text that is not empty, got "test.jsonl"\n  where: c.yaml:3:contamination\n${HELP}`,
    ],
    ['a list', '- model\n', `the config file holds no settings by name\n  where: c.yaml\n${EXAMPLE}`],
    ['a word', 'model', `the config file holds no settings by name\n  where: c.yaml\n${EXAMPLE}`],
    ['a nested section', `${base}training:\n  beta: 1\n`, `unknown key training\n  where: c.yaml:3:training\n${HELP}`],
  ])('%s', async (_, yaml, message) => {
    const { status, stdout, stderr } = await run({ 'c.yaml': yaml }, '--config', 'c.yaml');
    expect(stderr.slice(0, `error: ${message}`.length)).toBe(`error: ${message}`);
    expect(status).toBe(2);
    expect(stdout).toBe('');
  });

  it('broken syntax names the line', async () => {
    const { status, stderr } = await run({ 'c.yaml': 'model: m\ndata: "d\nbeta: 1\n' }, '--config', 'c.yaml');
    expect(stderr).toMatch(/^error: the config file is not valid YAML: .+\n {2}where: c\.yaml:\d\n/);
    expect(status).toBe(2);
    const json = await run({ 'c.json': '{"model": "m",\n "data": }' }, '--config', 'c.json');
    expect(json.stderr).toMatch(/^error: .*\n {2}where: c\.json:2/);
    expect(json.status).toBe(2);
  });

  it('an alias without its anchor is an error of the file', async () => {
    const { status, stderr } = await run({ 'c.yaml': 'model: m\ndata: *d\n' }, '--config', 'c.yaml');
    expect(stderr).toMatch(/^error: the config file is not valid YAML: .*: d\n {2}where: c\.yaml\n/);
    expect(status).toBe(2);
  });

  it.each<[string, Record<string, string | Uint8Array>, string[], string]>([
    [
      'no such file',
      {},
      ['--config', 'none.yaml'],
      'there is no such config file\n  where: none.yaml\n  fix: `selfplay config print > selfplay.config.yaml` writes one\n',
    ],
    [
      'a program',
      { 'c.mjs': '' },
      ['--config', 'c.mjs'],
      'a config file is YAML or JSON, not a program\n  where: c.mjs\n  fix: name a .yaml or .json file\n',
    ],
    [
      'not text',
      { 'c.yaml': new Uint8Array([0xff, 0xfe, 0x00]) },
      ['--config', 'c.yaml'],
      'the config file is not UTF-8 text\n  where: c.yaml\n  fix: save it as UTF-8\n',
    ],
    [
      'two default files',
      { 'selfplay.config.yaml': '', 'selfplay.config.json': '{}' },
      [],
      'there is both selfplay.config.yaml and selfplay.config.json\n',
    ],
  ])('%s', async (_, files, flags, message) => {
    const { status, stderr } = await run(files, ...flags);
    expect(stderr.slice(0, `error: ${message}`.length)).toBe(`error: ${message}`);
    expect(status).toBe(2);
  });

  it('the file of the directory is for run only', async () => {
    const directory = directoryWith({ 'selfplay.config.yaml': 'model: m\ndata: d\nbeta: 1\n' });
    const { status, stderr } = await cli(['eval', '--model', 'm'], { directory });
    expect(stderr).toBe(
      'error: data is missing\n  where: --data\n  fix: add --data: Held-out rows with human answers: .jsonl or .json\n',
    );
    expect(status).toBe(2);
  });
});

describe('config print and schema', () => {
  it('what is printed is a config file with the same settings', async () => {
    const flags = [
      '--model',
      'my model',
      '--data',
      'd',
      '--beta',
      '0.25',
      '--no-replay',
      '--checker',
      'none',
      '--drop',
      'empty',
    ];
    const printed = await cli(['config', 'print', ...flags], { directory: root });
    expect(printed.status).toBe(0);
    const again = await run({ 'c.yaml': printed.stdout }, '--config', 'c.yaml');
    const direct = await run({}, ...flags);
    expect(again.stderr).not.toContain('error');
    expect(again.settings).toEqual(direct.settings);
  });

  it('needs nothing, and shows required settings as comments', async () => {
    const { status, stdout } = await cli(['config', 'print'], { directory: root });
    expect(status).toBe(0);
    expect(stdout).toContain('an adapter of PEFT (required)\n#model:\n');
    expect(stdout).toContain('# Peak learning rate\nlearning_rate: 5e-7\n');
  });

  it('as JSON, with the default file, refusing what is wrong', async () => {
    const directory = directoryWith({ 'selfplay.config.yaml': 'beta: 1\n' });
    const { stdout } = await cli(['config', 'print', '--json'], { directory });
    expect(JSON.parse(stdout)).toMatchObject({ beta: 1, optimizer: 'rmsprop' });
    const wrong = await cli(['config', 'print', '--beta', '0'], { directory });
    expect(wrong.status).toBe(2);
    expect(wrong.stdout).toBe('');
  });

  it('the schema knows every key, allows nothing else and requires nothing', async () => {
    const { status, stdout } = await cli(['config', 'schema']);
    const schema = JSON.parse(stdout);
    expect(status).toBe(0);
    expect(schema.required).toBeUndefined();
    expect(schema.additionalProperties).toBe(false);
    expect(schema.properties.beta).toEqual({
      default: 0.1,
      description: 'β of the loss (λ in the paper)',
      type: 'number',
      exclusiveMinimum: 0,
    });
    expect(schema.properties.model_name_or_path.type).toBe('string');
  });
});
