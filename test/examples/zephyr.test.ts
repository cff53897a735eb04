// examples/zephyr-ultrachat: its config file, at full size as settings, and cut down as a game of a tiny Mistral on chats in
// UltraChat's form.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { playSpin, type SpinSettings } from '../../src/recipes/index.ts';
import type { PairRecord } from '../../src/recipes/run/records.ts';
import { cli, outcome } from '../cli/fakes.ts';
import { listener, makeTinyGame, type TinyGame } from '../recipes/tiny-game.ts';

const config = join(import.meta.dirname, '../../examples/zephyr-ultrachat/selfplay.config.yaml');

/** The settings that `selfplay run` passes on for the config file and these flags. */
async function settingsFor(...flags: string[]): Promise<SpinSettings> {
  let seen: SpinSettings | undefined;
  const playsNothing = async (settings: SpinSettings) => {
    seen = settings;
    return outcome();
  };
  const { stderr } = await cli(['run', '--config', config, ...flags], { recipes: { playSpin: playsNothing } });
  expect(stderr).not.toContain('error');
  return seen!;
}

describe('the config of the paper’s run', () => {
  it('is the paper’s table, with a model, data and a machine', async () => {
    expect(await settingsFor()).toMatchObject({
      model: 'zephyr-7b-sft-full',
      data: ['ultrachat-train.jsonl'],
      eval_data: ['ultrachat-test.jsonl'],
      engine: 'torch',
      dtype: 'bf16',
      iterations: 4,
      sample: 50_000,
      batch_size: 64,
      max_new_tokens: 256,
      max_length: 1024,
      max_prompt_length: 512,
      beta: [0.1, 0.1, 0.1, 5],
      learning_rate: [5e-7, 5e-7, 1e-7],
      num_train_epochs: 2,
      replay: 1,
      test_size: 500,
    });
  });
});

describe('the same config cut down', () => {
  const mistral = { model_type: 'mistral', architectures: ['MistralForCausalLM'], sliding_window: 4 };
  let home: string;
  let game: TinyGame;
  let events: ReturnType<typeof listener>['events'];
  let said: string;
  let run: string;

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'selfplay-zephyr-'));
    // Prompts alone are longer than this window.
    game = await makeTinyGame(home, 40, 2, mistral);
    run = join(home, 'run');
    const [train, test] = [join(home, 'ultrachat-train.jsonl'), join(home, 'ultrachat-test.jsonl')];
    const chats = game.rows.map(({ question, answer }, i) =>
      JSON.stringify({
        prompt: question,
        prompt_id: String(i),
        messages: [
          { role: 'user', content: question },
          { role: 'assistant', content: answer },
          { role: 'user', content: 'And what did I ask?' },
          { role: 'assistant', content: question },
        ],
      }),
    );
    await writeFile(train, `${chats.slice(8).join('\n')}\n`);
    await writeFile(test, `${chats.slice(0, 8).join('\n')}\n`);
    const settings = await settingsFor(
      ...['--model', game.model, '--data', train, '--eval-data', test, '--out', run],
      ...['--engine', 'onnx', '--device', 'cpu', '--dtype', 'f32', '--threads', '1', '--micro-batch-tokens', '200'],
      ...['--sample', '16', '--test-size', '4', '--dev-size', '2', '--batch-size', '8'],
      ...['--max-new-tokens', '6', '--max-length', '64', '--max-prompt-length', '32'],
    );
    const heard = listener();
    await playSpin(settings, heard.context);
    events = heard.events;
    said = heard.said.join('\n');
  });
  afterAll(() => rm(home, { recursive: true, force: true }));

  const stepsOf = (t: number) =>
    events.flatMap((event) => (event.type === 'train.step' && event.iteration === t ? [event] : []));

  it('plays four iterations on the first round of the chats, two epochs each, on the pairs of two iterations', async () => {
    // 16 pairs in batches of 8 are 2 steps an epoch, 32 are 4.
    expect([0, 1, 2, 3].map((t) => stepsOf(t).length)).toEqual([4, 8, 8, 8]);
    const lines = (await readFile(join(run, 'iteration-3/pairs.jsonl'), 'utf8')).trimEnd().split('\n');
    const records = lines.map((line) => JSON.parse(line) as PairRecord);
    expect(records).toHaveLength(16);
    const known = new Set(game.rows.map(({ question, answer }) => `${question} ${answer}`));
    for (const { prompt, responses, excluded } of records) {
      expect(prompt).toHaveLength(1);
      expect(known.has(`${prompt[0]!.content} ${responses[0].text}`)).toBe(true);
      expect(excluded).toBeNull();
    }
    expect(said).toContain('Iteration 3: learning from 32 pairs (16 of iteration 2) in 8 steps');
    const saved = JSON.parse(await readFile(join(run, 'iteration-3/model/config.json'), 'utf8')) as object;
    expect(saved).toMatchObject(mistral);
  });

  it('has the rates and βs of the paper, a warm-up of a tenth of the steps, and a linear end', () => {
    const rates = (t: number) => stepsOf(t).map(({ learning_rate }) => learning_rate);
    // One step of warm-up at rate 0, then peak·(1 − k/(steps − 1)).
    const linear = (peak: number, steps: number) =>
      Array.from({ length: steps }, (_, k) => (k === 0 ? 0 : peak * (1 - (k - 1) / (steps - 1))));
    expect(rates(0)).toEqual(linear(5e-7, 4));
    expect(rates(1)).toEqual(linear(5e-7, 8));
    for (const t of [2, 3]) expect(rates(t)).toEqual(linear(1e-7, 8));
    for (const [t, beta] of [0.1, 0.1, 0.1, 5].entries()) {
      const [first] = stepsOf(t);
      expect(first!.loss).toBeCloseTo(Math.LN2, t === 3 ? 2 : 4);
      expect(said).toMatch(new RegExp(`Iteration ${t}: learning from .* β ${beta}, learning rate`));
    }
  });
});
