/**
 * The control for mere sharpening: the model that the game starts from, sampled at the temperature that is best on dev. A
 * trained model may answer better at T=1 only because its distribution has become narrower, which a temperature does at
 * no cost. Greedy answers are those of temperature 0, the same for every temperature: this control has none.
 */
import { mkdir, readFile, rm } from 'node:fs/promises';
import { estimate } from '../../evaluation/index.ts';
import type { ChatTokenizer } from '../../tokens/index.ts';
import { writeFileAtomic } from '../../util/index.ts';
import {
  figuresOf,
  heldOutAnswers,
  type Judged,
  readJudgement,
  sampledName,
  scorersFor,
  writeJudgement,
} from '../game/judge.ts';
import { stage } from '../game/opponent.ts';
import { type Standing, sampledFigure } from '../game/outcome.ts';
import { loadPlayer } from '../run/player.ts';
import { readSamples, type TextCompletion, writeSamples } from '../run/records.ts';
import type { Row, Rows } from '../run/rows.ts';
import type { Run } from '../run/run.ts';

/** Tried on dev. Of equals the first is taken, so that nothing is cooled without a reason. */
const TEMPERATURES = [1, 0.85, 0.7, 0.5, 0.3];

/** temperatures.json: the figure on dev at each temperature, and which it was. */
interface Trials {
  readonly v: 1;
  readonly figure: string;
  readonly tried: readonly { readonly temperature: number; readonly mean: number }[];
  readonly best: number;
}

/** Made once. Needs dev rows. */
export async function atBestTemperature(
  run: Run<'run'>,
  tokenizer: ChatTokenizer,
  { dev, test }: Pick<Rows, 'dev' | 'test'>,
  { label, model, judgement: sft }: Standing,
): Promise<Standing> {
  const [trialsFile, file] = [run.path('temperatures.json'), run.path('evaluation.json')];
  const samplesFolder = run.path('samples');
  const named = ({ best }: Trials) => ({ label: `${label} at T=${best}`, iteration: null, model });
  const known = await readJudgement(file);
  if (known) {
    await rm(samplesFolder, { recursive: true, force: true });
    return { ...named(await readTrials(trialsFile)), judgement: known };
  }
  await mkdir(samplesFolder, { recursive: true });
  const scorers = await scorersFor([...dev, ...test], run.settings.scorer);

  let loaded: Awaited<ReturnType<typeof loadPlayer>> | undefined;
  const progress = run.context.progress(
    `${label}: temperatures`,
    TEMPERATURES.length * dev.length + test.length,
    'answers',
  );
  /** The rows with their answers at a temperature in place of the samples at T=1. */
  const sampledAt = async (temperature: number, split: 'dev' | 'test', rows: readonly Row[]): Promise<Judged[]> => {
    const samplesFile = `${samplesFolder}/${split}-${temperature}.jsonl`;
    let samples: TextCompletion[] | null =
      temperature === 1 ? sft[split].map(({ sample }) => sample) : await readSamples(samplesFile);
    if (samples) progress.advance(rows.length);
    else {
      run.checkSignal();
      loaded ??= await loadPlayer(run.engine, run.settings, run.settings.model);
      const sampling = { temperature, topK: 0, topP: 1 };
      samples = await heldOutAnswers(run, { loaded, tokenizer }, rows, sampling, progress.advance);
      await writeSamples(samplesFile, samples);
    }
    return Promise.all(
      rows.map(async (row, i) => {
        const sample = samples[i]!;
        const scores: Record<string, number> = {};
        for (const [name, score] of scorers) scores[sampledName(name)] = await score({ ...row, answer: sample.text });
        return { ...sft[split][i]!, sample, own: sample.logProbs, scores };
      }),
    );
  };

  let trials: Trials | undefined;
  const judgement = { dev: [] as Judged[], test: [] as Judged[] };
  try {
    await stage(run, { iteration: null, stage: 'evaluate' }, async () => {
      const tried: { temperature: number; mean: number; judged: Judged[] }[] = [];
      const { name: figure } = sampledFigure(sft.dev)!;
      for (const temperature of TEMPERATURES) {
        const judged = await sampledAt(temperature, 'dev', dev);
        tried.push({ temperature, mean: estimate(judged.map(({ scores }) => scores[figure]!)).mean, judged });
      }
      const best = tried.reduce((a, b) => (b.mean > a.mean ? b : a));
      trials = {
        v: 1,
        figure,
        tried: tried.map(({ temperature, mean }) => ({ temperature, mean })),
        best: best.temperature,
      };
      judgement.dev = best.judged;
      judgement.test = await sampledAt(best.temperature, 'test', test);
      for (const split of ['dev', 'test'] as const) {
        if (judgement[split].length === 0) continue;
        const metrics = figuresOf(judgement[split]);
        await run.emit({ stage: 'evaluate', type: 'evaluation', split, model: named(trials).label, metrics });
      }
      await run.say(
        `Baseline ${run.baseline}: ${figure} on dev ` +
          `${tried.map(({ temperature, mean }) => `${(100 * mean).toFixed(1)} % at T=${temperature}`).join(', ')}; ` +
          `T=${best.temperature} is taken.`,
      );
      return { counts: { dev: dev.length * TEMPERATURES.length, test: test.length } };
    });
  } finally {
    progress.done();
  }
  await writeFileAtomic(trialsFile, `${JSON.stringify(trials, null, 2)}\n`);
  await writeJudgement(file, judgement);
  await rm(samplesFolder, { recursive: true });
  return { ...named(trials!), judgement };
}

async function readTrials(file: string): Promise<Trials> {
  return JSON.parse(await readFile(file, 'utf8')) as Trials;
}
