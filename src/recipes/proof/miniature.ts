/**
 * A run cut down until it takes about a minute: the user's model, engine, loss and optimizer, few rows, of a game few new
 * tokens, shards and batches so small that there are several of each, a checkpoint after every step. How many rows that
 * are is decided by a quick measurement of everything that takes time.
 */
import { companionDirectory } from '../../checkpoint/index.ts';
import { openEngine } from '../../engine/index.ts';
import { type Pair, packedLength, pairGroup } from '../../pairs/index.ts';
import { loadTokenizer } from '../../tokens/index.ts';
import { linkedDirectory, usageError } from '../../util/index.ts';
import { readChosenPairs } from '../dpo.ts';
import { FEWEST_ROWS } from '../game/governor.ts';
import { bytesOnDisk, modelsOf, type Pace, secondsOf, totalSeconds } from '../preflight/estimate.ts';
import type { RecipeContext } from '../run/context.ts';
import { withEngine } from '../run/engines.ts';
import { loadPlayer } from '../run/player.ts';
import { prepareRows, type Row, type Rows } from '../run/rows.ts';
import type { DpoSettings } from '../settings/dpoSettings.ts';
import { at, type Schedule, valuesOf } from '../settings/schedules.ts';
import { baselinesOf, type SpinSettings } from '../settings/settings.ts';
import { measureLearning, measurePace } from './pace.ts';

/** Seconds that it may take, where fewer train rows can bring it below that. */
const AIM = 60;
/** Above that the governor is left out, which needs so many dev rows. */
const MOST = 600;
/** Train rows, the first choice first. */
const TRAIN_ROWS = [48, 32, 24, 16, 12, 6];
const FEW_DEV_ROWS = 4;
const TEST_ROWS = 2;
const NEW_TOKENS = 8;
const ITERATIONS = 2;
const EPOCHS = 2;
const SAMPLES = 2;
const ATTEMPTS = 2;
const SHARDS = 3;
const STEPS_PER_EPOCH = 2;
/** Processes after a kill: two in every training, else one for each stage; of a game to begin with, and for each iteration. */
const RESUMES = { begin: 3, iteration: 4 };
/** The same for labelled pairs: scoring, training, judging before and after. */
const RESUMES_OF_PAIRS = 5;

export interface Miniature<S> {
  readonly settings: S;
  /** The same game without what may end it early, which its controls need not see again; null where there is no such thing. */
  readonly ungoverned: S | null;
  /** What it learns from, in words. */
  readonly size: string;
  readonly remarks: readonly string[];
  /** How many stages it has, about. */
  readonly stages: number;
  /** What it should take to play it twice, once with interruptions. */
  readonly seconds: number;
  /** What both games take on the disk, at most. */
  readonly bytes: number;
}

/**
 * @param start seconds that a process takes to start
 * @throws what `selfplay run` would throw about these settings before its first stage
 */
export async function miniatureGame(
  given: SpinSettings,
  start: number,
  context: RecipeContext,
): Promise<Miniature<SpinSettings>> {
  if (given.data === undefined) {
    throw usageError({
      what: 'pairs without the data that they come from: a whole game cannot be played',
      fix: 'give --data; pairs of one iteration are trained on as those of any game are',
    });
  }
  // A game from its beginning to its end, also where the user's enters later or stops earlier.
  const { lock: _, out: __, pairs: ___, replay_pairs: ____, stop_after: _____, sample, ...others } = given;
  const limit = Math.min(given.limit ?? Number.POSITIVE_INFINITY, ...valuesOf(sample ?? []), TRAIN_ROWS[0]!);
  const settings: SpinSettings = {
    ...others,
    model: await linkedDirectory(given.model),
    start_iteration: 0,
    limit,
    max_new_tokens: Math.min(given.max_new_tokens, NEW_TOKENS),
  };
  const tokenizer = await loadTokenizer(await companionDirectory(settings.model));
  return withEngine(context.openEngine ?? openEngine, settings, async ({ engine }) => {
    const begin = performance.now();
    const loaded = await loadPlayer(engine, settings, settings.model);
    const loading = (performance.now() - begin) / 1000;
    const rows = await prepareRows(settings, tokenizer, loaded.model);
    const pace = await measurePace(engine, { loaded, tokenizer }, rows.train, { settings, context });
    const choiceOf = (n: number, dev: number) => {
      const cut = cutTo(settings, rows, Math.min(n, rows.train.length), Math.min(dev, rows.dev.length));
      return { settings: cut, seconds: secondsFor(cut, rows, { ...pace, open: start + loading + pace.open }) };
    };
    const choices = TRAIN_ROWS.map((n) => choiceOf(n, FEWEST_ROWS));
    let choice = choices.find(({ seconds }) => seconds <= AIM) ?? choices.at(-1)!;
    if (choice.seconds > MOST) choice = choiceOf(TRAIN_ROWS.at(-1)!, FEW_DEV_ROWS);
    const { model, checkpoint } = bytesOnDisk(loaded, settings);
    const models = ITERATIONS + controlModels(settings);
    const { settings: small, seconds } = choice;
    const isLeftOut = small.governor && small.dev_size! < FEWEST_ROWS;
    return {
      settings: small,
      ungoverned: small.governor ? { ...small, governor: false, baselines: [] } : null,
      size: `${small.limit} train and ${small.dev_size} dev rows with ${small.max_new_tokens} new tokens`,
      remarks: isLeftOut ? [`The governor takes no part: it decides by ${FEWEST_ROWS} dev rows or more.`] : [],
      stages: 1 + 4 * ITERATIONS + 2 * controlModels(settings),
      seconds,
      bytes: bytesOf(models * model, checkpoint),
    };
  });
}

/** Either of two runs keeps its models; the one that is at work has two checkpoints for a moment. */
const bytesOf = (models: number, checkpoint: number) => 2 * (models + checkpoint);

/** Models that the controls of the small game train and judge; one at its best temperature is judged only. */
const controlModels = ({ baselines }: Pick<SpinSettings, 'baselines'>) =>
  baselinesOf(baselines).reduce((n, name) => n + Math.max(1, modelsOf(name, ITERATIONS)), 0);

/** The settings with `n` train rows and so many dev rows, and with all sizes that follow from that. */
function cutTo(settings: SpinSettings, { test, train }: Rows, n: number, dev: number): SpinSettings {
  const batch = Math.max(1, Math.ceil(n / STEPS_PER_EPOCH));
  const shard = Math.max(1, Math.ceil(n / SHARDS));
  const pair = meanOf(train, ({ promptIds }) => promptIds.length) + 2 * settings.max_new_tokens;
  const atMost = (most: number, schedule: Schedule) => valuesOf(schedule).map((value) => Math.min(value, most));
  return {
    ...settings,
    preflight: false,
    iterations: ITERATIONS,
    limit: n,
    dev_size: dev,
    test_size: Math.min(test.length, TEST_ROWS),
    // Few new tokens cut most answers: that must not leave the game without pairs.
    drop: settings.drop.filter((reason) => reason !== 'truncated'),
    num_train_epochs: atMost(EPOCHS, settings.num_train_epochs),
    samples_per_prompt: atMost(SAMPLES, settings.samples_per_prompt),
    max_attempts: Math.min(settings.max_attempts, ATTEMPTS),
    shard_size: shard,
    batch_size: batch,
    micro_batch_tokens: Math.min(settings.micro_batch_tokens, Math.ceil((batch * pair) / 2)),
    checkpoint_seconds: 0,
  };
}

const meanOf = (rows: readonly Row[], of: (row: Row) => number) =>
  rows.reduce((sum, row) => sum + of(row), 0) / Math.max(1, rows.length);

/**
 * Seconds for a game without interruption and one with. What a resume computes again is half a stage of judging. A model of a
 * control takes what an iteration takes.
 */
function secondsFor(cut: SpinSettings, { train, dev, test }: Rows, pace: Pace): number {
  const rows = [...train, ...dev, ...test];
  const game = secondsOf(
    cut,
    {
      pairsAt: (t) => cut.limit! * at(cut.samples_per_prompt, t),
      heldOut: cut.dev_size! + cut.test_size!,
      kept: 1,
      prompt: meanOf(rows, ({ promptIds }) => promptIds.length),
      human: meanOf(rows, ({ responseIds }) => responseIds.length),
      own: cut.max_new_tokens,
    },
    pace,
  );
  const models = ITERATIONS + controlModels(cut);
  const whole = (totalSeconds(game) - game.evaluate) * (models / ITERATIONS) + game.evaluate;
  const resumes = RESUMES.begin + models * RESUMES.iteration;
  return 2 * whole + resumes * pace.open + ((models + 1) * game.evaluate) / 2;
}

/**
 * The same for labelled pairs. Their answers are what they are, and none is written.
 * @throws what `selfplay dpo` would throw about these settings before its first stage
 */
export async function miniaturePairs(
  given: DpoSettings,
  start: number,
  context: RecipeContext,
): Promise<Miniature<DpoSettings>> {
  const { lock: _, out: __, sample, ...others } = given;
  const limit = Math.min(given.limit ?? Number.POSITIVE_INFINITY, sample ?? TRAIN_ROWS[0]!, TRAIN_ROWS[0]!);
  const settings: DpoSettings = { ...others, model: await linkedDirectory(given.model), limit };
  const tokenizer = await loadTokenizer(await companionDirectory(settings.model));
  return withEngine(context.openEngine ?? openEngine, settings, async ({ engine }) => {
    const begin = performance.now();
    const loaded = await loadPlayer(engine, settings, settings.model);
    const loading = (performance.now() - begin) / 1000;
    const { train, test } = await readChosenPairs(settings, { loaded, tokenizer });
    const answers = train.pairs.map(({ promptIds, real }) => ({ promptIds, responses: [{ ids: real }] }));
    const learning = await measureLearning(engine, loaded, answers, { settings, context });
    const pace = { ...learning, open: start + loading + learning.open, read: learning.learn, write: 0 };
    const choices = TRAIN_ROWS.map((n) => {
      const cut = cutPairs(
        settings,
        train.pairs,
        Math.min(n, train.pairs.length),
        Math.min(test.pairs.length, TEST_ROWS),
      );
      return { settings: cut, seconds: secondsForPairs(cut, train.pairs, pace) };
    });
    const { settings: small, seconds } = choices.find((one) => one.seconds <= AIM) ?? choices.at(-1)!;
    const { model, checkpoint } = bytesOnDisk(loaded, settings);
    const size = `${small.limit} train and ${small.test_size} test pairs`;
    return {
      settings: small,
      ungoverned: null,
      size,
      remarks: [],
      stages: 5,
      seconds,
      bytes: bytesOf(model, checkpoint),
    };
  });
}

function cutPairs(settings: DpoSettings, pairs: readonly Pair[], n: number, test: number): DpoSettings {
  const batch = Math.max(1, Math.ceil(n / STEPS_PER_EPOCH));
  const pair = pairs.reduce((sum, one) => sum + packedLength(pairGroup(one)), 0) / pairs.length;
  return {
    ...settings,
    limit: n,
    test_size: test,
    num_train_epochs: Math.min(settings.num_train_epochs, EPOCHS),
    shard_size: Math.max(1, Math.ceil(n / SHARDS)),
    batch_size: batch,
    micro_batch_tokens: Math.min(settings.micro_batch_tokens, Math.ceil((batch * pair) / 2)),
    checkpoint_seconds: 0,
  };
}

/** As a game of one iteration whose pairs are given. */
function secondsForPairs(cut: DpoSettings, pairs: readonly Pair[], pace: Pace): number {
  const mean = (of: (pair: Pair) => number) => pairs.reduce((sum, pair) => sum + of(pair), 0) / pairs.length;
  const game = secondsOf(
    {
      ...cut,
      iterations: 1,
      start_iteration: 0,
      pairs: cut.data,
      replay: 0,
      replay_weights: undefined,
      max_new_tokens: Infinity,
    },
    {
      pairsAt: () => cut.limit!,
      heldOut: cut.test_size!,
      kept: 1,
      prompt: mean(({ promptIds }) => promptIds.length),
      human: mean(({ real }) => real.length),
      own: mean(({ generated }) => generated.length),
    },
    pace,
  );
  return 2 * totalSeconds(game) + RESUMES_OF_PAIRS * pace.open + game.evaluate;
}
