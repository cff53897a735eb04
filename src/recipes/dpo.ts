/**
 * DPO (Rafailov et al. 2023) and its relatives on labelled pairs: one iteration of the game whose pairs are given. The
 * chosen answer stands where the human answer does, the rejected one where the sample does, and the reference is the model
 * that training starts from: both answers are scored under it, then the losses of the game are learned (losses.ts).
 *
 * The table has pairs that were held out, under the model before and after:
 *   rewards/margins     β·[log(p/p_ref)(chosen) − log(p/p_ref)(rejected)], summed over tokens, whatever the loss is;
 *                       before training 0 by definition
 *   rewards/accuracies  share of pairs with a margin above 0, ties half
 *   nats/token          of the chosen and of the rejected answers: margins can grow while both become less likely
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { companionDirectory, hashModelDirectory, saveModel } from '../checkpoint/index.ts';
import { filesInWords, splitExamples } from '../data/index.ts';
import { discrimination, estimate } from '../evaluation/index.ts';
import { type Pair, pairGroup } from '../pairs/index.ts';
import { type ResultRow, type Results, resultRow, writeResults } from '../report/index.ts';
import { loadTokenizer } from '../tokens/index.ts';
import { openScorer, startOf } from '../training/index.ts';
import { exists, usageError, writeFileAtomic } from '../util/index.ts';
import { entriesOf, type FileRow, readPairRows, rowOfTexts } from './game/entry.ts';
import { dropCheckpoints, learn, stepsOf } from './game/learn.ts';
import { planPairs } from './game/longest.ts';
import { type Player, scoreUnderOpponent, stage } from './game/opponent.ts';
import type { RunOutcome } from './game/outcome.ts';
import { type JudgedEntry, judgeEntries, reportPairs, writeEntries } from './game/verdicts.ts';
import { reportContamination } from './run/contamination.ts';
import type { RecipeContext } from './run/context.ts';
import { CONTAMINATION, iterationName } from './run/layout.ts';
import { loadPlayer, modelInWords, sayLineage } from './run/player.ts';
import { decodeFloats, encodeFloats, pairOf, readPairs } from './run/records.ts';
import { chooseRows, HELD_OUT, type HeldOut, namedRows, type Rows, refuseUnusable, skippedNotes } from './run/rows.ts';
import { type Run, startRun } from './run/run.ts';
import type { DpoSettings } from './settings/dpoSettings.ts';
import { lossOf } from './settings/settings.ts';

/** The only iteration. */
const T = 0;
const FOLDER = iterationName(T);
const PAIRS = 'pairs.jsonl';
const KEYS = { real: 'chosen', generated: 'rejected' };
const FORMS =
  'a row is {"prompt", "chosen", "rejected"}: texts or lists of messages; or {"chosen", "rejected"}: two chats with the same ' +
  'prompt, the answer of the assistant last';
const GIVEN = { label: 'given model', iteration: null };
const TRAINED = { label: 'trained', iteration: T };

/** Trains on labelled pairs; the model is `iteration-0/model` in the run directory. Throws Interrupted when the signal stopped it. */
export function trainOnPairs(settings: DpoSettings, context: RecipeContext): Promise<RunOutcome> {
  return startRun('dpo', settings, context, prefer);
}

/** Trains from where the directory stands. */
export async function prefer(run: Run<'dpo'>): Promise<RunOutcome> {
  const begin = performance.now();
  const { settings, engine } = run;
  const tokenizer = await loadTokenizer(await companionDirectory(settings.model), run.templateTime);
  const start: Player = { tokenizer, loaded: await loadPlayer(engine, settings, settings.model) };
  const heldOut = await preparePairs(run, start);
  const before = await score(run, start, heldOut, null);
  const model = run.path(FOLDER, 'model');
  if (!(await exists(model))) {
    await train(run, start);
    await saveModel(engine, start.loaded, model);
  }
  await dropCheckpoints(run, FOLDER);
  const trained = { tokenizer, loaded: await loadPlayer(engine, settings, model) };
  await sayLineage(run, trained.loaded, model);
  const after = await score(run, trained, heldOut, T);

  const rows: ResultRow[] = [];
  for (const [names, path, logProbs] of [
    [GIVEN, settings.model, before],
    [TRAINED, `${FOLDER}/model`, after],
  ] as const) {
    const items = logProbs.map((pair, i) => ({ id: pair.id, scores: scoresOf(pair, before[i]!, settings.beta) }));
    rows.push(resultRow({ ...names, model: path, items }, rows.at(-1)));
  }
  const results: Results = {
    v: 1,
    rows,
    best: { label: TRAINED.label, how: 'what was trained: nothing was chosen' },
    settings: { ...settings, split: 'test', engine: engine.info },
  };
  await writeResults(run.path('results.json'), results);
  const seconds = (performance.now() - begin) / 1000;
  await run.emit({ type: 'run.finished', seconds });
  return { directory: run.directory, results, best: { label: TRAINED.label, model }, seconds };
}

/** Those of a part of the file that can be used, judged, and of these the ones that take part. */
interface JudgedPart {
  readonly entries: readonly JudgedEntry[];
  readonly pairs: readonly Pair[];
  readonly skipped: readonly string[];
}

/** The user's pairs as they are used, with what is to be said of them. */
interface ChosenPairs {
  /** At least one takes part. */
  readonly train: JudgedPart;
  readonly test: JudgedPart;
  readonly note: string;
  readonly problems: readonly string[];
  readonly comparison: Pick<Rows, 'comparisons' | 'compared'>;
}

/** Throws a usage error with file:line:key for a row of another form, and when no pair is left to train on. */
export async function readChosenPairs(settings: DpoSettings, player: Player): Promise<ChosenPairs> {
  const { data, eval_data, seed } = settings;
  const { rows, skipped } = await readLabelled(data);
  const outside = eval_data === undefined ? null : await readLabelled(eval_data);
  const size = settings.test_size ?? Math.min(HELD_OUT, Math.floor(rows.length / 10));
  const splits = outside
    ? { train: rows, test: outside.rows.slice(0, settings.test_size ?? HELD_OUT) }
    : splitExamples(rows, { seed, dev: 0, test: size });
  const file = filesInWords(data);
  const testFile = filesInWords(eval_data ?? data);
  const heldOut: HeldOut[] = [{ name: 'test', examples: splits.test }, ...(await namedRows(settings))];
  const { chosen, ...comparison } = chooseRows(splits.train, heldOut, settings);
  const judged = async (part: readonly FileRow[], file: string) => {
    const encoded = entriesOf(part, T, player);
    refuseUnusable([encoded], file);
    const entries = await judgeEntries(settings, player.loaded.model, null, encoded.rows);
    const pairs = entries.flatMap(({ record }) => (record.excluded === null ? [pairOf(record)] : []));
    return { entries, pairs, skipped: encoded.skipped };
  };
  const [train, test] = [await judged(chosen, file), await judged(splits.test, testFile)];
  if (train.pairs.length === 0) {
    throw usageError({
      what: 'no pair is left to train on',
      where: file,
      fix: 'give other pairs, or other reasons as --drop',
    });
  }
  const note =
    `${file}: ${rows.length} labelled pairs; train ${train.entries.length} of ${splits.train.length}, test ` +
    `${test.pairs.length}${outside ? ` (from ${testFile})` : ''}; seed ${seed}`;
  const problems = [...skipped, ...(outside?.skipped ?? []), ...train.skipped, ...test.skipped];
  return { train, test, note, problems, comparison };
}

/** pairs.jsonl of the pairs to train on; @returns the pairs of the table */
async function preparePairs(run: Run<'dpo'>, player: Player): Promise<readonly Pair[]> {
  const { settings } = run;
  const { train, test, note, problems, comparison } = await readChosenPairs(settings, player);
  await run.say(note);
  for (const problem of skippedNotes(problems)) await run.say(problem);
  await reportContamination(run, { ...comparison, listed: CONTAMINATION });
  const { beta, sft_weight: sftWeight } = settings;
  const objective = { kind: 'spin', beta, sftWeight, loss: lossOf(settings, T) } as const;
  await planPairs(
    run,
    player.loaded.model,
    train.pairs.map((pair) => pairGroup(pair)),
    objective,
  );
  if (!existsSync(run.path(FOLDER, PAIRS))) {
    await mkdir(run.path(FOLDER), { recursive: true });
    const at = { iteration: T, stage: 'prepare' } as const;
    await stage(run, at, async () => {
      await reportPairs(run, at, train.entries, `${train.entries.length} pairs to train on`, KEYS);
      return { counts: { pairs: train.entries.length, skipped: problems.length } };
    });
    await writeEntries(run, T, train.entries);
  }
  return test.pairs;
}

/** The pairs of files. Throws a usage error with file:line:key for a row of another form. */
async function readLabelled(files: readonly string[]): Promise<{ rows: FileRow<string>[]; skipped: string[] }> {
  const read = await readPairRows(files, FORMS, (given, at) => rowOfTexts(given, at, FORMS, KEYS));
  refuseUnusable([read], filesInWords(files));
  return read;
}

async function train(run: Run<'dpo'>, player: Player): Promise<void> {
  const { settings } = run;
  const { beta, learning_rate: learningRate, sft_weight: sftWeight } = settings;
  const opponent = await hashModelDirectory(player.loaded.dir);
  const pairs = await scoreUnderOpponent(run, player, await readPairs(run.path(FOLDER, PAIRS)), T, opponent);
  const groups = pairs.map((pair) => pairGroup(pair));
  const loss = lossOf(settings, T);
  const steps = stepsOf(groups.length, settings.num_train_epochs, settings);
  const zero = startOf(loss, beta);
  await run.say(
    `Training ${settings.model} (${modelInWords(player.loaded)}) on ${groups.length} labelled pairs in ` +
      `${steps} steps, ${loss.name} loss${zero === null ? '' : ` (ℓ(0) = ${zero.toPrecision(4)})`}, β ${beta}, ` +
      `${settings.optimizer}, learning rate ${learningRate}; the reference is the model as it was given.`,
  );
  await stage(run, { iteration: T, stage: 'train' }, async () => ({
    counts: await learn(run, player, {
      iteration: T,
      folder: FOLDER,
      groups,
      objective: { kind: 'spin', beta, sftWeight, loss },
      learningRate,
      steps,
      label: 'training on labelled pairs',
    }),
  }));
}

/** log p per token of both answers of a held-out pair. */
interface ScoredAnswers {
  readonly id: string;
  readonly chosen: Float32Array;
  readonly rejected: Float32Array;
}

/** The held-out pairs under a model, made once: evaluation.json. */
async function score(
  run: Run<'dpo'>,
  { loaded }: Player,
  pairs: readonly Pair[],
  t: number | null,
): Promise<ScoredAnswers[]> {
  const folder = run.path(t === null ? 'baseline' : FOLDER);
  const file = `${folder}/evaluation.json`;
  if (existsSync(file)) return readScored(file);
  await mkdir(folder, { recursive: true });
  const { label } = t === null ? GIVEN : TRAINED;
  const at = { iteration: t, stage: 'evaluate' } as const;
  const { scored } = await stage(run, at, async () => {
    run.checkSignal();
    const progress = run.context.progress(`${label}: judged on test`, pairs.length, 'pairs');
    const scorer = await openScorer(run.engine, loaded.model);
    const groups = pairs.map((pair) => pairGroup(pair));
    const logProbs = await scorer.score(groups, run.settings.micro_batch_tokens, progress.advance);
    progress.done();
    await scorer.dispose();
    const scored = pairs.map(({ id, sample }, i): ScoredAnswers => {
      const [chosen, rejected] = logProbs[i] as [Float32Array, Float32Array];
      return { id: sample === 0 ? id : `${id}/${sample}`, chosen, rejected };
    });
    if (scored.length > 0) {
      const before = t === null ? scored : await readScored(run.path('baseline', 'evaluation.json'));
      const scores = scored.map((pair, i) => scoresOf(pair, before[i]!, run.settings.beta));
      const metrics = Object.fromEntries(
        (Object.keys(scores[0]!) as (keyof PairScores)[]).map((name) => [
          name,
          estimate(scores.map((one) => one[name])),
        ]),
      );
      await run.emit({ ...at, type: 'evaluation', split: 'test', model: label, metrics });
    }
    return { counts: { test: pairs.length }, scored };
  });
  const packed = scored.map(({ id, chosen, rejected }) => ({
    id,
    chosen: encodeFloats(chosen),
    rejected: encodeFloats(rejected),
  }));
  await writeFileAtomic(file, `${JSON.stringify({ v: 1, test: packed })}\n`);
  return scored;
}

async function readScored(file: string): Promise<ScoredAnswers[]> {
  const { test } = JSON.parse(await readFile(file, 'utf8')) as {
    test: { readonly id: string; readonly chosen: string; readonly rejected: string }[];
  };
  return test.map(({ id, chosen, rejected }) => ({
    id,
    chosen: decodeFloats(chosen),
    rejected: decodeFloats(rejected),
  }));
}

type PairScores = Record<
  'rewards/accuracies' | 'rewards/margins' | 'nats/token chosen' | 'nats/token rejected',
  number
>;

/** The figures of a pair; `before` is the same pair under the reference. */
function scoresOf({ chosen, rejected }: ScoredAnswers, before: ScoredAnswers, beta: number): PairScores {
  const margin = beta * (sum(chosen) - sum(before.chosen) - (sum(rejected) - sum(before.rejected)));
  return {
    'rewards/accuracies': discrimination([margin]).accuracy.mean,
    'rewards/margins': margin,
    'nats/token chosen': -sum(chosen) / chosen.length,
    'nats/token rejected': -sum(rejected) / rejected.length,
  };
}

const sum = (values: Float32Array) => values.reduce((total, x) => total + x, 0);
