import { describe, expect, it } from 'vitest';
import { closest } from '../../src/cli/closest.ts';
import { flagsOf, givenFlags, groupedKeys } from '../../src/cli/flags.ts';
import { settingsOf } from '../../src/cli/settings.ts';
import {
  addedBaselinesSchema,
  dpoSchema,
  evalSchema,
  generateSchema,
  type SftSettings,
  type SpinSettings,
  sftSchema,
  spinSchema,
} from '../../src/recipes/index.ts';
import { cli, outcome } from './fakes.ts';

const schemas = {
  run: spinSchema,
  sft: sftSchema,
  dpo: dpoSchema,
  generate: generateSchema,
  eval: evalSchema,
  baselines: addedBaselinesSchema,
};
const GIVEN = ['--model', 'm', '--data', 'd.jsonl'];

/** The settings that `selfplay run` passes on for these flags. */
async function settingsFor(...flags: string[]): Promise<SpinSettings> {
  let seen: SpinSettings | undefined;
  const { status, stderr } = await cli(['run', ...GIVEN, ...flags], {
    recipes: {
      playSpin: async (settings) => {
        seen = settings;
        return outcome();
      },
    },
  });
  expect(stderr).not.toContain('error');
  expect(status).toBe(0);
  return seen!;
}

describe('flags from the schemas', () => {
  it.each(Object.entries(schemas))('%s: every setting has a flag with its description in a group', (name, schema) => {
    const settings = settingsOf(schema);
    expect(groupedKeys).toEqual(expect.arrayContaining([...settings.keys()]));
    const flags = flagsOf(name, settings);
    for (const { flag, description } of settings.values()) {
      const option = flags.find(({ long }) => long === flag);
      expect(description, flag).not.toBe('');
      expect(option?.description.startsWith(description), flag).toBe(true);
      expect(option?.helpGroupHeading, flag).toMatch(/^[A-Z].*:$/);
    }
  });

  it('reads types, defaults, choices and limits off the schema', () => {
    const settings = settingsOf(spinSchema);
    expect(settings.get('optimizer')).toMatchObject({
      flag: '--optimizer',
      kind: 'string',
      choices: ['adamw', 'rmsprop'],
      default: 'adamw',
      allowed: 'one of adamw, rmsprop',
    });
    expect(settings.get('model')).toMatchObject({ required: true, allowed: 'a text that is not empty' });
    expect(settings.get('max_new_tokens')).toMatchObject({ required: false, allowed: 'a whole number of at least 1' });
    expect(settings.get('adam_beta1')?.allowed).toBe('a number of at least 0 and at most 1');
    expect(settings.get('top_p')).toMatchObject({
      kind: 'number',
      list: true,
      off: false,
      default: 1,
      allowed: 'a number of more than 0 and at most 1, or a list of such',
    });
    expect(settings.get('replay')).toMatchObject({ kind: 'integer', list: true, off: true, default: 0 });
    expect(settings.get('replay_pairs')).toMatchObject({ kind: 'array', list: false });
    expect(settings.get('governor')).toMatchObject({ kind: 'boolean', list: false, off: true, default: true });
  });

  it('turns text into numbers only where the setting is one and the text reads as one', () => {
    const settings = settingsOf(spinSchema);
    const parsed = { model: '7', learningRate: '1e-3', batchSize: '0x10', limit: '', topK: '1_000', beta: 'Infinity' };
    const given = givenFlags(settings, parsed);
    expect([...given].map(([key, { value }]) => [key, value])).toEqual([
      ['model', '7'],
      ['limit', ''],
      ['top_k', '1_000'],
      ['beta', 'Infinity'],
      ['learning_rate', 0.001],
      ['batch_size', '0x10'],
    ]);
    expect(given.get('learning_rate')?.where).toBe('--learning-rate');
  });

  it('gives the recipe the defaults of the schema', async () => {
    expect(await settingsFor()).toEqual(spinSchema.parse({ model: 'm', data: 'd.jsonl' }));
  });

  it('passes flags on under their keys', async () => {
    const settings = await settingsFor(
      '--learning-rate',
      '1e-5',
      '--no-replay',
      '--lr-scheduler-type=cosine',
      '--limit',
      '64',
    );
    expect(settings).toMatchObject({ learning_rate: 1e-5, replay: 0, lr_scheduler_type: 'cosine', limit: 64 });
    expect((await settingsFor('--no-replay', '--replay', '2')).replay).toBe(2);
    expect((await settingsFor('--no-governor', '--governor')).governor).toBe(true);
  });

  it('takes values by iteration with commas, and says so', async () => {
    const settings = await settingsFor(
      ...['--beta', '0.1,5.0', '--learning-rate', '5e-7, 5e-7,1e-7', '--num-train-epochs', '2,1'],
      ...['--temperature', '1,0.7', '--top-k', '0,50', '--top-p', '1,.9', '--sample', '64,32'],
      ...['--samples-per-prompt', '1,4', '--replay', '0,1,2', '--replay-weights', '0.5,.25'],
    );
    expect(settings).toMatchObject({
      beta: [0.1, 5],
      learning_rate: [5e-7, 5e-7, 1e-7],
      num_train_epochs: [2, 1],
      temperature: [1, 0.7],
      top_k: [0, 50],
      top_p: [1, 0.9],
      sample: [64, 32],
      samples_per_prompt: [1, 4],
      replay: [0, 1, 2],
      replay_weights: [0.5, 0.25],
    });
    const help = (await cli(['run', '--help'])).stdout.replaceAll(/\s+/g, ' ');
    expect(help).toContain('--beta <x,...> β of the loss');
    expect(help).toContain('--[no-]replay <n,...> Train on the pairs');
    expect(help).toContain(
      '--preset <choice> Table of settings that apply where nothing else is given (default, paper)',
    );
  });

  it.each([
    ['--beta', '0.1,', '"0.1,"'],
    ['--beta', '0.1,x', '"0.1,x"'],
    ['--beta', '0.1,0', '[0.1,0]'],
    ['--beta', ',', '","'],
    ['--num-train-epochs', '2,1.5', '[2,1.5]'],
    ['--replay', '-1', '-1'],
    ['--batch-size', '8,16', '"8,16"'],
  ])('refuses %s %s', async (flag, value, got) => {
    const { status, stderr } = await cli(['run', ...GIVEN, `${flag}=${value}`]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/^error: \w+ must be a (whole )?number of /);
    expect(stderr).toContain(`got ${got}\n  where: ${flag}\n`);
  });

  it('says which forms a device has, and takes no other', async () => {
    for (const device of ['cpu', 'cuda', 'cuda:3', 'mps']) {
      expect((await settingsFor('--device', device)).device).toBe(device);
    }
    for (const device of ['gpu', 'cuda:', 'cuda:x', '']) {
      const { status, stderr } = await cli(['run', ...GIVEN, '--device', device]);
      expect(status).toBe(2);
      expect(stderr).toContain('--device');
      expect(stderr).toContain('one of auto, cpu, cuda, cuda:N, mps');
    }
    const { stdout } = await cli(['eval', '--help']);
    expect(stdout.replaceAll(/\s+/g, ' ')).toContain(
      '--device <choice> Where it computes; mps is experimental (auto, cpu, cuda, cuda:N, mps; default: auto)',
    );
  });

  it('takes lists, one flag for all of them or one each, and says what may stand in them', async () => {
    expect(settingsOf(spinSchema).get('drop')).toMatchObject({
      kind: 'array',
      choices: expect.arrayContaining(['identical', 'truncated']),
      allowed: expect.stringMatching(/^a list, each one of identical, /),
    });
    expect((await settingsFor('--drop', 'truncated', 'empty')).drop).toEqual(['truncated', 'empty']);
    const files = await settingsFor('--contamination', 'a, b.jsonl', '--contamination', 'c.jsonl', '--limit', '5');
    expect(files).toMatchObject({ contamination: ['a, b.jsonl', 'c.jsonl'], limit: 5 });
    const { status, stderr } = await cli(['run', ...GIVEN, '--drop', 'identical', 'bored']);
    expect(status).toBe(2);
    expect(stderr).toContain('drop must be a list, each one of identical, equivalent');
    const help = (await cli(['run', '--help'])).stdout.replaceAll(/\s+/g, ' ');
    expect(help).toContain('duplicate-prompt; default: identical, equivalent, over-long, duplicate-sample)');
    expect(help).toContain('default: none)');
  });

  it('takes a list of names also with commas, and says which are known', async () => {
    expect((await settingsFor('--baselines', 'sft-steps,sft-flops')).baselines).toEqual(['sft-steps', 'sft-flops']);
    expect((await settingsFor('--baselines', 'all')).baselines).toEqual(['all']);
    const { status, stderr } = await cli(['run', ...GIVEN, '--baselines', 'sft-steps,sft-step']);
    expect(status).toBe(2);
    expect(stderr).toContain('each one of sft-steps, sft-flops, sft-temperature, sft-reweighted, all, got');
  });

  it('takes a checker by name or a module, and nothing else', async () => {
    for (const checker of ['none', 'number', 'my/checker.mjs', 'c.js']) {
      expect((await settingsFor('--checker', checker)).checker).toBe(checker);
    }
    const { status, stderr } = await cli(['run', ...GIVEN, '--checker', 'numbers']);
    expect(status).toBe(2);
    expect(stderr).toContain('checker must be one of none, exact-match, number, FILE.mjs, got "numbers"');
  });

  it('gives each command its own schema', async () => {
    let seen: SftSettings | undefined;
    const { status } = await cli(['sft', ...GIVEN, '--evaluations', '2'], {
      recipes: {
        fineTune: async (settings) => {
          seen = settings;
          return outcome();
        },
      },
    });
    expect(status).toBe(0);
    expect(seen).toEqual(sftSchema.parse({ model: 'm', data: 'd.jsonl', evaluations: 2 }));
  });
});

describe('help', () => {
  it('shows what to give first, with defaults and choices, and an example', async () => {
    const { status, stdout, stderr } = await cli(['run', '--help']);
    expect(status).toBe(0);
    expect(stderr).toBe('');
    expect(stdout).toMatch(
      /^Usage: selfplay run --model DIR --data FILE \[options\]\n\nPlays SPIN with a fine-tuned model/,
    );
    const headings = [...stdout.matchAll(/^([A-Z][a-z ]+):$/gm)].map(([, heading]) => heading);
    expect(headings).toEqual([
      'What to give',
      'Rows',
      'The game',
      'Optimization',
      'Adapter',
      'Machine',
      'Output',
      'Example',
    ]);
    const line = (flag: string) => stdout.split('\n').find((text) => text.trimStart().startsWith(flag));
    expect(line('--learning-rate <x,...>')).toMatch(/Peak learning rate \(default: 5e-7\)$/);
    expect(line('--optimizer <choice>')).toContain('adamw, rmsprop; default: adamw');
    expect(line('--[no-]replay <n,...>')).toBeDefined();
    expect(line('--no-replay')).toBeUndefined();
    expect(line('--json')).toBeDefined();
  });

  it('of the whole loads no recipe and lists every command', async () => {
    const { status, stdout, loaded } = await cli(['--help']);
    expect([status, loaded]).toEqual([0, false]);
    for (const name of [
      'run',
      'sft',
      'generate',
      'eval',
      'resume <run>',
      'verify-resume',
      'compare <run> <other>',
      'doctor',
      'config',
    ]) {
      expect(stdout).toContain(`\n  ${name} `);
    }
  });
});

describe('closest', () => {
  it.each([
    ['learningRate', 'learning_rate'],
    ['batchsize', 'batch_size'],
    ['itertions', 'iterations'],
    ['lr', undefined],
    ['per_device_train_batch_size', undefined],
  ])('%s -> %s', (word, expected) => {
    expect(closest(word, settingsOf(spinSchema).keys())).toBe(expected);
  });
});
