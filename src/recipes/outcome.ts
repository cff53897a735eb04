/** What a recipe hands back when it is done: the table, and which model to use. */
import { type ResultRow, type Results, resultRow, writeResults } from '../report/index.ts';
import { figuresOf, itemsOf, type Judged, type Judgement } from './judge.ts';
import type { ProbeReport } from './probeReport.ts';
import type { Run } from './run.ts';

export interface RunOutcome {
  readonly directory: string;
  readonly results: Results;
  readonly best: { readonly label: string; readonly model: string };
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

/** The figure by which a model is chosen on dev: the scorer's where there is one, else the likelihood of human answers. */
export function taskFigure(dev: readonly Judged[]): { name: string; value: number; better: 1 | -1 } | null {
  const figures = figuresOf(dev);
  for (const name of ['score', 'number']) if (figures[name]) return { name, value: figures[name].mean, better: 1 };
  const likelihood = figures['nats/token'];
  return likelihood ? { name: 'nats/token', value: likelihood.mean, better: -1 } : null;
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

/** results.json of the models so far. */
export async function tabulate(run: Run, standings: readonly Standing[]): Promise<Results> {
  const rows: ResultRow[] = [];
  for (const { label, iteration, model, judgement } of standings) {
    rows.push(resultRow({ label, iteration, model, items: itemsOf(judgement.test) }, rows.at(-1)));
  }
  const { label, how } = chooseBest(standings);
  const results: Results = {
    v: 1,
    rows,
    best: { label, how },
    settings: { ...run.settings, split: 'test', engine: run.engine.info },
  };
  await writeResults(run.path('results.json'), results);
  return results;
}
