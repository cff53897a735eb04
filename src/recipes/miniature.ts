/**
 * A game cut down until it takes about a minute: the user's model, engine, loss and optimizer, few rows and few new
 * tokens, shards and batches so small that there are several of each, a checkpoint after every step. How many rows that
 * are is decided by a quick measurement of everything that takes time.
 */
import { companionDirectory } from '../checkpoint/index.ts';
import { openEngine } from '../engine/index.ts';
import { loadTokenizer } from '../tokens/index.ts';
import { linkedDirectory, usageError } from '../util/index.ts';
import type { RecipeContext } from './context.ts';
import { withEngine } from './engines.ts';
import { bytesOnDisk, type Pace, secondsOf, totalSeconds } from './estimate.ts';
import { FEWEST_ROWS } from './governor.ts';
import { measurePace } from './pace.ts';
import { loadPlayer } from './player.ts';
import { prepareRows, type Row, type Rows } from './rows.ts';
import { at, type Schedule, valuesOf } from './schedules.ts';
import type { SpinSettings } from './settings.ts';

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
/** Processes beside the first: one after each kill; two in the training of each iteration, else one for each stage. */
const RESUMES = 3 + ITERATIONS * 4;

export interface Miniature {
  readonly settings: SpinSettings;
  /** What it should take to play it twice, once with interruptions. */
  readonly seconds: number;
  /** What both games take on the disk, at most. */
  readonly bytes: number;
}

/**
 * @param start seconds that a process takes to start
 * @throws what `selfplay run` would throw about these settings before its first stage
 */
export async function miniatureOf(given: SpinSettings, start: number, context: RecipeContext): Promise<Miniature> {
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
    // They are learned and judged as the game is.
    baselines: [],
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
    // Either game keeps its models; the one that is played has two checkpoints for a moment.
    const { model, checkpoint } = bytesOnDisk(loaded, settings);
    return { ...choice, bytes: 2 * (ITERATIONS * model + checkpoint) };
  });
}

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

/** Seconds for a game without interruption and one with. What a resume computes again is half a stage of judging. */
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
  return 2 * totalSeconds(game) + RESUMES * pace.open + ((ITERATIONS + 1) * game.evaluate) / 2;
}
