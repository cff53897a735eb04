/** A model judged on the held-out splits, once: evaluation.json in its folder, figures in the log. */
import { mkdir } from 'node:fs/promises';
import { iterationName } from '../run/layout.ts';
import type { Rows } from '../run/rows.ts';
import type { Run } from '../run/run.ts';
import { at } from '../settings/schedules.ts';
import { answerFigures, figuresOf, type Judgement, judge, readJudgement, scorersFor, writeJudgement } from './judge.ts';
import { type Player, stage } from './opponent.ts';
import type { Standing } from './outcome.ts';

/** A model's row of the table: iteration null is the model that the game starts from, or a control that has none. */
export type Names = Pick<Standing, 'label' | 'iteration'>;

/** How the answers of a model to some rows become figures: `judge` in a run. */
export type JudgeRows = (...about: About) => Promise<Judgement['dev']>;
type About = Parameters<typeof judge> extends [unknown, ...infer Rest] ? Rest : never;

/** The held-out figures of a model, made once. */
export async function judgeModel(
  run: Run<'run'>,
  player: Player,
  { dev, test }: Pick<Rows, 'dev' | 'test'>,
  { label, iteration: t }: Names,
  opponents?: { readonly before: Judgement; readonly base: Judgement; readonly beta: number },
  judgeRows: JudgeRows = (...about) => judge(run, ...about),
): Promise<Judgement> {
  const folder = t !== null ? iterationName(t) : run.baseline === undefined ? 'baseline' : '.';
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
      judgement[split] = await judgeRows(player, rows, scorers, {
        label: `${label}: judged on ${split}`,
        beta: opponents?.beta ?? at(run.settings.beta, run.settings.start_iteration),
        rest: () => run.rest(player, { iteration: t, stage: 'evaluate' }),
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
  const place = { iteration, stage: 'evaluate' } as const;
  await run.emit({ ...place, type: 'evaluation', split, model: label, metrics: figuresOf(judged) });
  const { identicalToHuman, truncated, meanLength, repetition } = answerFigures(judged, rows);
  await run.emit({
    ...place,
    type: 'note',
    message:
      `${label} on ${split}: greedy answers of ${meanLength.toFixed(1)} tokens, ${percent(truncated)} cut, ` +
      `${percent(identicalToHuman)} identical to the human answer, repetition ${percent(repetition)}`,
  });
}

const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
