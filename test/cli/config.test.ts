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
    expect(settings).toMatchObject({ model: 'm', replay: 0 });
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
      'evaluations: 2\nconstructor: 1\ntop_p: [2]\nbatch_size: 0\n';
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
        '  c.yaml:11:top_p: top_p must be a number of more than 0 and at most 1, or a list of such, got [2]\n' +
        '  c.yaml:5:beta: beta must be a number of more than 0, or a list of such, got "0.1"\n' +
        '  c.yaml:7:replay: replay must be a whole number of at least 0, or a list of such, got "maybe"\n' +
        '  c.yaml:2:learning_rate: learning_rate must be a number of more than 0, or a list of such, got -0.1\n' +
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
        '  --model: model is missing (add --model: Model directory in Hugging Face layout (config.json, tokenizer.json, weights), an adapter of PEFT, or org/name@revision of the Hub)\n' +
        '  c.yaml:1:beta: beta must be a number of more than 0, or a list of such, got 0\n' +
        '  --data: data is missing: give the data that the model was fine-tuned on, or pairs\n' +
        HELP,
    );
    const flags = ['--model', 'm', '--pairs', 'p', '--iterations', '2', '--start-iteration', '1', '--dev-size', '5'];
    const odd = await run({}, ...flags, '--stop-after', 'generate', '--replay', '1');
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
      ['--data', 'd', '--start-iteration', '1', '--replay', '1', '--replay-pairs', 'q', '--loss', 't-spin'],
      ['--data', 'd', '--start-iteration', '2', '--no-replay', '--loss', 't-spin', '--history-weight', '0'],
      ['--data', 'd', '--start-iteration', '2', '--no-replay', '--reference-alpha', '0'],
      ['--pairs', 'p'],
      ['--pairs', 'p', '--start-iteration', '2', '--no-replay'],
      ['--pairs', 'p', '--start-iteration', '2', '--replay', '1', '--replay-pairs', 'q'],
      ['--data', 'd', '--start-iteration', '2', '--preset', 'paper', '--replay-pairs', 'q', '--stop-after', 'generate'],
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
      `beta must be a number of more than 0, or a list of such, got 0\n  where: c.yaml:3:beta\n${HELP}`,
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
      'error: data is missing\n  where: --data\n  fix: add --data: Held-out rows with human answers: as the data of `selfplay run`\n',
    );
    expect(status).toBe(2);
  });
});

describe('values by iteration', () => {
  it.each<[string, string, string]>([
    ['an empty list', 'beta: []', 'beta must be a number of more than 0, or a list of such, got []'],
    [
      'a list with a text',
      'beta: [0.1, "5"]',
      'beta must be a number of more than 0, or a list of such, got [0.1,"5"]',
    ],
    ['a list in a list', 'beta: [[0.1]]', 'beta must be a number of more than 0, or a list of such, got [[0.1]]'],
    [
      'one value of many out of range',
      'temperature: [1, 0.5, -0.5]',
      'temperature must be a number of at least 0, or a list of such, got [1,0.5,-0.5]',
    ],
    ['a fraction of a sample', 'sample: [8, 0.5]', 'sample must be a whole number of at least 1, or a list'],
    ['a list where one value serves all iterations', 'batch_size: [8, 16]', 'batch_size must be a whole number of at'],
    ['weights without a window', 'replay: 0\nreplay_weights: [0.5]', 'replay_weights are given, but replay is off'],
    ['a weight below 0', 'replay_weights: -1', 'replay_weights must be a number of at least 0, or a list of such, got'],
    ['a limit beside samples', 'limit: 8\nsample: [8, 4]', 'limit and sample exclude each other'],
  ])('%s is refused', async (_, line, message) => {
    const { status, stderr } = await run({ 'c.yaml': `model: m\ndata: d\n${line}\n` }, '--config', 'c.yaml');
    expect(stderr).toContain(`error: ${message}`);
    expect(stderr).toMatch(/\n {2}where: c\.yaml:[34]:/);
    expect(status).toBe(2);
  });

  it('are as short as they can be: equal schedules are equal settings', async () => {
    const yaml = 'model: m\ndata: d\nbeta: [0.1, 5, 5.0]\nlearning_rate: [1e-6]\nreplay: [true]\n';
    expect((await run({ 'c.yaml': yaml }, '--config', 'c.yaml')).stderr).toContain('replay must be');
    const { settings } = await run({ 'c.yaml': yaml.replace('[true]', '[2, 2]') }, '--config', 'c.yaml');
    expect(settings).toMatchObject({ beta: [0.1, 5], learning_rate: 1e-6, replay: 2 });
  });

  it('ask for the pairs of every earlier iteration that a later start replays', async () => {
    const late = ['--model', 'm', '--data', 'd', '--start-iteration', '3', '--replay', '2'];
    const missing = async (...more: string[]) => (await run({}, ...late, ...more)).stderr;
    expect(await missing()).toContain(
      'the pairs of 2 iterations before the first are replayed, and replay_pairs has files for 0',
    );
    expect(await missing('--replay-pairs', 'a')).toContain('replay_pairs has files for 1: give one for each');
    expect(await missing('--replay-pairs', 'a', 'b', 'c')).toContain(
      'replay_pairs has files for 3 earlier iterations, of which only 2',
    );
    expect((await run({}, ...late, '--replay-pairs', 'a', 'b')).settings?.replay_pairs).toEqual(['a', 'b']);
    // The second iteration looks back over the first: two from its window of three.
    expect(await missing('--replay', '0,0,0,1,3', '--iterations', '2', '--replay-pairs', 'a', 'b')).not.toContain(
      'error',
    );
    const t2 = ['--model', 'm', '--data', 'd', '--start-iteration', '2', '--loss', 't-spin', '--replay', '2'];
    expect((await run({}, ...t2, '--replay-pairs', 'a', 'b')).stderr).not.toContain('error');
  });
});

describe('presets', () => {
  const given = ['--model', 'm', '--data', 'd'];

  it('the paper as a whole', async () => {
    const { settings } = await run({}, ...given, '--preset', 'paper');
    expect(settings).toMatchObject({
      iterations: 4,
      sample: 50_000,
      max_new_tokens: 256,
      max_length: 1024,
      max_prompt_length: 512,
      batch_size: 64,
      optimizer: 'rmsprop',
      rmsprop_alpha: 0.99,
      optimizer_epsilon: 1e-8,
      learning_rate: [5e-7, 5e-7, 1e-7],
      beta: [0.1, 0.1, 0.1, 5],
      num_train_epochs: 2,
      warmup_ratio: 0.1,
      lr_scheduler_type: 'linear',
      max_grad_norm: 1,
      replay: 1,
      temperature: 1,
      top_k: 0,
      top_p: 1,
      loss: 'logistic',
      governor: false,
      drop: [],
    });
  });

  it('stand below the user: a flag, a file, and a limit in place of a sample', async () => {
    const file = { 'c.yaml': 'preset: paper\nmodel: m\ndata: d\nbeta: 0.5\nlimit: 8\n' };
    const { settings } = await run(file, '--config', 'c.yaml', '--iterations', '2');
    expect(settings).toMatchObject({ beta: 0.5, limit: 8, iterations: 2, num_train_epochs: 2, max_length: 1024 });
    expect(settings?.sample).toBeUndefined();
    expect((await run(file, '--config', 'c.yaml', '--preset', 'default')).settings).toEqual(
      (await run({}, ...given, '--beta', '0.5', '--limit', '8')).settings,
    );
  });

  it('default changes nothing', async () => {
    const [named, plain] = [await run({}, ...given, '--preset', 'default'), await run({}, ...given)];
    expect(named.settings).toEqual(plain.settings);
  });

  it('are shown by config print, and are the same settings when read again', async () => {
    const printed = await cli(['config', 'print', '--preset', 'paper', ...given], { directory: root });
    expect(printed.stdout).toContain('\nbeta: [0.1,0.1,0.1,5]\n');
    expect(printed.stdout).not.toContain('preset');
    const again = await run({ 'c.yaml': printed.stdout }, '--config', 'c.yaml');
    expect(again.settings).toEqual((await run({}, ...given, '--preset', 'paper')).settings);
  });

  it('that are none are refused, and other commands have none', async () => {
    const wrong = await run({ 'c.yaml': 'model: m\npreset: papers\n' }, '--config', 'c.yaml');
    expect(wrong.stderr).toContain(
      'error: preset must be one of default, paper, got "papers"\n  where: c.yaml:2:preset\n',
    );
    expect((await run({}, ...given, '--preset', 'x')).stderr).toContain('got "x"\n  where: --preset\n');
    const rule = await run({}, ...given, '--preset', 'paper', '--loss', 'hinge', '--label-smoothing', '0.1');
    expect(rule.stderr).toContain('label_smoothing is no parameter of the loss hinge');
    const sft = await cli(['sft', '--config', 'c.yaml'], { directory: directoryWith({ 'c.yaml': 'preset: paper\n' }) });
    expect(sft.stderr).toContain('unknown key preset');
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
    expect(stdout).toContain('an adapter of PEFT, or org/name@revision of the Hub (required)\n#model:\n');
    expect(stdout).toContain('# Peak learning rate\nlearning_rate: 5e-7\n');
  });

  it('as JSON, with the default file, refusing what is wrong', async () => {
    const directory = directoryWith({ 'selfplay.config.yaml': 'beta: 1\n' });
    const { stdout } = await cli(['config', 'print', '--json'], { directory });
    expect(JSON.parse(stdout)).toMatchObject({ beta: 1, optimizer: 'adamw' });
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
    const positive = { type: 'number', exclusiveMinimum: 0 };
    expect(schema.properties.beta).toEqual({
      default: 0.1,
      description: 'β of the loss (λ in the paper)',
      anyOf: [positive, { type: 'array', items: positive, minItems: 1 }],
    });
    expect(schema.properties.preset.enum).toEqual(['default', 'paper']);
    expect(schema.properties.model_name_or_path.type).toBe('string');
  });
});
