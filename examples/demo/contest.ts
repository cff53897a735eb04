// One seed of the evidence: SFT, the game with the controls that every game may have, and further ones that only show what
// a part of the game is worth (other rates, the first opponent throughout, corrupted answers, swapped labels), all judged on
// the same held-out rows.
//   npx tsx examples/demo/contest.ts --seed 11 --out DIR [--threads 2]     -> DIR/contest-11.json

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadModel } from '../../src/checkpoint/index.ts';
import { onnxEngine } from '../../src/engine/index.ts';
import { loadScorer } from '../../src/evaluation/index.ts';
import type { Group, Pair } from '../../src/pairs/index.ts';
import { fineTune, playSpin, type RecipeContext, sftSchema, spinSchema } from '../../src/recipes/index.ts';
import { heldOutAnswers, type Judged, judge, readJudgement, sampledName } from '../../src/recipes/judge.ts';
import { readPairs } from '../../src/recipes/records.ts';
import { asGroup, prepareRows, type Rows } from '../../src/recipes/rows.ts';
import { readRunLog } from '../../src/report/index.ts';
import { type ChatTokenizer, loadTokenizer } from '../../src/tokens/index.ts';
import { shuffled, uniform } from '../../src/util/index.ts';
import { gameFiles, makeGame } from './game.ts';
import { contestSizes, continuedRates, equalFlops, scorer, sft, spin, temperatures } from './settings.ts';
import { teach, withReference } from './teach.ts';

/** What is kept of a model: one entry per held-out row. */
export interface Held {
  greedy: number[];
  sampled: number[];
  nats: number[];
  /** Different right answers among the sampled ones. */
  distinct: number;
}
type Sampled = Pick<Held, 'sampled' | 'distinct'>;
export interface Contest {
  v: 1;
  seed: number;
  seconds: number;
  pairs: number[];
  /** Optimizer steps of the game, and of SFT with as many FLOPs. */
  steps: { game: number; flops: number };
  /** The temperature that gave the most right answers on dev. */
  temperatures: Record<string, number>;
  models: Record<string, { dev: Held; test: Held }>;
}

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    out: { type: 'string' },
    threads: { type: 'string', default: '2' },
    'only-sft': { type: 'boolean' },
  },
});
const seed = Number(values.seed);
const threads = Number(values.threads);
const directory = join(values.out!, `seed-${seed}`);
const quiet: RecipeContext = {
  progress: () => ({ advance: () => undefined, done: () => undefined }),
  say: (sentence) => console.error(`[${seed}] ${sentence}`),
};
const begin = performance.now();

const known = existsSync(join(directory, 'sft', 'results.json'));
const game = known ? gameFiles(directory) : await makeGame(directory, seed, contestSizes);
const held = { data: game.train, eval_data: game.test, dev_size: contestSizes.dev, test_size: contestSizes.test, seed };
if (!known) {
  const out = join(directory, 'sft');
  await fineTune(sftSchema.parse({ ...held, ...sft, threads, model: game.model, out }), quiet);
}
if (values['only-sft']) process.exit(0);
const start = join(directory, 'sft', 'model');
const settings = spinSchema.parse({
  ...held,
  ...spin,
  preflight: false,
  baselines: ['all'],
  threads,
  scorer,
  model: start,
  out: join(directory, 'spin'),
});
/** Directory of the game. */
const played = join(directory, 'spin');
if (!existsSync(join(played, 'results.json'))) await playSpin(settings, quiet);

const tokenizer = await loadTokenizer(start);
const engine = await onnxEngine({ threads });
const { model } = await loadModel(engine, start);
const rows = await prepareRows(settings, tokenizer, model);
const file = join(values.out!, `contest-${seed}.json`);
/** What an earlier call left: controls that are there are not run again. */
const earlier = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Contest) : undefined;
const models: Contest['models'] = earlier?.models ?? {};
const SHARPENED = ', sampled at its best temperature';
for (const [label, folder] of [
  ['SFT model', 'baseline'],
  ['SPIN, iteration 0', 'iteration-0'],
  ['SPIN, iteration 1', 'iteration-1'],
  [`SFT continued, ${spin.learning_rate}`, 'baselines/sft-steps'],
  [equalFlops, 'baselines/sft-flops'],
  ['the same rows without the game (β → 0)', 'baselines/sft-reweighted/iteration-1'],
] as const) {
  const { dev, test } = (await readJudgement(join(played, folder, 'evaluation.json')))!;
  models[label] = { dev: summary(dev, rows.dev), test: summary(test, rows.test) };
}
const sharpened = (await readJudgement(join(played, 'baselines/sft-temperature/evaluation.json')))!;
models[`SFT model${SHARPENED}`] = {
  dev: { ...models['SFT model']!.dev, ...sampledSummary(sharpened.dev, rows.dev) },
  test: { ...models['SFT model']!.test, ...sampledSummary(sharpened.test, rows.test) },
};

const pairsOf = (t: number) => readPairs(join(played, `iteration-${t}`, 'pairs.jsonl'));
const pairs = [await pairsOf(0), await pairsOf(1)] as const;
const both = ({ promptIds, real, generated }: Pair): Group => ({
  promptIds,
  responses: [{ ids: real }, { ids: generated }],
});
const objective = { kind: 'spin', beta: spin.beta, sftWeight: spin.sft_weight } as const;
/** Steps of a control of the game, from its log. */
const log = await readRunLog(played);
const stepsOf = (name: string) => log.filter((e) => e.type === 'train.step' && e.baseline === name).length;
const steps = stepsOf('sft-steps');
const everyRow = rows.train.map(asGroup);

for (const learningRate of continuedRates.filter((rate) => rate !== spin.learning_rate)) {
  await control(`SFT continued, ${learningRate}`, start, () =>
    teach(engine, model, everyRow, { kind: 'sft' }, { seed, learningRate, steps }),
  );
}
await control('the first opponent’s answers throughout', join(played, 'iteration-0', 'model'), async () => {
  await teach(engine, model, await withReference(engine, model, pairs[0].map(both)), objective, { seed });
});
await control('corrupted human answers as negatives', start, async () => {
  for (const list of pairs) {
    const groups = list.map((pair, i) => both({ ...pair, generated: corrupted(pair.real, tokenizer, i) }));
    await teach(engine, model, await withReference(engine, model, groups), objective, { seed });
  }
});
await control('swapped labels', start, async () => {
  const swapped = pairs[0].map((pair) => both({ ...pair, real: pair.generated, generated: pair.real }));
  await teach(engine, model, await withReference(engine, model, swapped), objective, { seed });
});
const trials = readFileSync(join(played, 'baselines/sft-temperature/temperatures.json'), 'utf8');
const chosen: Contest['temperatures'] = {
  ...earlier?.temperatures,
  'SFT model': (JSON.parse(trials) as { best: number }).best,
};
const last = 'SPIN, iteration 1';
if (!(last in chosen)) {
  await loadModel(engine, join(played, 'iteration-1', 'model'));
  await atBestTemperature(last);
}
await engine.dispose();

const contest: Contest = {
  v: 1,
  seed,
  seconds: (earlier?.seconds ?? 0) + (performance.now() - begin) / 1000,
  pairs: pairs.map((list) => list.length),
  steps: { game: steps, flops: stepsOf('sft-flops') },
  temperatures: chosen,
  models,
};
writeFileSync(file, `${JSON.stringify(contest)}\n`);

/** Trains from the weights of `from` and judges the result. */
async function control(label: string, from: string, train: () => Promise<void>): Promise<void> {
  if (label in models) return;
  await loadModel(engine, from);
  await train();
  models[label] = { dev: await heldOut(rows.dev), test: await heldOut(rows.test) };
  quiet.say(`${label}: greedy ${models[label].test.greedy.reduce((a, b) => a + b, 0)} of ${rows.test.length}`);
}

/** Mere sharpening: the weights in the engine, sampled at the temperature that is best on dev. Greedy is as it was. */
async function atBestTemperature(label: string): Promise<void> {
  const tried: { temperature: number; dev: Sampled }[] = [];
  for (const temperature of temperatures) tried.push({ temperature, dev: await sampledAt(temperature, rows.dev) });
  const right = ({ dev }: (typeof tried)[number]) => dev.sampled.reduce((a, b) => a + b, 0);
  const best = tried.reduce((a, b) => (right(b) > right(a) ? b : a));
  chosen[label] = best.temperature;
  models[label + SHARPENED] = {
    dev: { ...models[label]!.dev, ...best.dev },
    test: { ...models[label]!.test, ...(await sampledAt(best.temperature, rows.test)) },
  };
}

async function sampledAt(temperature: number, split: Rows['test']): Promise<Sampled> {
  const sampling = { temperature, topK: 0, topP: 1 };
  const player = { loaded: { model, config: {}, dir: start }, tokenizer };
  const answers = await heldOutAnswers(tools(), player, split, sampling, () => undefined);
  const score = await loadScorer(scorer);
  const scores = await Promise.all(split.map((row, i) => score({ ...row, answer: answers[i]!.text })));
  return sampledSummary(
    answers.map((sample, i) => ({ sample, scores: { [sampledName('score')]: scores[i]! } })),
    split,
  );
}

function tools() {
  return { settings, engine, context: quiet, checkSignal: () => undefined };
}

async function heldOut(split: Rows['test']): Promise<Held> {
  const player = { loaded: { model, config: {}, dir: start }, tokenizer };
  const scorers = new Map([['score', await loadScorer(scorer)]]);
  return summary(await judge(tools(), player, split, scorers, { label: '', beta: spin.beta }), split);
}

function summary(judged: readonly Pick<Judged, 'scores' | 'sample'>[], split: Rows['test']): Held {
  return {
    greedy: judged.map(({ scores }) => scores['score']!),
    nats: judged.map(({ scores }) => scores['nats/token']!),
    ...sampledSummary(judged, split),
  };
}

/** The figures of sampled answers. */
function sampledSummary(judged: readonly Pick<Judged, 'scores' | 'sample'>[], split: Rows['test']): Sampled {
  const sampled = judged.map(({ scores }) => scores[sampledName('score')]!);
  const right = split.flatMap((_, i) => (sampled[i] === 1 ? [judged[i]!.sample.text] : []));
  return { sampled, distinct: new Set(right).size };
}

/** The answer with one of its digits replaced by another. */
function corrupted(ids: Int32Array, { decode, encode }: ChatTokenizer, row: number): Int32Array {
  const digits = [...'0123456789'].map((digit) => encode(digit)[0]!);
  const places = [...ids.keys()].filter((i) => digits.includes(ids[i]!));
  const place = shuffled(places, seed, `corrupted ${row}`)[0];
  if (place === undefined) throw new Error(`no digit in: ${decode(ids)}`);
  const others = digits.filter((digit) => digit !== ids[place]);
  const changed = Int32Array.from(ids);
  changed[place] = others[Math.floor(uniform(seed, 9, 0, [row, 0], 0, place) * others.length)]!;
  return changed;
}
