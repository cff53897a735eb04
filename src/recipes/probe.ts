/**
 * Probe: a short trial of several learning rates, values of β and losses, each one iteration on the same few hundred pairs
 * from the same model. They are judged on the dev split; the test split is left alone.
 *
 * A probe is a run directory: iteration-0/ holds the pairs and their log-probs, which all trials share, baseline/ the figures of
 * the model, trial-N/ those of each trial. In the log a trial is an attempt at iteration 0. So a resume goes on where the probe
 * stopped, in the middle of a trial as well.
 */
import { mkdir } from 'node:fs/promises';
import { companionDirectory, hashModelDirectory } from '../checkpoint/index.ts';
import { decide, loadChecker, type Ranked, rankTrials } from '../evaluation/index.ts';
import type { Group } from '../pairs/index.ts';
import { loadTokenizer } from '../tokens/index.ts';
import { exists, shuffled, usageError, writeFileAtomic } from '../util/index.ts';
import { canGovern, FEWEST_ROWS, readingsOf } from './game/governor.ts';
import { groupsOf } from './game/groups.ts';
import { figuresOf, type Judged, judge, readJudgement, scorersFor, writeJudgement } from './game/judge.ts';
import { dropCheckpoints, learn, stepsOf } from './game/learn.ts';
import { planGame } from './game/longest.ts';
import { type Player, samplePairs, scoreUnderOpponent, stage } from './game/opponent.ts';
import { type RunOutcome, taskFigure } from './game/outcome.ts';
import { configOf, type ProbeReport, type Setting, type TrialReport, wordsOf } from './game/probeReport.ts';
import type { RecipeContext } from './run/context.ts';
import { iterationName, trialName } from './run/layout.ts';
import { loadPlayer, modelInWords } from './run/player.ts';
import { prepareRows, type Row } from './run/rows.ts';
import { type Run, startRun } from './run/run.ts';
import type { ProbeSettings } from './settings/probeSettings.ts';
import { at } from './settings/schedules.ts';
import { lossOf } from './settings/settings.ts';

const REPORT = 'probe.json';
/** The lines to use. */
const PROBE_CONFIG = 'selfplay.config.yaml';
/** Fewer steps than this say little about a whole iteration. */
const FEWEST_STEPS = 4;

/** Tries settings. Throws Interrupted when the signal stopped it. */
export function probe(settings: ProbeSettings, context: RecipeContext): Promise<RunOutcome> {
  return startRun('probe', settings, context, tryAll);
}

/** Tries what has not been tried, from where the directory stands. */
export async function tryAll(run: Run<'probe'>): Promise<RunOutcome> {
  const begin = performance.now();
  const secondsSoFar = () => (performance.now() - begin) / 1000;
  const { settings, engine } = run;
  if (settings.data === undefined) throw usageError({ what: 'data is missing', fix: 'give --data' });
  const checker = await loadChecker(settings.checker);
  const tokenizer = await loadTokenizer(await companionDirectory(settings.model), run.templateTime);
  const player: Player = { tokenizer, loaded: await loadPlayer(engine, settings, settings.model) };
  const hash = await hashModelDirectory(settings.model);
  // The test rows are cut off as a run would cut them, and forgotten.
  const { trainAt, dev, notes } = await prepareRows(settings, tokenizer, player.loaded.model);
  if (!canGovern(dev)) {
    throw usageError({
      what: `${dev.length} dev rows are too few to compare trials on: at least ${FEWEST_ROWS} are needed`,
      fix: 'give more data, or --dev-size',
    });
  }
  for (const note of notes) await run.say(note);
  const few = shuffled(trainAt(0), settings.seed, 'probe').slice(0, settings.rows);
  const all = trialsOf(settings);
  await run.say(
    `Probing ${settings.model} (${modelInWords(player.loaded)}) with ${all.length} trials on ${few.length} prompts, judged on ` +
      `${dev.length} dev rows, for at most about ${settings.minutes} min. Test rows are not looked at.`,
  );
  run.attempts.set(0, 0);
  // The settings of a probe are those of a game and some more. In iteration 0 every loss looks at two answers.
  const game: Run<'run'> = { ...run, settings: { ...settings, iterations: 1 } };
  await planGame(game, player.loaded.model, few);
  const base = await judgeOnDev(run, player, dev, { folder: 'baseline', iteration: null, label: 'SFT model' });
  await mkdir(run.path(iterationName(0)), { recursive: true });
  const fresh = await samplePairs(game, player, few, 0, checker);
  const pairs = await scoreUnderOpponent(game, player, fresh, 0, hash);
  const { groups } = await groupsOf(game, pairs, 0);
  if (groups.length === 0) {
    throw usageError({
      what: 'no pair is left to learn from',
      where: run.path(iterationName(0), 'flagged.jsonl'),
      fix: 'see there why; give more --rows, or a looser --drop or --checker',
    });
  }
  const steps = stepsOf(groups.length, at(settings.num_train_epochs, 0), settings);
  if (steps < FEWEST_STEPS) {
    await run.warn(`a trial has only ${steps} step(s): more --rows, or a smaller --batch-size, say more about a game.`);
  }

  const judged: (Setting & { dev: Judged[] })[] = [];
  const untried: Setting[] = [];
  /** Seconds of the longest trial of this process; undefined before its first, which is made in any case. */
  let longest: number | undefined;
  for (const [n, setting] of all.entries()) {
    const isDone = await exists(run.path(trialName(n), 'evaluation.json'));
    if (!isDone && longest !== undefined && secondsSoFar() + longest > 60 * settings.minutes) {
      untried.push(setting);
      continue;
    }
    const start = secondsSoFar();
    judged.push({ ...setting, dev: await tryOne(run, player, { groups, steps, dev, base }, n, setting) });
    if (!isDone) longest = Math.max(longest ?? 0, secondsSoFar() - start);
  }
  const report = reportOf({ hash, rows: few.length, dev, steps, base, judged, untried, seed: settings.seed });
  await writeFileAtomic(run.path(REPORT), `${JSON.stringify(report, null, 2)}\n`);
  await writeFileAtomic(run.path(PROBE_CONFIG), configOf(report));
  const seconds = secondsSoFar();
  await run.emit({ type: 'run.finished', seconds });
  return {
    directory: run.directory,
    results: { v: 1, rows: [], best: null, settings: {} },
    best: { label: 'the model that was probed', model: settings.model },
    seconds,
    probe: { report, config: run.path(PROBE_CONFIG) },
  };
}

/** Rate × β × loss in a seeded order, so that what there is no time for is no one end of them. */
export function trialsOf({ rates, betas, losses, loss, seed }: ProbeSettings): Setting[] {
  const grid = (losses ?? [loss]).flatMap((name) =>
    rates.flatMap((learningRate) => betas.map((beta): Setting => ({ learningRate, beta, loss: name }))),
  );
  return shuffled(grid, seed, 'probe trials');
}

/** What all trials have in common. */
interface Material {
  readonly groups: readonly Group[];
  readonly steps: number;
  readonly dev: readonly Row[];
  readonly base: Judged[];
}

/** One iteration with a setting; the dev rows under what came of it. */
async function tryOne(
  run: Run<'probe'>,
  player: Player,
  { groups, steps, dev, base }: Material,
  n: number,
  setting: Setting,
): Promise<Judged[]> {
  const { settings, engine } = run;
  const folder = trialName(n);
  const known = await readJudgement(run.path(folder, 'evaluation.json'));
  if (known) {
    await dropCheckpoints(run, folder);
    return known.dev;
  }
  run.checkSignal();
  run.attempts.set(0, n);
  await mkdir(run.path(folder), { recursive: true });
  const { learningRate, beta, loss: name } = setting;
  await run.say(`Trial ${n}: ${wordsOf(setting)}.`);
  const loaded = await loadPlayer(engine, settings, settings.model);
  const loss = lossOf({ ...settings, loss: name }, 0);
  await stage(run, { iteration: 0, stage: 'train' }, async () => ({
    counts: await learn(
      run,
      { ...player, loaded },
      {
        iteration: 0,
        folder,
        groups,
        objective: { kind: 'spin', beta, sftWeight: settings.sft_weight, loss },
        learningRate,
        steps,
      },
    ),
  }));
  const judged = await judgeOnDev(run, { ...player, loaded }, dev, {
    folder,
    iteration: 0,
    label: `trial ${n}`,
    before: base,
    beta,
  });
  await dropCheckpoints(run, folder);
  return judged;
}

async function judgeOnDev(
  run: Run<'probe'>,
  player: Player,
  dev: readonly Row[],
  at: { folder: string; iteration: number | null; label: string; before?: Judged[]; beta?: number },
): Promise<Judged[]> {
  const { folder, iteration, label, before, beta = 1 } = at;
  const file = run.path(folder, 'evaluation.json');
  const known = await readJudgement(file);
  if (known) return known.dev;
  await mkdir(run.path(folder), { recursive: true });
  const scorers = await scorersFor(dev, run.settings.scorer);
  const { judged } = await stage(run, { iteration, stage: 'evaluate' }, async () => {
    const judged = await judge(run, player, dev, scorers, {
      label,
      beta,
      rest: () => run.rest(player, { iteration, stage: 'evaluate' }),
      ...(before ? { before } : {}),
    });
    await run.emit({
      iteration,
      stage: 'evaluate',
      type: 'evaluation',
      split: 'dev',
      model: label,
      metrics: figuresOf(judged),
    });
    return { counts: { dev: dev.length }, judged };
  });
  await writeJudgement(file, { dev: judged, test: [] });
  return judged;
}

function reportOf(found: {
  readonly hash: string;
  readonly rows: number;
  readonly dev: readonly Row[];
  readonly steps: number;
  readonly base: readonly Judged[];
  readonly judged: readonly (Setting & { readonly dev: Judged[] })[];
  readonly untried: readonly Setting[];
  readonly seed: number;
}): ProbeReport {
  const { name, better, value } = taskFigure(found.base)!;
  const scoresOf = (judged: readonly Judged[]) => judged.map(({ scores }) => better * scores[name]!);
  const trials = found.judged.map(({ dev, ...setting }) => {
    const { verdict, reason } = decide(readingsOf(dev, found.base, found.dev));
    return { ...setting, scores: scoresOf(dev), objection: verdict === 'roll-back' ? reason : null };
  });
  const { ranked, choice, verdict: against } = rankTrials(scoresOf(found.base), trials, found.seed);
  const settingIn = ({ learningRate, beta, loss }: Setting): Setting => ({ learningRate, beta, loss });
  const trialIn = (trial: Ranked<(typeof trials)[number]>): TrialReport => {
    const { difference, standardError, low, high, objection } = trial;
    return { ...settingIn(trial), difference, standardError, low, high, objection };
  };
  return {
    v: 1,
    model: found.hash,
    rows: found.rows,
    dev: found.dev.length,
    steps: found.steps,
    metric: { name, better, base: value },
    trials: ranked.map(trialIn),
    untried: found.untried,
    choice: choice && settingIn(choice),
    verdict: against,
  };
}
