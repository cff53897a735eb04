/**
 * The governor at work (evaluation/governor.ts has its rules): reads the dev split, decides after every iteration, and
 * sees to roll-backs. What is decided lies in iteration-t/decision.json before anything is done about it; a rejected
 * attempt moves to rejected/, decision last, so that a roll-back that was cut off is finished by the next resume.
 */
import { mkdir, readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { type Decision, decide, type Estimate, estimate, type Readings } from '../../evaluation/index.ts';
import { exists, writeFileAtomic } from '../../util/index.ts';
import { DECISION, iterationName, REJECTED, rejectedName } from '../run/layout.ts';
import type { Row } from '../run/rows.ts';
import type { Run } from '../run/run.ts';
import { at } from '../settings/schedules.ts';
import { answerFigures, type Judged, REAL_VS_GENERATED } from './judge.ts';
import { taskFigure } from './outcome.ts';

/** One try at an iteration. */
export interface Attempt {
  /** From 0. */
  readonly number: number;
  readonly learningRate: number;
  readonly beta: number;
}

/** decision.json */
interface DecisionRecord extends Decision {
  readonly v: 1;
  readonly attempt: number;
  readonly learning_rate: number;
  readonly beta: number;
}

/** What a remedy divides the rate by, or multiplies β with. */
const REMEDY_FACTOR = 3;
/** With fewer dev rows the rules would follow noise. */
export const FEWEST_ROWS = 20;

/** The dev split says nothing below that. */
export const canGovern = (dev: readonly Row[]): boolean => dev.length >= FEWEST_ROWS;

/** The next try at iteration t; undefined when there were as many as the settings allow. */
export async function openAttempt(run: Run<'run'>, t: number): Promise<Attempt | undefined> {
  await finishRollBack(run, t);
  const rejected = await rejectedDecisions(run, t);
  run.attempts.set(t, rejected.length);
  // A remedy changes the values that the settings have for this iteration, and for no other.
  let learningRate = at(run.settings.learning_rate, t);
  let beta = at(run.settings.beta, t);
  for (const { remedy } of rejected) {
    if (remedy === 'higher-beta') beta *= REMEDY_FACTOR;
    else learningRate /= REMEDY_FACTOR;
  }
  if (rejected.length >= run.settings.max_attempts) {
    await run.say(
      `Iteration ${t}: none of ${rejected.length} attempt(s) counts; the game ends with the model before it.`,
    );
    return undefined;
  }
  if (rejected.length > 0) {
    const [rate, factor] = [shownNumber(learningRate), shownNumber(beta)];
    await run.say(`Iteration ${t}: attempt ${rejected.length + 1} with learning rate ${rate} and β ${factor}.`);
  }
  return { number: rejected.length, learningRate, beta };
}

/** The peak rate of an iteration that counts: that of its last attempt. */
export async function rateOf(run: Run<'run'>, t: number): Promise<number> {
  const file = run.path(iterationName(t), DECISION);
  if (!(await exists(file))) return at(run.settings.learning_rate, t);
  return (JSON.parse(await readFile(file, 'utf8')) as DecisionRecord).learning_rate;
}

/** Of a number that remedies have multiplied, what a reader wants: 0.00003333. */
export const shownNumber = (x: number): string => String(Number(x.toPrecision(4)));

/** Decides about the attempt that the judgement is of. A resume finds what was decided. */
export async function govern(
  run: Run<'run'>,
  t: number,
  attempt: Attempt,
  dev: { readonly now: readonly Judged[]; readonly before: readonly Judged[]; readonly rows: readonly Row[] },
): Promise<Decision> {
  const file = run.path(iterationName(t), DECISION);
  if (await exists(file)) return JSON.parse(await readFile(file, 'utf8')) as DecisionRecord;
  const readings = readingsOf(dev.now, dev.before, dev.rows);
  const decision = decide(readings);
  const { before, after, task: _, ...figures } = readings;
  await run.emit({
    iteration: t,
    stage: 'evaluate',
    type: 'governor.decided',
    ...decision,
    metrics: { ...figures, ...changesOf(dev.now, dev.before) },
    answers: { before: { ...before }, after: { ...after } },
  });
  const { start_iteration: first, iterations } = run.settings;
  const isLast = t === first + iterations - 1;
  await run.say(`Iteration ${t}: ${sentences[decision.verdict](isLast)}: ${decision.reason}.`);
  const { number, learningRate, beta } = attempt;
  const record: DecisionRecord = { v: 1, attempt: number, learning_rate: learningRate, beta, ...decision };
  await writeFileAtomic(file, `${JSON.stringify(record, null, 2)}\n`);
  return decision;
}

/** What a decision means, also after the last iteration that was asked for. */
const sentences: Readonly<Record<Decision['verdict'], (isLast: boolean) => string>> = {
  continue: (isLast) => (isLast ? 'it counts, the last of this game' : 'the game may go on'),
  stop: (isLast) => (isLast ? 'it counts, and another would have been one too many' : 'the game stops here'),
  end: () => 'the game is over',
  'roll-back': () => 'rolled back',
};

/** θ_{t+1} minus θ_t in every score of a model alone, row by row. */
function changesOf(now: readonly Judged[], before: readonly Judged[]): Record<string, Estimate> {
  const names = Object.keys(before[0]!.scores).filter((name) => name !== REAL_VS_GENERATED);
  const change = (name: string) => estimate(now.map(({ scores }, i) => scores[name]! - before[i]!.scores[name]!));
  return Object.fromEntries(names.map((name) => [name, change(name)]));
}

/** What the dev rows say about θ_{t+1} (now) and θ_t (before). */
export function readingsOf(now: readonly Judged[], before: readonly Judged[], rows: readonly Row[]): Readings {
  const { name, better } = taskFigure(now)!;
  const changes = changesOf(now, before);
  const nats = changes['nats/token']!;
  const against = now.flatMap((row) => row.against ?? []);
  const answers = (judged: readonly Judged[]) => {
    const { meanLength, repetition, identicalToHuman, truncated } = answerFigures(judged, rows);
    const identicalSamples = answerFigures(judged, rows, 'sample').identicalToHuman;
    return { length: meanLength, repetition, identical: identicalToHuman, truncated, identicalSamples };
  };
  return {
    accuracy: estimate(now.map(({ scores }) => scores[REAL_VS_GENERATED]!)),
    margin: estimate(against.map(({ margin }) => margin)),
    task: { name, better, difference: changes[name]! },
    humanDrift: { ...nats, mean: -nats.mean },
    klToOpponent: estimate(against.map(({ klToOpponent }) => klToOpponent)),
    klToBase: estimate(against.map(({ klToBase }) => klToBase)),
    before: answers(before),
    after: answers(now),
  };
}

/** What an attempt leaves, in the order in which a roll-back moves it. */
const REJECTS = ['model', 'evaluation.json', DECISION];

async function finishRollBack(run: Run<'run'>, t: number): Promise<void> {
  const folder = run.path(iterationName(t));
  const file = join(folder, DECISION);
  if (!(await exists(file))) return;
  const { verdict, attempt } = JSON.parse(await readFile(file, 'utf8')) as DecisionRecord;
  if (verdict !== 'roll-back') return;
  const to = run.path(rejectedName(t, attempt));
  await mkdir(to, { recursive: true });
  for (const name of REJECTS) if (await exists(join(folder, name))) await rename(join(folder, name), join(to, name));
}

/** Decisions about the attempts at iteration t that do not count, in their order. */
async function rejectedDecisions(run: Run<'run'>, t: number): Promise<DecisionRecord[]> {
  if (!(await exists(run.path(REJECTED)))) return [];
  const decisions: DecisionRecord[] = [];
  const names = new Set(await readdir(run.path(REJECTED)));
  for (let n = 0; names.has(rejectedName(t, n).slice(REJECTED.length + 1)); n++) {
    decisions.push(JSON.parse(await readFile(run.path(rejectedName(t, n), DECISION), 'utf8')) as DecisionRecord);
  }
  return decisions;
}
