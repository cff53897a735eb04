/**
 * The preflight as a command of its own, and as the first thing of a run, where its report is kept, so that a resume does not
 * repeat it, and its estimate is held against what the run took.
 */
import { readFile } from 'node:fs/promises';
import { companionDirectory, demandBase } from '../../checkpoint/index.ts';
import { openEngine } from '../../engine/index.ts';
import { type Checker, loadChecker } from '../../evaluation/index.ts';
import { alignedText, formatDuration, type RunEvent, readRunLog } from '../../report/index.ts';
import { loadTokenizer, type MaskPiece } from '../../tokens/index.ts';
import { exists, linkedDirectory, writeFileAtomic } from '../../util/index.ts';
import type { Player } from '../game/opponent.ts';
import { type RecipeContext, stopIfAsked } from '../run/context.ts';
import { engineSentence, frozen, withEngine } from '../run/engines.ts';
import { localInputs } from '../run/inputs.ts';
import { PREFLIGHT } from '../run/layout.ts';
import { planOf } from '../run/plan.ts';
import { loadPlayer } from '../run/player.ts';
import { prepareRows, type Rows } from '../run/rows.ts';
import type { Run } from '../run/run.ts';
import type { SpinSettings } from '../settings/settings.ts';
import { demandPassed, inspect, type PreflightReport } from './preflight.ts';

/** `selfplay preflight`: nothing is written. @throws what `selfplay run` throws about these settings */
export async function preflightGame(given: SpinSettings, context: RecipeContext): Promise<PreflightReport> {
  const { settings: here } = await localInputs(given, context);
  const settings = { ...here, model: await linkedDirectory(here.model) };
  await demandBase(settings.model);
  const checker = await loadChecker(settings.checker);
  const tokenizer = await loadTokenizer(await companionDirectory(settings.model));
  return withEngine(context.openEngine ?? openEngine, settings, async (opened) => {
    const { engine } = opened;
    context.say(engineSentence(frozen(opened)));
    const loaded = await loadPlayer(engine, settings, settings.model);
    const rows = await prepareRows(settings, tokenizer, loaded.model);
    for (const note of rows.notes) context.say(note);
    const tools = { settings, engine, context, checkSignal: () => stopIfAsked(context.signal) };
    return inspect(tools, { loaded, tokenizer }, rows, { checker, within: false });
  });
}

/** The preflight of a run that has not begun to compute. @throws failure when the game cannot go right */
export async function preflightRun(
  run: Run<'run'>,
  player: Player,
  rows: Rows & { readonly checker: Checker | null },
): Promise<void> {
  const file = run.path(PREFLIGHT);
  // A run that was begun without one does not look back.
  if (!run.settings.preflight || (await exists(file)) || (await exists(run.path('baseline', 'evaluation.json'))))
    return;
  const { micro_batch_tokens, gradient_checkpointing } = planOf(run);
  const settings = {
    ...run.settings,
    micro_batch_tokens,
    gradient_checkpointing: gradient_checkpointing ? ('true' as const) : ('false' as const),
  };
  const report = await inspect({ ...run, settings }, player, rows, { checker: rows.checker, within: true });
  const { checks, estimate, leftOut, seconds } = report;
  await run.emit({
    type: 'preflight',
    checks: checks.map((check) => ({ ...check, figures: { ...check.figures } })),
    estimated: estimate?.seconds ?? null,
    seconds,
  });
  for (const { name, result, found, fix } of checks) {
    if (result === 'warning') await run.warn(`preflight: ${name}: ${found}; to change: ${fix}.`);
  }
  demandPassed(report);
  const fine = checks.filter(({ result }) => result === 'ok').length;
  await run.say(
    `Preflight: ${fine} of ${checks.length} checks are fine (${PREFLIGHT}), in ${formatDuration(seconds)}. The game should ` +
      `take about ${formatDuration(estimate!.seconds)}.`,
  );
  if (leftOut !== null) await run.say(leftOut);
  await writeFileAtomic(file, `${JSON.stringify(report, null, 2)}\n`);
}

/** At the end of a run: what its stages were estimated to take, and what they took. Said once. */
export async function compareEstimate(run: Run<'run'>): Promise<void> {
  const file = run.path(PREFLIGHT);
  if (!(await exists(file))) return;
  const { estimate } = JSON.parse(await readFile(file, 'utf8')) as PreflightReport;
  const events = await readRunLog(run.directory);
  if (!estimate || events.some(({ type }) => type === 'estimate.compared')) return;
  const { estimated, took } = comparison(estimate, events, run.settings.start_iteration);
  await run.emit({ type: 'estimate.compared', estimated, took });
  await run.say(
    `The preflight estimated ${formatDuration(estimated)} for what was played; it took ${formatDuration(took)}` +
      `${took > 0 ? ` (${(estimated / took).toFixed(2)} times)` : ''}.`,
  );
}

/**
 * Seconds of the stages that were finished, every attempt counted, baselines not. A stage that was resumed took what its processes spent
 * on what they left: from the stage's first event of each process to its last.
 */
export function comparison(
  { evaluate, iterations }: NonNullable<PreflightReport['estimate']>,
  events: readonly RunEvent[],
  first: number,
): { estimated: number; took: number } {
  let [estimated, took] = [0, 0];
  const spent = new Map<string, number>();
  let before: RunEvent | undefined;
  for (const event of events) {
    const { iteration: t, attempt, stage, type, baseline } = event;
    if (stage !== null && baseline === undefined) {
      const key = `${t}/${attempt}/${stage}`;
      const isSame = before && before.stage === stage && before.iteration === t && before.attempt === attempt;
      const step = isSame ? (Date.parse(event.time) - Date.parse(before!.time)) / 1000 : 0;
      spent.set(key, (spent.get(key) ?? 0) + step);
      if (type === 'stage.finished' && stage !== 'prepare') {
        estimated += t === null ? evaluate : (iterations[t - first]?.[stage] ?? 0);
        took += spent.get(key)!;
      }
    }
    before = event;
  }
  return { estimated, took };
}

/** How a piece of a row is to look. */
export type Paint = (part: MaskPiece['part'], text: string) => string;

/** Without colour: what is trained on stands in brackets, its end token in brackets of its own. */
const plainPaint: Paint = (part, text) =>
  part === 'prompt' ? text : part === 'response' ? `[[${text}]]` : `[[END ${text}]]`;

/** Rows as they are trained on, each behind its id. */
export function maskedRows(masks: PreflightReport['masks'], paint: Paint = plainPaint): string[] {
  return masks.map(({ id, pieces }) => `row ${id}\n${pieces.map(({ part, text }) => paint(part, text)).join('')}\n`);
}

const MARKS = { ok: 'ok', warning: 'WARNING', failure: 'FAILURE' } as const;

/** The report as text, ending in a line break. */
export function preflightText(
  { checks, masks, estimate, seconds }: PreflightReport,
  paint: Paint = plainPaint,
): string {
  const lines = checks.flatMap(({ name, result, found, fix }) => [
    [name, MARKS[result], found],
    ...(fix === null ? [] : [['', '', `to change: ${fix}`]]),
  ]);
  const failed = checks.filter(({ result }) => result === 'failure').length;
  const warned = checks.filter(({ result }) => result === 'warning').length;
  const verdict =
    failed > 0
      ? `${failed} failure(s): the game cannot go right like this.`
      : warned > 0
        ? `${warned} warning(s): the game can be played, and may not be worth it.`
        : 'Nothing speaks against the game.';
  return [
    'Three rows as they are trained on: prompt, answer, end token',
    '',
    ...maskedRows(masks, paint),
    alignedText(lines),
    '',
    ...(estimate ? [`The game should take about ${formatDuration(estimate.seconds)}:`, timeTable(estimate), ''] : []),
    `${verdict} (${formatDuration(seconds)})`,
    '',
  ].join('\n');
}

function timeTable({ evaluate, iterations }: NonNullable<PreflightReport['estimate']>): string {
  const stages = ['generate', 'reference', 'train', 'evaluate'] as const;
  return alignedText([
    ['', ...stages],
    ['given model', '', '', '', formatDuration(evaluate)],
    ...iterations.map((one, i) => [
      `iteration ${i + 1} of ${iterations.length}`,
      ...stages.map((s) => formatDuration(one[s])),
    ]),
  ]);
}
