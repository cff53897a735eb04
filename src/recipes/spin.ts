/**
 * SPIN (Chen et al., ICML 2024): a model plays against its own past self.
 *
 * Iteration t starts from θ_t, which is opponent, reference and starting point alike (θ_0 is the SFT model):
 *   1. the opponent answers the prompts of the SFT data;
 *   2. the pairs (human answer, its answer) of this and of the last iteration are scored under it;
 *   3. the main player, starting from θ_t, learns to tell the two apart: the result is θ_{t+1};
 *   4. θ_{t+1} is judged on held-out rows, and becomes the next opponent, if the governor finds nothing against it.
 * Every step looks into the run directory first, so a resume is the same call again. A game may enter at any iteration,
 * with pairs that were made elsewhere, and may stop where an iteration has its pairs.
 */
import { mkdir } from 'node:fs/promises';
import { companionDirectory, hashModelDirectory, type LoadedModel, saveModel } from '../checkpoint/index.ts';
import { type Checker, loadChecker } from '../evaluation/index.ts';
import { type Group, type Pair, pairGroup, type ScoredPair } from '../pairs/index.ts';
import { loadTokenizer } from '../tokens/index.ts';
import { startOf, usesInitial } from '../training/index.ts';
import { exists } from '../util/index.ts';
import { reportContamination } from './contamination.ts';
import type { RecipeContext } from './context.ts';
import { enterPairs } from './entry.ts';
import { type Attempt, canGovern, govern, openAttempt } from './governor.ts';
import {
  answerFigures,
  figuresOf,
  humanAgainstOwn,
  type Judgement,
  judge,
  readJudgement,
  scorersFor,
  writeJudgement,
} from './judge.ts';
import { dropCheckpoints, learn, stepsOf } from './learn.ts';
import { longestPair } from './longest.ts';
import { type Player, samplePairs, scoreUnderOpponent, stage } from './opponent.ts';
import { type RunOutcome, type Standing, tabulate } from './outcome.ts';
import { planMemory } from './plan.ts';
import { loadPlayer, modelInWords, sayLineage } from './player.ts';
import { readPairs } from './records.ts';
import { prepareRows, type Rows } from './rows.ts';
import { CONTAMINATION, iterationName, type Run, startRun } from './run.ts';
import { lossOf, type SpinSettings } from './settings.ts';

/** Plays a new game. Throws Interrupted when the signal stopped it. */
export function playSpin(settings: SpinSettings, context: RecipeContext): Promise<RunOutcome> {
  return startRun('run', settings, context, play);
}

/** Plays a game from where its directory stands. */
export async function play(run: Run<'run'>): Promise<RunOutcome> {
  const begin = performance.now();
  const { settings, engine } = run;
  // A checker that cannot be loaded stops the game before it has cost anything.
  const checker = await loadChecker(settings.checker);
  const tokenizer = await loadTokenizer(await companionDirectory(settings.model));
  let player: Player = { tokenizer, loaded: await loadPlayer(engine, settings, settings.model) };
  const rows: Table = { ...(await prepareRows(settings, tokenizer, player.loaded.model)), checker };
  await announce(run, rows, player.loaded);
  await enterPairs(run, player, rows);

  const first = settings.start_iteration;
  // A game that is to stop with its pairs may be trained elsewhere.
  if (settings.stop_after === undefined) await planTraining(run, player, rows);
  const given = { label: first === 0 ? 'SFT model' : 'given model', iteration: null };
  const standings: Standing[] = [
    { ...given, model: settings.model, judgement: await judgeModel(run, player, rows, given) },
  ];
  await warnIfForeign(run, standings[0]!.judgement);
  let results = await tabulate(run, standings);

  let waiting: RunOutcome['waiting'];
  for (let t = first; t < first + settings.iterations; t++) {
    waiting = await stopWithPairs(run, player, rows, t);
    if (waiting) break;
    const played = await playIteration(run, player, rows, t, standings);
    if (!played) break;
    player = played.player;
    standings.push({ ...namesOf(t), model: `${iterationName(t)}/model`, judgement: played.judgement });
    results = await tabulate(run, standings);
    if (played.isLast) break;
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
    best: { label: best.label, model },
    seconds,
    ...(waiting ? { waiting } : {}),
  };
}

/** A model's row of the table: iteration null is the model that the game starts from. */
type Names = Pick<Standing, 'label' | 'iteration'>;
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
  { train, checker }: Table,
  t: number,
): Promise<RunOutcome['waiting']> {
  const file = (of: number) => run.path(iterationName(of), 'pairs.jsonl');
  const { stop_after, replay } = run.settings;
  if (stop_after !== 'generate' || (await exists(file(t)))) return undefined;
  await samplePairs(run, opponent, train, t, checker);
  const replayed = t === 0 ? '' : replay ? ` --replay-pairs ${file(t - 1)}` : ' --no-replay';
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
  opponent: Player,
  rows: Table,
  t: number,
  standings: readonly Standing[],
): Promise<{ player: Player; judgement: Judgement; isLast: boolean } | undefined> {
  const { engine, settings } = run;
  const folder = iterationName(t);
  const model = run.path(folder, 'model');
  const [base, before] = [standings[0]!.judgement, standings.at(-1)!.judgement];
  const governed = settings.governor && canGovern(rows.dev);
  for (;;) {
    const attempt = await openAttempt(run, t);
    if (!attempt) return undefined;
    if (!(await exists(model))) {
      if (attempt.number > 0) await loadPlayer(engine, settings, opponent.loaded.dir);
      if (!(await train(run, opponent, rows, t, attempt))) return undefined;
      await saveModel(engine, opponent.loaded, model);
    }
    await dropCheckpoints(run, folder);
    const player = { tokenizer: opponent.tokenizer, loaded: await loadPlayer(engine, settings, model) };
    await sayLineage(run, player.loaded, model);
    const judgement = await judgeModel(run, player, rows, namesOf(t), { before, base, beta: attempt.beta });
    if (!governed) return { player, judgement, isLast: false };
    const { verdict } = await govern(run, t, attempt, { now: judgement.dev, before: before.dev, rows: rows.dev });
    if (verdict !== 'roll-back') return { player, judgement, isLast: verdict !== 'continue' };
  }
}

/** The opponent answers, the main player learns; false when there is no pair to learn from. */
async function train(run: Run<'run'>, player: Player, rows: Table, t: number, attempt: Attempt): Promise<boolean> {
  const { settings } = run;
  const folder = iterationName(t);
  await mkdir(run.path(folder), { recursive: true });
  await planTraining(run, player, rows);
  const opponent = await hashModelDirectory(player.loaded.dir);
  const fresh = await samplePairs(run, player, rows.train, t, rows.checker);
  const replayed: Pair[] =
    settings.replay && t > 0 ? await readPairs(run.path(iterationName(t - 1), 'pairs.jsonl')) : [];
  const pairs = await scoreUnderOpponent(run, player, [...fresh, ...replayed], t, opponent);
  const { beta, learningRate } = attempt;
  const loss = lossOf(settings, t);
  const groups = usesInitial(loss) ? await triplets(run, pairs) : pairs.map((pair) => pairGroup(pair));
  if (groups.length === 0) {
    await run.say(`Iteration ${t}: no pair is left to learn from; the game ends here.`);
    return false;
  }
  const start = startOf(loss, beta);
  await run.say(
    `Iteration ${t}: learning from ${groups.length} pairs${t > 0 ? ` (${replayed.length} of iteration ${t - 1})` : ''} ` +
      `in ${stepsOf(groups.length, settings)} steps, ${loss.name} loss${start === null ? '' : ` (ℓ(0) = ${start.toPrecision(4)})`}, β ${beta}, learning rate ${learningRate}.`,
  );
  await stage(run, { iteration: t, stage: 'train' }, async () => ({
    counts: await learn(run, player.loaded, {
      iteration: t,
      folder,
      groups,
      objective: { kind: 'spin', beta, sftWeight: settings.sft_weight, loss },
      learningRate,
    }),
  }));
  return true;
}

/** Finds out how training fits into memory, once. */
async function planTraining(run: Run<'run'>, { loaded: { model } }: Player, { train }: Rows): Promise<void> {
  const longest = await longestPair(run, model, train);
  if (!longest) return;
  const { beta, sft_weight: sftWeight } = run.settings;
  await planMemory(run, {
    model,
    longest,
    objective: { kind: 'spin', beta, sftWeight, loss: lossOf(run.settings, 1) },
  });
}

/** Pairs with the initial model's answer to the same prompt. Where that did not take part in iteration 0, the pair does not now. */
async function triplets(run: Run<'run'>, pairs: readonly ScoredPair[]): Promise<Group[]> {
  const initial = new Map((await readPairs(run.path(iterationName(0), 'pairs.jsonl'))).map((p) => [p.id, p.generated]));
  const kept = pairs.filter(({ id }) => initial.has(id));
  const left = pairs.length - kept.length;
  if (left > 0) await run.say(`${left} pairs are left out because the SFT model's answer to their prompt was.`);
  return kept.map((pair) => pairGroup(pair, initial.get(pair.id)));
}

/** Says in plain words what is about to happen, to which rows. */
async function announce(run: Run<'run'>, rows: Rows, loaded: LoadedModel): Promise<void> {
  const { settings } = run;
  for (const note of rows.notes) await run.say(note);
  if (settings.data !== undefined) {
    await reportContamination(run, { ...rows, file: settings.data, listed: CONTAMINATION });
  }
  const { iterations, start_iteration: first, pairs } = settings;
  const prompts = `${rows.train.length} prompts: it answers each in at most ${settings.max_new_tokens} tokens, then learns`;
  const from =
    pairs === undefined
      ? prompts
      : iterations === 1
        ? `the pairs of ${pairs}: it learns`
        : `the pairs of ${pairs}, later on ${prompts}`;
  await run.say(
    `Playing ${iterations} iteration(s) of SPIN${first > 0 ? `, the first one iteration ${first},` : ''} with ` +
      `${settings.model} (${modelInWords(loaded)}) on ${from} ` +
      `to tell the human answers from its own (β ${settings.beta}, ${settings.optimizer}, learning rate ` +
      `${settings.learning_rate}, ${settings.num_train_epochs} epoch(s), ${settings.batch_size} pairs a step).`,
  );
}

/** The held-out figures of a model, made once. */
async function judgeModel(
  run: Run<'run'>,
  player: Player,
  { dev, test }: Rows,
  { label, iteration: t }: Names,
  opponents?: { readonly before: Judgement; readonly base: Judgement; readonly beta: number },
): Promise<Judgement> {
  const folder = t === null ? 'baseline' : iterationName(t);
  const file = run.path(folder, 'evaluation.json');
  const known = await readJudgement(file);
  if (known) return known;
  const scorers = await scorersFor([...dev, ...test], run.settings.scorer);
  await mkdir(run.path(folder), { recursive: true });
  const judgement = { dev: [], test: [] } as { dev: Judgement['dev']; test: Judgement['test'] };
  await stage(run, { iteration: t, stage: 'evaluate' }, async () => {
    for (const [split, rows] of [
      ['dev', dev],
      ['test', test],
    ] as const) {
      run.checkSignal();
      judgement[split] = await judge(run, player, rows, scorers, {
        label: `${label}: judged on ${split}`,
        beta: opponents?.beta ?? run.settings.beta,
        ...(opponents ? { before: opponents.before[split], base: opponents.base[split] } : {}),
      });
      if (rows.length > 0) await logJudgement(run, t, label, split, judgement[split], rows);
    }
    return { counts: { dev: dev.length, test: test.length } };
  });
  await writeJudgement(file, judgement);
  return judgement;
}

async function logJudgement(
  run: Run<'run'>,
  iteration: number | null,
  label: string,
  split: keyof Judgement,
  judged: Judgement['dev'],
  rows: Rows['dev'],
): Promise<void> {
  const at = { iteration, stage: 'evaluate' } as const;
  await run.emit({ ...at, type: 'evaluation', split, model: label, metrics: figuresOf(judged) });
  const { identicalToHuman, truncated, meanLength, repetition } = answerFigures(judged, rows);
  await run.emit({
    ...at,
    type: 'note',
    message:
      `${label} on ${split}: greedy answers of ${meanLength.toFixed(1)} tokens, ${percent(truncated)} cut, ` +
      `${percent(identicalToHuman)} identical to the human answer, repetition ${percent(repetition)}`,
  });
}

const percent = (share: number) => `${(share * 100).toFixed(1)} %`;

async function warnIfForeign(run: Run<'run'>, { dev, test }: Judgement): Promise<void> {
  if (dev.length + test.length === 0) return;
  const { foreign, sentence } = humanAgainstOwn([...dev, ...test]);
  await (foreign ? run.warn(sentence) : run.say(sentence));
}
