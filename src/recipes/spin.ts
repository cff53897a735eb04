/**
 * SPIN (Chen et al., ICML 2024): a model plays against its own past self.
 *
 * Iteration t starts from θ_t, which is opponent, reference and starting point alike (θ_0 is the SFT model):
 *   1. the opponent answers the prompts of the SFT data;
 *   2. the pairs (human answer, its answer) of this and of the last iteration are scored under it;
 *   3. the main player, starting from θ_t, learns to tell the two apart: the result is θ_{t+1};
 *   4. θ_{t+1} is judged on held-out rows, and becomes the next opponent.
 * Every step looks into the run directory first, so a resume is the same call again. A game may enter at any iteration,
 * with pairs that were made elsewhere, and may stop where an iteration has its pairs.
 */
import { mkdir } from 'node:fs/promises';
import { hashModelDirectory, type LoadedModel, loadModel, saveModel } from '../checkpoint/index.ts';
import { type Pair, pairGroup } from '../pairs/index.ts';
import { loadTokenizer } from '../tokens/index.ts';
import { exists } from '../util/index.ts';
import type { RecipeContext } from './context.ts';
import { enterPairs } from './entry.ts';
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
import { type Player, samplePairs, scoreUnderOpponent, stage } from './opponent.ts';
import { type RunOutcome, type Standing, tabulate } from './outcome.ts';
import { readPairs } from './records.ts';
import { prepareRows, type Rows } from './rows.ts';
import { iterationName, type Run, startRun } from './run.ts';
import type { SpinSettings } from './settings.ts';

/** Plays a new game. Throws Interrupted when the signal stopped it. */
export function playSpin(settings: SpinSettings, context: RecipeContext): Promise<RunOutcome> {
  return startRun('run', settings, context, play);
}

/** Plays a game from where its directory stands. */
export async function play(run: Run<'run'>): Promise<RunOutcome> {
  const begin = performance.now();
  const { settings, engine } = run;
  const tokenizer = await loadTokenizer(settings.model);
  let player: Player = { tokenizer, loaded: await loadModel(engine, settings.model) };
  const rows = await prepareRows(settings, tokenizer, player.loaded.model);
  await announce(run, rows, player.loaded);
  await enterPairs(run, player, rows);

  const first = settings.start_iteration;
  /** The directory of θ_t. */
  const modelOf = (t: number) => (t === first ? settings.model : run.path(iterationName(t - 1), 'model'));
  const label = first === 0 ? 'SFT model' : 'given model';
  const standings: Standing[] = [
    {
      label,
      iteration: null,
      model: settings.model,
      judgement: await judgeModel(run, player, rows, { label, iteration: null }),
    },
  ];
  await warnIfForeign(run, standings[0]!.judgement);
  let results = await tabulate(run, standings);

  let waiting: RunOutcome['waiting'];

  for (let t = first; t < first + settings.iterations; t++) {
    const folder = iterationName(t);
    const model = run.path(folder, 'model');
    if (!(await exists(model))) {
      await mkdir(run.path(folder), { recursive: true });
      const opponent = await hashModelDirectory(modelOf(t));
      const file = run.path(folder, 'pairs.jsonl');
      const isNew = !(await exists(file));
      const fresh = await samplePairs(run, player, rows.train, t);
      if (isNew && settings.stop_after === 'generate') {
        waiting = { iteration: t, pairs: file };
        await run.say(howToGoOn(run, t, modelOf(t)));
        break;
      }
      const replayed: Pair[] =
        settings.replay && t > 0 ? await readPairs(run.path(iterationName(t - 1), 'pairs.jsonl')) : [];
      const pairs = await scoreUnderOpponent(run, player, [...fresh, ...replayed], t, opponent);
      if (pairs.length === 0) {
        await run.say(`Iteration ${t}: no pair is left to learn from; the game ends here.`);
        break;
      }
      await run.say(
        `Iteration ${t}: learning from ${pairs.length} pairs${t > 0 ? ` (${replayed.length} of iteration ${t - 1})` : ''} ` +
          `in ${stepsOf(pairs.length, settings)} steps, β ${settings.beta}, learning rate ${settings.learning_rate}.`,
      );
      const { beta, sft_weight: sftWeight } = settings;
      await stage(run, { iteration: t, stage: 'train' }, async () => ({
        counts: await learn(run, player.loaded, {
          iteration: t,
          folder,
          groups: pairs.map(pairGroup),
          objective: { kind: 'spin', beta, sftWeight },
        }),
      }));
      await saveModel(engine, player.loaded, model);
    }
    await dropCheckpoints(run, folder);
    player = { tokenizer, loaded: await loadModel(engine, model) };
    const played = { label: `iteration ${t}`, iteration: t };
    const judgement = await judgeModel(run, player, rows, played, standings.at(-1)!.judgement);
    standings.push({ ...played, model: `${folder}/model`, judgement });
    results = await tabulate(run, standings);
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

/** What to do with iteration t, which has its pairs and is not trained yet. */
function howToGoOn({ directory, path, settings }: Run<'run'>, t: number, model: string): string {
  const pairs = (of: number) => path(iterationName(of), 'pairs.jsonl');
  const replay = t === 0 ? '' : settings.replay ? ` --replay-pairs ${pairs(t - 1)}` : ' --no-replay';
  return (
    `Iteration ${t} has its pairs, and the game stops as asked. Go on here: selfplay resume ${directory}; or train ` +
    `elsewhere: selfplay run --model ${model} --start-iteration ${t} --pairs ${pairs(t)}${replay}`
  );
}

/** Says in plain words what is about to happen, to which rows. */
async function announce(run: Run<'run'>, rows: Rows, { model }: LoadedModel): Promise<void> {
  const { settings } = run;
  const million = (model.parameters.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0) / 1e6).toFixed(1);
  for (const note of rows.notes) await run.say(note);
  for (const warning of rows.warnings) await run.warn(warning);
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
      `${settings.model} (${model.modelType}, ${million} million parameters) on ${from} ` +
      `to tell the human answers from its own (β ${settings.beta}, ${settings.optimizer}, learning rate ` +
      `${settings.learning_rate}, ${settings.num_train_epochs} epoch(s), ${settings.batch_size} pairs a step).`,
  );
}

/** The held-out figures of a model, made once; iteration null is the model that the game starts from. */
async function judgeModel(
  run: Run<'run'>,
  player: Player,
  { dev, test }: Rows,
  { label, iteration: t }: Pick<Standing, 'label' | 'iteration'>,
  before?: Judgement,
): Promise<Judgement> {
  const folder = t === null ? 'baseline' : iterationName(t);
  const file = run.path(folder, 'evaluation.json');
  const known = await readJudgement(file);
  if (known) return known;
  await mkdir(run.path(folder), { recursive: true });
  const scorers = await scorersFor([...dev, ...test], run.settings.scorer);
  const judgement = { dev: [], test: [] } as { dev: Judgement['dev']; test: Judgement['test'] };
  await stage(run, { iteration: t, stage: 'evaluate' }, async () => {
    for (const [split, rows] of [
      ['dev', dev],
      ['test', test],
    ] as const) {
      run.checkSignal();
      judgement[split] = await judge(run, player, rows, scorers, {
        label: `${label}: judged on ${split}`,
        beta: run.settings.beta,
        ...(before ? { before: before[split] } : {}),
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
