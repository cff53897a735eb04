/**
 * Preflight: before time is spent on a game, everything that can be known of it. A few pairs are drawn, scored and learned
 * from at rate 0; the facts are judged by evaluation/preflight.ts. The weights in the engine stay as they are.
 */
import { statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { hashModelDirectory } from '../../checkpoint/index.ts';
import {
  type Check,
  type Checker,
  type CheckName,
  checkOf,
  foreignness,
  type PreflightFacts,
} from '../../evaluation/index.ts';
import { type Group, packedLength, pairGroup } from '../../pairs/index.ts';
import type { ChatTokenizer, MaskPiece } from '../../tokens/index.ts';
import { type Objective, openScorer, startOf } from '../../training/index.ts';
import { exists, failure, SelfplayError } from '../../util/index.ts';
import { longestOf, pairOfRow } from '../game/longest.ts';
import type { Player } from '../game/opponent.ts';
import { pairOf } from '../run/records.ts';
import type { Rows } from '../run/rows.ts';
import { at } from '../settings/schedules.ts';
import { lossOf, type SpinSettings } from '../settings/settings.ts';
import { type Drawn, type DrawTools, openDraw } from './draw.ts';
import {
  bytesNeeded,
  flopsPace,
  type GameSeconds,
  type PreflightCost,
  preflightCost,
  secondsOf,
  totalSeconds,
  type Work,
} from './estimate.ts';
import { rehearse } from './rehearsal.ts';
import { firstStep, type GroupOf, scoreGroups } from './signal.ts';

/** preflight.json */
export interface PreflightReport {
  readonly v: 1;
  readonly checks: readonly Check[];
  /** Rows as they would be trained on. */
  readonly masks: readonly { readonly id: string; readonly pieces: readonly MaskPiece[] }[];
  /** Of the game, by stage; null where training was not possible. */
  readonly estimate: (GameSeconds & { readonly seconds: number }) | null;
  /** Why there was no signal test; null where there was one. */
  readonly leftOut: string | null;
  /** What the preflight itself took. */
  readonly seconds: number;
}

/** Share of the game that the preflight may take, both counted in FLOPs, so that it is the same preflight every time. */
const SHARE = 1 / 10;
/** Pairs that are drawn in any case: by itself, and within a run at least. */
const [FEW, FEWEST] = [32, 8];
/** Pairs of the signal test: within a run at least, as many as fill the parts from which its error is seen; and at most. */
const [LEAST, MOST] = [16, 256];
const MASKS = 3;

/**
 * @param within a run: few pairs are drawn where it is small, and a signal test that would take too much of it is left out
 * @throws what `selfplay run` would throw about these rows; stopped as `checkSignal` says
 */
export async function inspect(
  tools: DrawTools,
  player: Player,
  rows: Rows,
  { checker, within }: { readonly checker: Checker | null; readonly within: boolean },
): Promise<PreflightReport> {
  const begin = performance.now();
  const { settings, engine } = tools;
  const { loaded, tokenizer } = player;
  const checks: Check[] = [];
  const look = <K extends CheckName>(name: K, facts: PreflightFacts[K]) => void checks.push(checkOf(name, facts));
  const objective = {
    kind: 'spin',
    beta: at(settings.beta, settings.start_iteration),
    // The game's own part: with SFT beside it there would always be a direction.
    sftWeight: 0,
    // Of pairs alone: where the loss looks at the answers of iteration 0 as well, that part is left out.
    loss: lossOf(settings, 0),
  } as const satisfies Objective;
  const draw = await openDraw(tools, player, rows, checker);
  let few = await draw.take(within ? Math.min(FEW, Math.max(FEWEST, Math.ceil(SHARE * draw.available))) : FEW);
  // Whether any pair is left to learn from is not to be said of a handful.
  if (few.filter(({ record }) => record.excluded === null).length < 2) few = await draw.take(FEW);
  look('ends', endsOf(rows, few, tokenizer.endIds));
  if (rows.train.length > 0) look('prefix', prefixOf(rows, few, tokenizer));
  const hash = await hashModelDirectory(settings.model);
  const opponent = { name: settings.model, hash };
  const fresh = settings.lora_rank > 0 ? ' with a new adapter, which changes nothing yet' : '';
  look('players', { policy: { name: `${settings.model}${fresh}`, hash }, opponent });

  const scorer = await openScorer(engine, loaded.model);
  const scoring = performance.now();
  const scored = await scoreGroups(scorer, few.map(groupOf), settings.micro_batch_tokens);
  const reading = (performance.now() - scoring) / 1000 / tokensOf(few.map(groupOf));
  await scorer.dispose();

  const kept = few.flatMap((drawn, i) => (drawn.record.excluded === null ? [scored[i]!] : []));
  const usual = kept.length > 0 ? kept : scored;
  const possible = rows.train.map((row) => pairOfRow(row, settings, loaded.model.contextLength, 1));
  const longest = longestOf([...possible, ...few.map(groupOf)])!;
  const rehearsal = await rehearse(tools, player, objective, { longest, usual });

  const work = workOf(settings, rows, few, draw.available);
  const sampling = draw.pace();
  const estimate =
    rehearsal.pace &&
    secondsOf(settings, work, {
      open: rehearsal.pace.open + (sampling?.open ?? 0),
      read: Math.max(reading, sampling?.read ?? 0),
      // Without samples of its own nothing says how fast it writes: as fast as it learns.
      write: sampling?.write ?? rehearsal.pace.learn,
      learn: rehearsal.pace.learn,
      step: rehearsal.pace.step,
    });
  const { pairs, leftOut } = signalSize(
    totalSeconds(secondsOf(settings, work, flopsPace(loaded.model))),
    preflightCost(work, flopsPace(loaded.model), { few: few.length, longest: packedLength(longest) }),
    within,
  );
  const drawn = rehearsal.pace ? await draw.take(Math.max(few.length, pairs)) : few;
  if (rehearsal.pace) {
    const tested = leftOut === null ? drawn.slice(0, pairs) : few;
    const asked = { groupOf, tokens: rehearsal.fit, controls: leftOut === null };
    const first = await firstStep(tools, player, objective, tested, asked);
    if (first) {
      const expected = startOf(objective.loss, objective.beta);
      look('start', { loss: first.loss, expected });
      look('margins', expected === null ? null : first.margins);
    }
    if (leftOut === null) look('signal', first?.signal ?? null);
  }
  look('foreign', foreignOf(scored, few));
  const count = (holds: (one: Drawn) => boolean) => drawn.filter(holds).length;
  look('identical', {
    answers: drawn.length,
    identical: count(({ reasons }) => reasons.includes('identical')),
    kept: count(({ record }) => record.excluded === null),
  });
  look('truncated', {
    answers: drawn.length,
    truncated: count(({ record }) => record.responses[1].finish === 'length'),
    limit: settings.max_new_tokens,
  });
  look('detectable', { rows: rows.test.length });
  look('memory', {
    tokens: packedLength(longest),
    problem: rehearsal.problem,
    atOnce: { asked: settings.micro_batch_tokens, fit: rehearsal.fit },
  });
  look('disk', { needed: bytesNeeded(loaded, settings, work), free: await bytesFree(settings.out ?? 'runs') });
  // Whole answers first: an end token is to be seen.
  const isCut = ({ record }: Drawn) => Number(record.responses[0].finish === 'length');
  const masks = drawn
    .toSorted((a, b) => isCut(a) - isCut(b))
    .slice(0, MASKS)
    .map(({ record: { id, promptIds, responses } }) => ({
      id,
      pieces: tokenizer.describeMask({
        promptIds: Int32Array.from(promptIds),
        responseIds: Int32Array.from(responses[0].ids),
      }),
    }));
  return {
    v: 1,
    checks,
    masks,
    estimate: estimate && { seconds: totalSeconds(estimate), ...estimate },
    leftOut,
    seconds: (performance.now() - begin) / 1000,
  };
}

/**
 * Pairs of the signal test: as many as there is room for beside the other checks.
 * @param game what the game takes, in the unit of the costs
 * @param within a run too few pairs are none; by itself the test is made in any case
 */
export function signalSize(
  game: number,
  { checks, signalPair }: PreflightCost,
  within: boolean,
): Pick<PreflightReport, 'leftOut'> & { readonly pairs: number } {
  const pairs = Math.min(MOST, Math.floor((SHARE * game - checks) / signalPair));
  if (!within) return { pairs: Math.max(FEW, pairs), leftOut: null };
  if (pairs >= LEAST) return { pairs, leftOut: null };
  const share = (checks + LEAST * signalPair) / game;
  return {
    pairs: 0,
    leftOut:
      `The signal test is left out: with it the preflight would take ${(100 * share).toFixed(0)} % of what the game takes, ` +
      `and it may take ${100 * SHARE} %. \`selfplay preflight\` with the same settings makes it.`,
  };
}

const groupOf: GroupOf = ({ record }) => pairGroup(pairOf(record));
const tokensOf = (groups: readonly Group[]) => groups.reduce((n, group) => n + packedLength(group), 0);

/** Whether answers end in their only end token; one that was cut has none. */
export function endsOf(
  { train, dev, test }: Pick<Rows, 'train' | 'dev' | 'test'>,
  drawn: readonly Drawn[],
  endIds: ReadonlySet<number>,
): PreflightFacts['ends'] {
  const answers = [
    ...[...train, ...dev, ...test].map(({ id, responseIds }) => ({ id, ids: responseIds, isWhole: true })),
    ...drawn.flatMap(({ record: { id, responses } }) =>
      responses.map(({ ids, finish }) => ({ id, ids, isWhole: finish === 'end' })),
    ),
  ];
  const wrong = answers.flatMap(({ id, ids, isWhole }) => {
    const ends = [...ids].filter((token) => endIds.has(token)).length;
    const isRight = isWhole ? ends === 1 && endIds.has(ids[ids.length - 1]!) : ends === 0;
    return isRight ? [] : [`row ${id} has ${ends}${isWhole ? '' : ' though it was cut'}`];
  });
  return { rows: answers.length, wrong: wrong.length, first: wrong[0] ?? null };
}

/** Whether generation and training give the same prompt the same ids, and training's answer stands right behind. */
export function prefixOf(
  { train }: Pick<Rows, 'train'>,
  drawn: readonly Drawn[],
  tokenizer: Pick<ChatTokenizer, 'encodePrompt' | 'encodePair'>,
): PreflightFacts['prefix'] {
  const ids = new Set(drawn.map(({ record }) => record.id));
  const looked = train.filter(({ id }) => ids.has(id));
  const same = (a: Int32Array, b: Int32Array) => a.length === b.length && a.every((id, i) => id === b[i]);
  const wrong = looked.flatMap(({ id, prompt, response, promptIds, responseIds }) => {
    try {
      const pair = tokenizer.encodePair({ prompt, response });
      const isRight =
        same(pair.promptIds, promptIds) &&
        same(pair.responseIds, responseIds) &&
        same(tokenizer.encodePrompt(prompt), promptIds);
      return isRight ? [] : [`row ${id} has other ids when its answer is written than when it is trained on`];
    } catch (error) {
      if (!(error instanceof SelfplayError)) throw error;
      return [`row ${id}: ${error.what}`];
    }
  });
  return { rows: looked.length, wrong: wrong.length, first: wrong[0] ?? null };
}

/** Human answers against own ones, in nats per token. */
function foreignOf(scored: readonly Group[], drawn: readonly Drawn[]): PreflightFacts['foreign'] {
  const nats = (logProbs: Float32Array) => -logProbs.reduce((sum, x) => sum + x, 0) / logProbs.length;
  const [human, own] = [0, 1].map((role) => scored.map(({ responses }) => nats(responses[role]!.reference!)));
  return foreignness(
    human!,
    own!.map((value, i) => (drawn[i]!.logProbs ? nats(drawn[i]!.logProbs!) : value)),
  );
}

function workOf(
  { pairs, start_iteration: first, samples_per_prompt }: SpinSettings,
  { train, trainAt, dev, test }: Rows,
  drawn: readonly Drawn[],
  available: number,
): Work {
  const mean = (of: (one: Drawn) => number) => drawn.reduce((sum, one) => sum + of(one), 0) / drawn.length;
  return {
    // Pairs from a file: their number is known of the first iteration, and taken for that of those before it without data.
    pairsAt: (t) =>
      train.length === 0 || (t === first && pairs !== undefined)
        ? available
        : trainAt(t).length * at(samples_per_prompt, t),
    heldOut: dev.length + test.length,
    kept: mean(({ record }) => (record.excluded === null ? 1 : 0)),
    prompt: mean(({ record }) => record.promptIds.length),
    human: mean(({ record }) => record.responses[0].ids.length),
    own: mean(({ record }) => record.responses[1].ids.length),
  };
}

/** Of the disk on which a directory lies, or will lie. */
async function bytesFree(directory: string): Promise<number> {
  let at = resolve(directory);
  while (!(await exists(at)) && dirname(at) !== at) at = dirname(at);
  const { bavail, bsize } = await statfs(at);
  return bavail * bsize;
}

/** Throws one failure for all checks that failed. */
export function demandPassed({ checks }: PreflightReport): void {
  const failed = checks.filter(({ result }) => result === 'failure');
  if (failed.length === 0) return;
  const lines = failed.map(({ name, found, fix }) => `\n  ${name}: ${found}\n    fix: ${fix}`);
  throw failure({
    what: `the preflight found ${failed.length} thing(s) that the game cannot go right with${lines.join('')}`,
    fix: 'change that and start again; --no-preflight begins in spite of it',
  });
}
