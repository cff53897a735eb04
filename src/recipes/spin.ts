/**
 * SPIN (Chen et al., ICML 2024): a model plays against its own past self.
 *
 * Iteration t starts from θ_t, which is opponent, reference and starting point alike (θ_0 is the SFT model):
 *   1. the opponent answers the prompts of the SFT data;
 *   2. the pairs (human answer, its answer) of this iteration and of those in the replay window are scored under it, if
 *      the loss has a reference;
 *   3. the main player, starting from θ_t, learns to tell the two apart: the result is θ_{t+1};
 *   4. θ_{t+1} is judged on held-out rows, and becomes the next opponent, if the governor finds nothing against it.
 * Every step looks into the run directory first, so a resume is the same call again. A game may enter at any iteration,
 * with pairs that were made elsewhere, and may stop where an iteration has its pairs.
 */
import { mkdir } from 'node:fs/promises';
import { companionDirectory, hashModelDirectory, type LoadedModel, saveModel } from '../checkpoint/index.ts';
import { filesInWords } from '../data/index.ts';
import { type Checker, loadChecker } from '../evaluation/index.ts';
import { comparisonSentence } from '../report/index.ts';
import { loadTokenizer } from '../tokens/index.ts';
import { startOf, usesReference } from '../training/index.ts';
import { exists } from '../util/index.ts';
import { demandRows, playBaselines } from './baselines/baselines.ts';
import { enterPairs } from './game/entry.ts';
import { type Attempt, canGovern, FEWEST_ROWS, govern, openAttempt, shownNumber } from './game/governor.ts';
import { groupsOf, type Replayed, replayedPairs } from './game/groups.ts';
import { type JudgeRows, judgeModel, type Names } from './game/heldOut.ts';
import { humanAgainstOwn, type Judgement, judge } from './game/judge.ts';
import { dropCheckpoints, learn, stepsOf } from './game/learn.ts';
import { planGame } from './game/longest.ts';
import { type Player, samplePairs, scoreUnderOpponent, stage } from './game/opponent.ts';
import { type RunOutcome, type Standing, tabulate } from './game/outcome.ts';
import { compareEstimate, preflightRun } from './preflight/beforehand.ts';
import { reportContamination } from './run/contamination.ts';
import type { RecipeContext } from './run/context.ts';
import { BEST, CONTAMINATION, iterationName } from './run/layout.ts';
import { loadPlayer, modelInWords, sayLineage } from './run/player.ts';
import { prepareRows, type Rows } from './run/rows.ts';
import { type Run, startRun, withSettings } from './run/run.ts';
import { at, inWords, replayedBefore } from './settings/schedules.ts';
import { type BaselineName, baselinesOf, lossOf, type SpinSettings } from './settings/settings.ts';

/** Plays a new game. Throws Interrupted when the signal stopped it. */
export function playSpin(settings: SpinSettings, context: RecipeContext): Promise<RunOutcome> {
  return startRun('run', settings, context, play);
}

/** What an iteration does with models; everything else in a game is their order, files and decisions. */
export interface Moves {
  /** Puts the model of a directory into the engine. */
  readonly load: (dir: string) => Promise<LoadedModel>;
  /** Finds out how training with this model fits into memory, once. */
  readonly plan: (player: Player, rows: Rows) => Promise<void>;
  /** The opponent answers, the main player learns; false when there is no pair to learn from. */
  readonly train: (opponent: Player, rows: Table, t: number, attempt: Attempt) => Promise<boolean>;
  /** Saves what is in the engine, a successor of the loaded model. */
  readonly save: (loaded: LoadedModel, dir: string) => Promise<void>;
  readonly judge: JudgeRows;
}

const movesOf = (run: Run<'run'>): Moves => ({
  load: (dir) => loadPlayer(run.engine, run.settings, dir),
  plan: ({ loaded }, { train }) => planGame(run, loaded.model, train),
  train: (...lesson) => train(run, ...lesson),
  save: (loaded, dir) => saveModel(run.engine, loaded, dir),
  judge: (...about) => judge(run, ...about),
});

interface Play {
  /** Controls that the run is to have from now on, if not those of its settings. */
  readonly baselines: BaselineName[];
  readonly moves: Moves;
}

/** Plays a game from where its directory stands. */
export async function play(
  opened: Run<'run'>,
  { baselines = baselinesOf(opened.settings.baselines), moves = movesOf(opened) }: Partial<Play> = {},
): Promise<RunOutcome> {
  const begin = performance.now();
  const { settings } = opened;
  // A checker that cannot be loaded stops the game before it has cost anything.
  const checker = await loadChecker(settings.checker);
  const tokenizer = await loadTokenizer(await companionDirectory(settings.model), opened.templateTime);
  let player: Player = { tokenizer, loaded: await moves.load(settings.model) };
  const rows: Table = { ...(await prepareRows(settings, tokenizer, player.loaded.model)), checker };
  demandRows(baselines, rows);
  const isNews = baselines.join() !== baselinesOf(settings.baselines).join();
  const run = isNews ? await withSettings(opened, { baselines }) : opened;
  await announce(run, rows, player.loaded);
  await enterPairs(run, player, rows);
  // A game that is to stop with its pairs may be trained elsewhere.
  if (settings.stop_after === undefined) await moves.plan(player, rows);
  await preflightRun(run, player, rows);

  const first = settings.start_iteration;
  const given = { label: first === 0 ? 'SFT model' : 'given model', iteration: null };
  const standings: Standing[] = [
    { ...given, model: settings.model, judgement: await judgeModel(run, player, rows, given, undefined, moves.judge) },
  ];
  await warnIfForeign(run, standings[0]!.judgement);
  let results = await tabulate(run, standings);

  let waiting: RunOutcome['waiting'];
  for (let t = first; t < first + settings.iterations; t++) {
    waiting = await stopWithPairs(run, player, rows, t);
    if (waiting) break;
    const played = await playIteration(run, moves, player, rows, t, standings);
    if (!played) break;
    player = played.player;
    standings.push({ ...namesOf(t), model: `${iterationName(t)}/model`, judgement: played.judgement });
    results = await tabulate(run, standings);
    if (played.isLast) break;
  }
  if (!waiting) {
    await compareEstimate(run);
    const controls = await playBaselines({ run, tokenizer, rows, standings });
    if (controls.length > 0) results = await tabulate(run, standings, controls);
    for (const comparison of results.comparisons ?? []) {
      await run.emit({ type: 'note', message: comparisonSentence(comparison) });
    }
  }

  const seconds = (performance.now() - begin) / 1000;
  await run.emit(
    waiting ? { type: 'run.interrupted', reason: 'stop_after generate' } : { type: 'run.finished', seconds },
  );
  const best = standings.find(({ label }) => label === results.best?.label)!;
  const model = best.iteration === null ? best.model : run.path(best.model);
  return {
    directory: run.directory,
    results,
    best: { label: best.label, model, link: run.path(BEST) },
    seconds,
    ...(waiting ? { waiting } : {}),
  };
}

const namesOf = (t: number): Names => ({ label: `iteration ${t}`, iteration: t });

/** The rows, and what takes a sample for equal to the human answer. */
type Table = Rows & { readonly checker: Checker | null };

/**
 * Where the game is to stop after generating: the opponent answers, and the iteration waits with its pairs. One that
 * had them before is played.
 */
async function stopWithPairs(
  run: Run<'run'>,
  opponent: Player,
  { trainAt, checker }: Table,
  t: number,
): Promise<RunOutcome['waiting']> {
  const file = (of: number) => run.path(iterationName(of), 'pairs.jsonl');
  const { settings } = run;
  if (settings.stop_after !== 'generate' || (await exists(file(t)))) return undefined;
  await samplePairs(run, opponent, trainAt(t), t, checker);
  const reach = replayedBefore({ ...settings, start_iteration: t, iterations: 1 });
  const files = Array.from({ length: reach }, (_, i) => file(t - 1 - i));
  const replayed = reach > 0 ? ` --replay-pairs ${files.join(' ')}` : '';
  await run.say(
    `Iteration ${t} has its pairs, and the game stops as asked. Go on here: selfplay resume ${run.directory}; or train ` +
      `elsewhere, with the same settings: selfplay run --model ${opponent.loaded.dir} --start-iteration ${t} --pairs ` +
      `${file(t)}${replayed}`,
  );
  return { iteration: t, pairs: file(t) };
}

/** θ_{t+1} from θ_t, in as many attempts as the governor asks for; undefined when the game ends with θ_t. */
async function playIteration(
  run: Run<'run'>,
  moves: Moves,
  opponent: Player,
  rows: Table,
  t: number,
  standings: readonly Standing[],
): Promise<{ player: Player; judgement: Judgement; isLast: boolean } | undefined> {
  const folder = iterationName(t);
  const model = run.path(folder, 'model');
  const [base, before] = [standings[0]!.judgement, standings.at(-1)!.judgement];
  const governed = run.settings.governor && canGovern(rows.dev);
  for (;;) {
    const attempt = await openAttempt(run, t);
    if (!attempt) return undefined;
    if (!(await exists(model))) {
      if (attempt.number > 0) await moves.load(opponent.loaded.dir);
      if (!(await moves.train(opponent, rows, t, attempt))) return undefined;
      await moves.save(opponent.loaded, model);
    }
    await dropCheckpoints(run, folder);
    const player = { tokenizer: opponent.tokenizer, loaded: await moves.load(model) };
    await sayLineage(run, player.loaded, model);
    const opponents = { before, base, beta: attempt.beta };
    const judgement = await judgeModel(run, player, rows, namesOf(t), opponents, moves.judge);
    if (!governed) return { player, judgement, isLast: false };
    const { verdict } = await govern(run, t, attempt, { now: judgement.dev, before: before.dev, rows: rows.dev });
    if (verdict !== 'roll-back') return { player, judgement, isLast: verdict !== 'continue' };
  }
}

/** See `Moves`. */
async function train(run: Run<'run'>, player: Player, rows: Table, t: number, attempt: Attempt): Promise<boolean> {
  const { settings } = run;
  const folder = iterationName(t);
  await mkdir(run.path(folder), { recursive: true });
  await planGame(run, player.loaded.model, rows.train);
  const fresh = await samplePairs(run, player, rows.trainAt(t), t, rows.checker);
  const replayed = await replayedPairs(run, t);
  const { beta, learningRate } = attempt;
  const loss = lossOf(settings, t);
  const pairs = [...fresh, ...replayed.flatMap(({ pairs }) => pairs)];
  const scored = usesReference(loss)
    ? await scoreUnderOpponent(run, player, pairs, t, await hashModelDirectory(player.loaded.dir))
    : pairs;
  const { groups, leftOut } = await groupsOf(run, scored, t);
  if (leftOut > 0) await run.say(`${leftOut} pairs are left out because the SFT model's answer to their prompt was.`);
  if (groups.length === 0) {
    await run.say(`Iteration ${t}: no pair is left to learn from; the game ends here.`);
    return false;
  }
  const start = startOf(loss, beta);
  const steps = stepsOf(groups.length, at(settings.num_train_epochs, t), settings);
  await run.say(
    `Iteration ${t}: learning from ${groups.length} pairs${replayedInWords(replayed)} ` +
      `in ${steps} steps, ${loss.name} loss${start === null ? '' : ` (ℓ(0) = ${start.toPrecision(4)})`}, β ${shownNumber(beta)}` +
      `${mixedIn(settings.sft_weight)}, learning rate ${shownNumber(learningRate)}.`,
  );
  await stage(run, { iteration: t, stage: 'train' }, async () => ({
    counts: await learn(run, player, {
      iteration: t,
      folder,
      groups,
      objective: { kind: 'spin', beta, sftWeight: settings.sft_weight, loss },
      learningRate,
      steps,
    }),
  }));
  return true;
}

/** " (36 of iteration 1, 12 of iteration 0 at weight 0.5)", or nothing. */
function replayedInWords(replayed: readonly Replayed[]): string {
  const parts = replayed.map(
    ({ iteration, weight, pairs }) =>
      `${pairs.length} of iteration ${iteration}${weight === 1 ? '' : ` at weight ${weight}`}`,
  );
  return parts.length === 0 ? '' : ` (${parts.join(', ')})`;
}

/** Says in plain words what is about to happen, to which rows. */
async function announce(run: Run<'run'>, rows: Rows, loaded: LoadedModel): Promise<void> {
  const { settings } = run;
  for (const note of rows.notes) await run.say(note);
  if (settings.governor && !canGovern(rows.dev)) {
    await run.say(
      `The governor keeps out of this game: it needs ${FEWEST_ROWS} dev rows, and there are ${rows.dev.length}.`,
    );
  }
  if (settings.data !== undefined) {
    await reportContamination(run, { ...rows, listed: CONTAMINATION });
  }
  const { iterations, start_iteration: first, pairs } = settings;
  const prompts = `${rows.train.length} prompts: it answers each in at most ${settings.max_new_tokens} tokens, then learns`;
  const from =
    pairs === undefined
      ? prompts
      : iterations === 1
        ? `the pairs of ${filesInWords(pairs)}: it learns`
        : `the pairs of ${filesInWords(pairs)}, later on ${prompts}`;
  await run.say(
    `Playing ${iterations} iteration(s) of SPIN${first > 0 ? `, the first one iteration ${first},` : ''} with ` +
      `${settings.model} (${modelInWords(loaded)}) on ${from} ` +
      `to tell the human answers from its own (β ${inWords(settings.beta)}, ${settings.optimizer}, learning rate ` +
      `${inWords(settings.learning_rate)}, epochs ${inWords(settings.num_train_epochs)}, ${settings.batch_size} pairs a step).`,
  );
}

/** The losses in the log have it in them. */
const mixedIn = (weight: number): string =>
  weight === 0 ? '' : `, cross-entropy of the human answers beside it with weight ${shownNumber(weight)}`;

async function warnIfForeign(run: Run<'run'>, { dev, test }: Judgement): Promise<void> {
  if (dev.length + test.length === 0) return;
  const { foreign, sentence } = humanAgainstOwn([...dev, ...test]);
  await (foreign ? run.warn(sentence) : run.say(sentence));
}
