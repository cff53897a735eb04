/** What a probe found: probe.json, the lines of a config file that follow from it, and both as text. */
import { alignedText, figureOf, signedFigure } from '../../report/index.ts';
import type { LossName } from '../../training/index.ts';

/** Settings that are tried. */
export interface Setting {
  readonly learningRate: number;
  readonly beta: number;
  readonly loss: LossName;
}

/** A trial in probe.json; differences against the model on the same dev rows, intervals of 95 % over the rows. */
export interface TrialReport extends Setting {
  readonly difference: number;
  readonly standardError: number | null;
  readonly low: number;
  readonly high: number;
  /** Why the governor would take it back; null otherwise. */
  readonly objection: string | null;
}

/** probe.json */
export interface ProbeReport {
  readonly v: 1;
  /** SHA-256 of the model. */
  readonly model: string;
  /** Train and dev rows. */
  readonly rows: number;
  readonly dev: number;
  readonly steps: number;
  /** What is compared; `better` is 1 where more is better. */
  readonly metric: { readonly name: string; readonly better: 1 | -1; readonly base: number };
  /** Best first. */
  readonly trials: readonly TrialReport[];
  /** What there was no time for. */
  readonly untried: readonly Setting[];
  readonly choice: Setting | null;
  /** The choice against the model, by more than the noise of the dev rows. */
  readonly verdict: 'better' | 'worse' | 'unclear';
}

export const wordsOf = ({ learningRate, beta, loss }: Setting) => `rate ${learningRate}, β ${beta}, ${loss}`;

const HARMFUL = 'Every setting that was tried did harm: try lower rates.';

/** What is to be said of the choice. */
const VERDICTS = {
  better:
    'The marked one is better than the model by more than the noise of the dev rows. The best of several trials looks better than it is.',
  worse: 'All are worse than the model as it is; the marked one is the most careful of the best. Try lower rates.',
  unclear:
    'None is told apart from the model as it is by these dev rows; the marked one is the most careful of those that look best.',
} as const;

const DOUBTS = {
  better: '',
  worse: '# It is worse than the model as it is: try lower rates.\n',
  unclear: '# It is not told apart from the model as it is.\n',
} as const;

/** The lines to use, as a config file; only comments where nothing can be recommended. */
export function configOf({ choice, verdict, metric, dev, rows }: ProbeReport): string {
  const from = `# From selfplay probe: ${rows} prompts, ${metric.name} on ${dev} dev rows.\n`;
  if (!choice) return `${from}# ${HARMFUL}\n`;
  const { learningRate, beta, loss } = choice;
  return `${from}${DOUBTS[verdict]}learning_rate: ${learningRate}\nbeta: ${beta}\nloss: ${loss}\n`;
}

/** The ranking as a table, a verdict, and the lines to use; ends in a line break. */
export function probeText(report: ProbeReport): string {
  const { metric, trials, untried, choice, verdict, dev } = report;
  const { name, better } = metric;
  const signed = (value: number) => signedFigure(name, better * value);
  const isChoice = (trial: Setting) => choice !== null && wordsOf(trial) === wordsOf(choice);
  const lines = trials.map((trial) => {
    const bounds = [trial.low, trial.high].map((bound) => better * bound).sort((a, b) => a - b);
    return [
      `${trial.learningRate}`,
      `${trial.beta}`,
      trial.loss,
      signed(trial.difference),
      `${signedFigure(name, bounds[0]!)} to ${signedFigure(name, bounds[1]!)}`,
      trial.objection ? `does harm: ${trial.objection}` : isChoice(trial) ? '* to use' : '',
    ];
  });
  return [
    `${name} on ${dev} dev rows: ${figureOf(name, metric.base)} before; difference after a trial, with its 95 % interval`,
    '',
    alignedText([['rate', 'β', 'loss', 'difference', '95 %', ''], ...lines]),
    '',
    ...(untried.length > 0 ? [`No time for ${untried.length}: ${untried.map(wordsOf).join('; ')}.`, ''] : []),
    choice ? VERDICTS[verdict] : HARMFUL,
    '',
    configOf(report),
  ].join('\n');
}
