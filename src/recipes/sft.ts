/**
 * SFT: masked cross-entropy on the human answers, the model that a game starts from. The weights with the best
 * likelihood of the dev answers are kept, so more epochs than needed do no harm.
 */
import { companionDirectory, saveModel } from '../checkpoint/index.ts';
import { estimate, mean } from '../evaluation/index.ts';
import { type Group, packedLength } from '../pairs/index.ts';
import { type ResultRow, type Results, readResults, resultRow, writeResults } from '../report/index.ts';
import { loadTokenizer } from '../tokens/index.ts';
import { openScorer } from '../training/index.ts';
import { exists, usageError } from '../util/index.ts';
import { dropCheckpoints, learn, stepsOf } from './game/learn.ts';
import { stage } from './game/opponent.ts';
import type { RunOutcome } from './game/outcome.ts';
import { reportContamination } from './run/contamination.ts';
import type { RecipeContext } from './run/context.ts';
import { CONTAMINATION } from './run/layout.ts';
import { planMemory, planOf } from './run/plan.ts';
import { loadPlayer, modelInWords, sayLineage } from './run/player.ts';
import { asGroup, prepareRows, type Row } from './run/rows.ts';
import { type Run, startRun } from './run/run.ts';
import type { SftSettings } from './settings/settings.ts';

/** Fine-tunes; the model is `model` in the run directory. Throws Interrupted when the signal stopped it. */
export function fineTune(settings: SftSettings, context: RecipeContext): Promise<RunOutcome> {
  return startRun('sft', settings, context, tune);
}

/** Fine-tunes from where the directory stands. */
export async function tune(run: Run<'sft'>): Promise<RunOutcome> {
  const begin = performance.now();
  const { settings, engine } = run;
  const model = run.path('model');
  const best = { label: 'fine-tuned', model };
  if (await exists(run.path('results.json'))) {
    const results = await readResults(run.path('results.json'));
    await dropCheckpoints(run, '.');
    const seconds = (performance.now() - begin) / 1000;
    await run.emit({ type: 'run.finished', seconds });
    return { directory: run.directory, results, best, seconds };
  }
  const tokenizer = await loadTokenizer(await companionDirectory(settings.model), run.templateTime);
  const loaded = await loadPlayer(engine, settings, settings.model);
  const player = { loaded, tokenizer };
  const rows = await prepareRows(settings, tokenizer, loaded.model);
  if (rows.dev.length === 0) {
    throw usageError({
      what: 'there are no dev rows, by which the best model is chosen',
      fix: 'give more data, or --dev-size',
    });
  }
  for (const note of rows.notes) await run.say(note);
  await reportContamination(run, { ...rows, listed: CONTAMINATION });
  const { learning_rate: learningRate, num_train_epochs: epochs } = settings;
  const steps = stepsOf(rows.train.length, epochs, settings);
  await run.say(
    `Fine-tuning ${settings.model} (${modelInWords(loaded)}) on ${rows.train.length} answers in ${steps} steps (${settings.optimizer}, learning rate ` +
      `${learningRate}); the likelihood of ${rows.dev.length} dev answers decides which weights are kept.`,
  );

  const groups = rows.train.map(asGroup);
  const longest = groups.reduce((a, b) => (packedLength(b) > packedLength(a) ? b : a));
  const scorer = await openScorer(engine, loaded.model);
  // It stays open while the model learns: what it takes is there when memory is measured.
  const scored = Math.max(1, Math.floor(settings.micro_batch_tokens / packedLength(longest)));
  await scorer.score(Array<Group>(scored).fill(longest), settings.micro_batch_tokens);
  await planMemory(run, { model: loaded.model, longest, objective: { kind: 'sft' } });
  const natsPerToken = async (examples: readonly Row[]): Promise<number[]> => {
    const scores = await scorer.score(examples.map(asGroup), planOf(run).micro_batch_tokens);
    return scores.map(([logProbs]) => -logProbs!.reduce((total, x) => total + x, 0) / logProbs!.length);
  };
  const given = standing('given model', settings.model, rows.test, await natsPerToken(rows.test));
  /** Part of every checkpoint, so that a resume remembers the best so far. */
  const memory = { best: mean(await natsPerToken(rows.dev)), bestStep: 0 };
  await run.say(`Before: ${memory.best.toFixed(4)} nats per token of the dev answers.`);

  const every = Math.max(1, Math.floor(steps / (epochs * settings.evaluations)));
  const counts = { steps, tokens: 0 };
  await stage(run, { iteration: null, stage: 'train' }, async () => {
    const done = await learn(run, player, {
      iteration: null,
      folder: '.',
      groups,
      objective: { kind: 'sft' },
      learningRate,
      steps,
      memory,
      afterStep: async (step) => {
        if (step % every !== 0 && step !== steps) return;
        const nats = await natsPerToken(rows.dev);
        await run.emit({
          stage: 'train',
          type: 'evaluation',
          split: 'dev',
          model: `step ${step}`,
          metrics: { 'nats/token': estimate(nats) },
        });
        if (mean(nats) >= memory.best) return;
        Object.assign(memory, { best: mean(nats), bestStep: step });
        await saveModel(engine, loaded, model);
      },
    });
    return { counts: { ...counts, ...done } };
  });
  if (memory.bestStep === 0) {
    await run.warn('no step made the dev answers likelier: the model is kept as it was; try a lower learning rate.');
    await saveModel(engine, await loadPlayer(engine, settings, settings.model), model);
  }
  await loadPlayer(engine, settings, model);
  await sayLineage(run, loaded, model);
  const tuned = standing('fine-tuned', 'model', rows.test, await natsPerToken(rows.test), given);
  await scorer.dispose();
  const results: Results = {
    v: 1,
    rows: [given, tuned],
    best: { label: best.label, how: `lowest nats/token on the dev split, ${memory.best.toFixed(4)}` },
    settings: { ...settings, split: 'test', engine: engine.info },
  };
  await writeResults(run.path('results.json'), results);
  await dropCheckpoints(run, '.');
  const seconds = (performance.now() - begin) / 1000;
  await run.emit({ type: 'run.finished', seconds });
  return { directory: run.directory, results, best, seconds };
}

function standing(label: string, model: string, rows: readonly Row[], nats: readonly number[], above?: ResultRow) {
  const items = rows.map(({ id }, i) => ({ id, scores: { 'nats/token': nats[i]! } }));
  return resultRow({ label, iteration: null, model, items }, above);
}
