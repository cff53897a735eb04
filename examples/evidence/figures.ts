// What is kept of a game: the figures of its models on dev and test, and the predeclared differences with intervals over
// the test prompts. Small enough to lie in docs/results/, from which the page is written.

import { dirname, join } from 'node:path';
import { readExamples } from '../../src/data/index.ts';
import type { EngineInfo } from '../../src/engine/index.ts';
import { mean, pairedDifference, type ScorerName, scorers } from '../../src/evaluation/index.ts';
import { type Judged, readJudgement, sampledName } from '../../src/recipes/game/judge.ts';
import { readResults, readRunLog } from '../../src/report/index.ts';
import type { Family, Start } from './family.ts';

/** Means over the rows of a split, by figure. */
type Means = Readonly<Record<string, number>>;

export interface ModelFigures {
  readonly label: string;
  readonly dev: Means;
  readonly test: Means;
}

/** `of` − `against` over the test prompts. */
export interface Difference {
  readonly figure: string;
  readonly of: string;
  readonly against: string;
  readonly difference: number;
  readonly standardError: number | null;
  readonly low: number;
  readonly high: number;
}

/** One game of one seed. */
export interface Figures {
  readonly seed: number;
  readonly arm: string;
  readonly prompts: number;
  /** Optimizer steps of the game, iteration by iteration, and of each control. */
  readonly steps: Readonly<Record<string, number>>;
  readonly engine: EngineInfo;
  readonly models: readonly ModelFigures[];
  readonly differences: readonly Difference[];
}

interface Model {
  readonly label: string;
  /** Only iterations of the game have a number here. */
  readonly iteration: number | null;
  readonly dev: readonly Scored[];
  readonly test: readonly Scored[];
}
/** A held-out row with its scores and the text of its sample. */
interface Scored {
  readonly scores: Means;
  readonly sampled: string;
}

/** The figures of a finished game that began at `start`. */
export async function figuresOf(
  family: Family,
  { rows }: Start,
  game: { arm: string; seed: number; directory: string },
): Promise<Figures> {
  const { arm, seed, directory } = game;
  const results = await readResults(join(directory, 'results.json'));
  const humanAnswers = family.columns.length > 0 ? await responses([rows.data!, rows.eval_data!].flat()) : new Map();
  const scored = (row: Judged): Scored => {
    const scores: Record<string, number> = { ...row.scores };
    const response = humanAnswers.get(row.id);
    for (const name of family.columns as readonly ScorerName[]) {
      const score = (answer: string) => scorers[name]({ id: row.id, prompt: [], response, answer });
      scores[name] = score(row.greedy.text);
      scores[sampledName(name)] = score(row.sample.text);
    }
    return { scores, sampled: row.sample.text };
  };
  const models: Model[] = [];
  for (const { label, iteration, model, against } of results.rows) {
    const read = await readJudgement(join(directory, folderOf(label, model, directory), 'evaluation.json'));
    const { dev, test } = read!;
    models.push({
      label,
      iteration: against === undefined ? iteration : null,
      dev: dev.map(scored),
      test: test.map(scored),
    });
  }
  return {
    seed,
    arm,
    prompts: models[0]!.test.length,
    steps: await stepsOf(directory),
    engine: results.settings['engine'] as EngineInfo,
    models: models.map(({ label, dev, test }) => ({ label, dev: meansOf(dev), test: meansOf(test) })),
    differences: family.figures.flatMap((figure) => predeclared(models, figure)),
  };
}

/** Where the held-out answers of a row of the table lie. */
function folderOf(label: string, model: string, directory: string): string {
  if (label.includes(' at T=')) return 'baselines/sft-temperature';
  const inside = !model.startsWith('/') && !model.startsWith('..');
  return inside && model !== directory ? dirname(model) : 'baseline';
}

async function responses(files: readonly string[]): Promise<Map<string, string>> {
  const read = await Promise.all(files.map((file) => readExamples(file)));
  return new Map(read.flatMap(({ examples }) => examples.map(({ id, response }) => [id, response] as const)));
}

function meansOf(rows: readonly Scored[]): Means {
  const names = [...new Set(rows.flatMap(({ scores }) => Object.keys(scores)))];
  const means = names.map((name) => [name, mean(rows.flatMap(({ scores }) => scores[name] ?? []))] as const);
  const right = rows.filter(({ scores }) => scores[sampledName('score')] === 1);
  return { ...Object.fromEntries(means), distinct: new Set(right.map(({ sampled }) => sampled)).size / rows.length };
}

/** Each iteration against the one before it; each against the control that is best on dev, the SFT model among them. */
function predeclared(models: readonly Model[], figure: string): Difference[] {
  const valued = models.filter(({ test }) => test.every(({ scores }) => figure in scores));
  const game = valued.filter(({ iteration }, i) => i === 0 || iteration !== null);
  const controls = valued.filter((model, i) => i === 0 || !game.includes(model));
  const onDev = ({ dev }: Model) => mean(dev.map(({ scores }) => scores[figure]!));
  const best = controls.reduce((a, b) => (onDev(b) > onDev(a) ? b : a));
  const difference = (of: Model, against: Model): Difference => {
    const values = ({ test }: Model) => test.map(({ scores }) => scores[figure]!);
    const { difference, standardError, low, high } = pairedDifference(values(against), values(of), { seed: 0 });
    return { figure, of: of.label, against: against.label, difference, standardError, low, high };
  };
  return game.slice(1).flatMap((model, i) => {
    const above = difference(model, game[i]!);
    return controls.length > 1 ? [above, difference(model, best)] : [above];
  });
}

async function stepsOf(directory: string): Promise<Record<string, number>> {
  const steps: Record<string, number> = {};
  for (const event of await readRunLog(directory)) {
    if (event.type !== 'train.step') continue;
    const { baseline, iteration } = event as { baseline?: string; iteration?: number | null };
    const name = baseline ?? `iteration ${iteration}`;
    steps[name] = (steps[name] ?? 0) + 1;
  }
  return steps;
}
