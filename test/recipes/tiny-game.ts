// A game small enough for a test: sums of two digits, a Llama of two layers or one that has just learned to end its answers, and settings
// with which two iterations take seconds.

import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createModel, saveModel } from '../../src/checkpoint/index.ts';
import { onnxEngine } from '../../src/engine/index.ts';
import {
  type DpoInput,
  dpoSchema,
  type RecipeContext,
  type SftInput,
  type SpinInput,
  type SpinSettings,
  sftSchema,
  spinSchema,
} from '../../src/recipes/index.ts';
import type { RunEvent } from '../../src/report/index.ts';
import { loadTokenizer, trainBpe, writeTokenizer } from '../../src/tokens/index.ts';
import { openTrainer } from '../../src/training/index.ts';
import { uniform } from '../../src/util/index.ts';

const chatTemplate =
  "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/** Longest prompt and answer together. */
const CONTEXT = 64;

export interface TinyGame {
  readonly model: string;
  readonly data: string;
  /** Rows of the data file. */
  readonly rows: readonly { readonly question: string; readonly answer: string }[];
}

/** `a+b` for 48 pairs of digits; whether the answer is a number or a sentence with it cannot be told from the question. */
const rows = Array.from({ length: 48 }, (_, i) => ({ a: 1 + (i % 6), b: 1 + Math.floor(i / 6) })).map(
  ({ a, b }, i) => ({
    question: `${a}+${b}`,
    answer: uniform(0, 0, 0, [i, 0], 0, 0) < 0.4 ? `it is ${a + b}` : `${a + b}`,
  }),
);

/** Writes a tokenizer that was trained on these rows. */
export async function writeTinyTokenizer(tokenizerDir: string, rows: TinyGame['rows']): Promise<void> {
  const special = ['<|user|>', '<|assistant|>', '<|end|>'];
  const texts = rows.map(({ question, answer }) => `${question}\n${answer}`);
  await writeTokenizer(tokenizerDir, trainBpe(texts, { vocabSize: 260, special }), {
    chatTemplate,
    eos: '<|end|>',
    pad: '<|end|>',
  });
}

/** Writes data, tokenizer and a model that was trained for `steps` steps on the data; `changes` are those of its config. */
export async function makeTinyGame(
  directory: string,
  steps = 40,
  layers = 2,
  changes: Readonly<Record<string, unknown>> = {},
): Promise<TinyGame> {
  await mkdir(directory, { recursive: true });
  const data = join(directory, 'data.jsonl');
  const lines = (list: readonly object[]) => list.map((row) => `${JSON.stringify(row)}\n`).join('');
  await writeFile(data, lines(rows));
  await writeFile(labelledFile({ data }), lines(labelledRows({ rows })));
  const tokenizerDir = join(directory, 'tokenizer');
  await writeTinyTokenizer(tokenizerDir, rows);
  const config = {
    model_type: 'llama',
    architectures: ['LlamaForCausalLM'],
    vocab_size: 272,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: layers,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: CONTEXT,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    tie_word_embeddings: true,
    hidden_act: 'silu',
    initializer_range: 0.2,
    ...changes,
  };
  const model = join(directory, 'model');
  const engine = await onnxEngine({ threads: 1 });
  try {
    const loaded = await createModel(engine, config, 3, tokenizerDir);
    const tokenizer = await loadTokenizer(tokenizerDir);
    const trainer = await openTrainer(engine, loaded.model, {
      objective: { kind: 'sft' },
      optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0 },
      maxGradNorm: 1,
      microBatchTokens: 4096,
    });
    const groups = rows.map(({ question, answer }) => {
      const pair = tokenizer.encodePair({ prompt: [{ role: 'user', content: question }], response: answer });
      return { promptIds: pair.promptIds, responses: [{ ids: pair.responseIds }] };
    });
    for (let step = 1; step <= steps; step++) await trainer.step(groups, step, 0.02);
    await trainer.dispose();
    await saveModel(engine, loaded, model);
  } finally {
    await engine.dispose();
  }
  return { model, data, rows };
}

/** Two iterations of three steps each (six with replay), with three shards in every stage that has shards. */
export function tinySettings(game: TinyGame, out: string, changes: Partial<SpinInput> = {}): SpinSettings {
  return spinSchema.parse({
    model: game.model,
    data: game.data,
    out,
    iterations: 2,
    max_new_tokens: 6,
    shard_size: 13,
    generation_batch_size: 8,
    batch_size: 12,
    optimizer: 'rmsprop',
    replay: 1,
    sft_weight: 0,
    dev_size: 6,
    test_size: 6,
    learning_rate: 1e-3,
    checkpoint_seconds: 0,
    micro_batch_tokens: 100,
    governor: false,
    preflight: false,
    engine: 'onnx',
    threads: 1,
    ...changes,
  } satisfies SpinInput);
}

export function tinySft(game: TinyGame, out: string, changes: Partial<SftInput> = {}) {
  return sftSchema.parse({
    model: game.model,
    data: game.data,
    out,
    num_train_epochs: 2,
    batch_size: 12,
    evaluations: 3,
    learning_rate: 3e-3,
    dev_size: 6,
    test_size: 6,
    checkpoint_seconds: 0,
    micro_batch_tokens: 100,
    engine: 'onnx',
    threads: 1,
    ...changes,
  } satisfies SftInput);
}

/** Labelled pairs on the questions of the game: the right number against one that is too large by 1 to 3. */
export function labelledRows({ rows }: Pick<TinyGame, 'rows'>) {
  return rows.map(({ question, answer }, i) => {
    const right = Number(/\d+/.exec(answer)![0]);
    return { prompt: question, chosen: `${right}`, rejected: `${right + 1 + (i % 3)}` };
  });
}

/** Where `makeTinyGame` writes the labelled pairs. */
const labelledFile = ({ data }: Pick<TinyGame, 'data'>) => join(dirname(data), 'labelled.jsonl');

export function tinyDpo(game: TinyGame, out: string, changes: Partial<DpoInput> = {}) {
  return dpoSchema.parse({
    model: game.model,
    data: labelledFile(game),
    out,
    num_train_epochs: 2,
    batch_size: 12,
    learning_rate: 3e-3,
    test_size: 12,
    shard_size: 13,
    checkpoint_seconds: 0,
    micro_batch_tokens: 100,
    engine: 'onnx',
    threads: 1,
    ...changes,
  } satisfies DpoInput);
}

/** A context that keeps what it is told. */
export function listener(onEvent?: (event: RunEvent) => void, signal?: AbortSignal) {
  const said: string[] = [];
  const events: RunEvent[] = [];
  const context: RecipeContext = {
    progress: () => ({ advance: () => undefined, done: () => undefined }),
    say: (sentence) => void said.push(sentence),
    onEvent: (event) => {
      events.push(event);
      onEvent?.(event);
    },
    ...(signal ? { signal } : {}),
  };
  return { context, said, events };
}
