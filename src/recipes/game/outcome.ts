/** What a recipe hands back when it is done: the table, and which model to use. */
import { resolve } from 'node:path';
import { pairedFigure, type ResultRow, type Results, resultRow, writeResults } from '../../report/index.ts';
import { linkDirectory } from '../../util/index.ts';
import { BEST } from '../run/layout.ts';
import type { Run } from '../run/run.ts';
import { figuresOf, itemsOf, type Judged, type Judgement, sampledName } from './judge.ts';
import type { ProbeReport } from './probeReport.ts';

export interface RunOutcome {
  readonly directory: string;
  readonly results: Results;
  /** `link` leads to the model as well. */
  readonly best: { readonly label: string; readonly model: string; readonly link?: string };
  readonly seconds: number;
  /** Where the game was told to stop: an iteration that has its pairs and waits to be trained. */
  readonly waiting?: { readonly iteration: number; readonly pairs: string };
  /** Of a probe, which has neither a table nor another model: what it found, and the config file with the lines to use. */
  readonly probe?: { readonly report: ProbeReport; readonly config: string };
}

/** A model of the run with its held-out figures. */
export interface Standing {
  readonly label: string;
  readonly iteration: number | null;
  readonly model: string;
  readonly judgement: Judgement;
}

/** The figure of a model on dev by which models are ranked. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly better: 1 | -1;
}

/** The figure by which a model is chosen on dev: the scorer's where there is one, else the likelihood of human answers. */
export function taskFigure(dev: readonly Judged[]): Figure | null {
  const figures = figuresOf(dev);
  for (const name of ['score', 'number']) if (figures[name]) return { name, value: figures[name].mean, better: 1 };
  const likelihood = figures['nats/token'];
  return likelihood ? { name: 'nats/token', value: likelihood.mean, better: -1 } : null;
}

/** The same of sampled answers: the scorer's where there is one, else whether they are the human ones. */
export function sampledFigure(dev: readonly Judged[]): Figure | null {
  const figures = figuresOf(dev);
  const name = ['score', 'number', 'exact-match'].map(sampledName).find((one) => figures[one]);
  return name === undefined ? null : { name, value: figures[name]!.mean, better: 1 };
}

/** The best model by the dev split; the earlier one of equals. Without a dev split the last. */
function chooseBest(standings: readonly Standing[]): { label: string; model: string; how: string } {
  let best = standings[0]!;
  let bestFigure = taskFigure(best.judgement.dev);
  if (!bestFigure) return { ...standings.at(-1)!, how: 'the last one: there is no dev split to choose by' };
  for (const standing of standings.slice(1)) {
    const figure = taskFigure(standing.judgement.dev)!;
    if ((figure.value - bestFigure.value) * figure.better > 0) {
      best = standing;
      bestFigure = figure;
    }
  }
  const { name, better } = bestFigure;
  return { ...best, how: `${better > 0 ? 'highest' : 'lowest'} ${name} on the dev split` };
}

/** The first of those with the best value of a figure on dev; undefined when none has it. */
function bestBy({ name, better }: Figure, standings: readonly Standing[]): Standing | undefined {
  const valued = standings.flatMap((standing) => {
    const value = figuresOf(standing.judgement.dev)[name]?.mean;
    return value === undefined ? [] : [{ standing, value: value * better }];
  });
  return valued.reduce<(typeof valued)[number] | undefined>((a, b) => (a && a.value >= b.value ? a : b), undefined)
    ?.standing;
}

/**
 * On test, the best iteration against the best control, by the figure by which models are chosen and by that of sampled
 * answers. Either is chosen on dev; the model that the game starts from is a control as well: doing nothing.
 */
function compareWithControls(
  standings: readonly Standing[],
  controls: readonly Standing[],
  rows: readonly ResultRow[],
): NonNullable<Results['comparisons']> {
  const [start, ...iterations] = standings as [Standing, ...Standing[]];
  const { dev } = start.judgement;
  return [taskFigure(dev), sampledFigure(dev)].flatMap((figure) => {
    if (!figure) return [];
    const { name: metric, better } = figure;
    const [of, against] = [bestBy(figure, iterations), bestBy(figure, [start, ...controls])];
    const rowOf = (standing: Standing | undefined) => rows.find(({ label }) => label === standing?.label);
    const paired = pairedFigure(metric, rowOf(against), rowOf(of));
    if (!of || !against || !paired) return [];
    const [least, most] = better > 0 ? [paired.low, paired.high] : [-paired.high, -paired.low];
    const verdict = least > 0 ? 'better' : most < 0 ? 'worse' : 'open';
    return [{ metric, of: of.label, against: against.label, verdict, ...paired } as const];
  });
}

/**
 * results.json of the models so far, and the link to the best of them: each compared with the row above; controls with the
 * model that the game starts from, and the best of them with the best iteration.
 */
export async function tabulate(
  run: Run,
  standings: readonly Standing[],
  controls: readonly Standing[] = [],
): Promise<Results> {
  const rowOf = ({ label, iteration, model, judgement }: Standing) => ({
    label,
    iteration,
    model,
    items: itemsOf(judgement.test),
  });
  const rows: ResultRow[] = [];
  for (const standing of standings) rows.push(resultRow(rowOf(standing), rows.at(-1)));
  const [start] = rows;
  for (const control of controls) {
    rows.push({ ...resultRow({ ...rowOf(control), iteration: null }, start), against: start!.label });
  }
  const { label, how, model } = chooseBest(standings);
  const results: Results = {
    v: 1,
    rows,
    best: { label, how },
    ...(controls.length > 0 ? { comparisons: compareWithControls(standings, controls, rows) } : {}),
    settings: { ...run.settings, split: 'test', engine: run.engine.info },
  };
  await writeResults(run.path('results.json'), results);
  await linkDirectory(run.path(BEST), resolve(run.directory, model));
  return results;
}
