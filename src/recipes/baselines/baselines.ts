/**
 * Controls: what else could have been made of the model that the game starts from, as rows of the same table. A gain over
 * that model alone may be more training, the decay of a learning rate, the choice of rows, or mere sharpening.
 *
 *   sft-steps        SFT on the train split for as many optimizer steps as the game took, at the rate of its first iteration
 *   sft-flops        the same for as many FLOPs as the game took: it writes and scores answers too (cost.ts)
 *   sft-temperature  the model itself, sampled at the temperature that is best on dev
 *   sft-reweighted   the game without its game: the same rows in the same batches, steps and rates, β → 0
 *
 * β → 0: at θ = θ_t the gradient of a loss ℓ of margins is β·ℓ'(0)·[∇log p(y) − ∇log p(y')], and its expected second term is
 * 0, since y' ~ p_θt. What is left points where the cross-entropy of the human answers of these pairs does, and so does an
 * SFT mix-in; within a step the two differ by a factor, which normalising optimizers do not see. So it is SFT on the rows
 * that the game learned from: those whose pairs took part, replayed ones twice.
 *
 * Each lies in baselines/NAME, is learned and judged by the game's own code, and goes on after an interruption like it.
 */
import { mkdir } from 'node:fs/promises';
import { saveModel } from '../../checkpoint/index.ts';
import type { Group } from '../../pairs/index.ts';
import { formatCount } from '../../report/index.ts';
import type { ChatTokenizer } from '../../tokens/index.ts';
import { flopsPerLearned } from '../../training/index.ts';
import { exists, usageError } from '../../util/index.ts';
import { rateOf } from '../game/governor.ts';
import { groupsOf, replayedPairs } from '../game/groups.ts';
import { judgeModel, type Names } from '../game/heldOut.ts';
import { dropCheckpoints, learn } from '../game/learn.ts';
import { type Player, stage } from '../game/opponent.ts';
import type { Standing } from '../game/outcome.ts';
import { gameCost, type IterationCost, iterationFlops, stepsForFlops } from '../run/cost.ts';
import { iterationName } from '../run/layout.ts';
import { loadPlayer } from '../run/player.ts';
import { readPairs } from '../run/records.ts';
import { asGroup, type Rows } from '../run/rows.ts';
import { insideBaseline, type Run } from '../run/run.ts';
import { at } from '../settings/schedules.ts';
import { type BaselineName, baselinesOf } from '../settings/settings.ts';
import { atBestTemperature } from './temperature.ts';

/** What every control stands on. */
interface Game {
  readonly run: Run<'run'>;
  readonly tokenizer: ChatTokenizer;
  readonly rows: Rows;
  /** The model that the game starts from, and the iterations that count. */
  readonly standings: readonly Standing[];
  readonly costs: ReadonlyMap<number, IterationCost>;
}

/** @throws usage error when a control that is asked for lacks its rows: before the game, not behind it */
export function demandRows(wanted: readonly BaselineName[], { train, dev }: Pick<Rows, 'train' | 'dev'>): void {
  const lacking = (names: readonly BaselineName[]) => wanted.filter((name) => names.includes(name)).join(', ');
  const noTrain = train.length === 0 ? lacking(['sft-steps', 'sft-flops']) : '';
  const noDev = dev.length === 0 ? lacking(['sft-temperature']) : '';
  if (noTrain !== '') {
    throw usageError({
      what: `there are no rows of data for the baselines ${noTrain}`,
      where: '--baselines',
      fix: 'give --data, or ask for sft-reweighted alone, which learns from the rows of the pairs',
    });
  }
  if (noDev === '') return;
  throw usageError({
    what: `there are no dev rows, by which the baseline ${noDev} chooses its temperature`,
    where: '--baselines',
    fix: 'give --dev-size, or leave this baseline out',
  });
}

/** The controls that the settings ask for, in the order of the table above; those that are there are not made again. */
export async function playBaselines(game: Omit<Game, 'costs'>): Promise<Standing[]> {
  const { run, standings } = game;
  const wanted = baselinesOf(run.settings.baselines);
  if (wanted.length === 0) return [];
  const iterations = standings.flatMap(({ iteration }) => iteration ?? []);
  if (iterations.length === 0) {
    await run.say('No iteration counts, so there is nothing to compare baselines with: they are left out.');
    return [];
  }
  const whole = { ...game, costs: await gameCost(run, iterations) };
  const controls: Standing[] = [];
  for (const name of wanted) controls.push(...(await makers[name](whole)));
  return controls;
}

const makers: { readonly [Name in BaselineName]: (game: Game) => Promise<Standing[]> } = {
  'sft-steps': async (game) => [
    await continued(game, 'sft-steps', { label: 'SFT continued, equal steps', iteration: null }, async () =>
      [...game.costs.values()].reduce((n, { steps }) => n + steps, 0),
    ),
  ],
  'sft-flops': async (game) => [
    await continued(
      game,
      'sft-flops',
      { label: 'SFT continued, equal FLOPs', iteration: null },
      async ({ loaded: { model } }, groups) => {
        const costs = [...game.costs.values()];
        const flops = costs.reduce((n, cost) => n + iterationFlops(model, cost), 0);
        const tokens = (of: keyof IterationCost) => formatCount(costs.reduce((n, cost) => n + cost[of], 0));
        await game.run.say(
          `The game took ${flops.toExponential(2)} FLOPs: answers of ${tokens('written')} tokens were written, ` +
            `${tokens('scored')} scored (2 FLOPs a parameter each), ${tokens('learned')} learned ` +
            `(${flopsPerLearned(model)}); prompts counted.`,
        );
        return stepsForFlops(flops, model, groups, game.run.settings.batch_size);
      },
    ),
  ],
  'sft-temperature': async ({ run, tokenizer, rows, standings }) => [
    await atBestTemperature(insideBaseline(run, 'sft-temperature'), tokenizer, rows, standings[0]!),
  ],
  'sft-reweighted': reweighted,
};

/** SFT on the train split from where the game starts, in one schedule over all steps. */
async function continued(
  { run, tokenizer, rows }: Game,
  name: BaselineName,
  names: Names,
  stepsOf: (player: Player, groups: readonly Group[]) => Promise<number>,
): Promise<Standing> {
  const inside = insideBaseline(run, name);
  const groups = rows.train.map(asGroup);
  const { model: from, start_iteration: first } = run.settings;
  const learningRate = at(run.settings.learning_rate, first);
  const player = await taught(inside, tokenizer, names, from, async (start) => ({
    groups,
    steps: await stepsOf(start, groups),
    learningRate,
  }));
  return standingOf(inside, player, rows, names);
}

/** Iteration by iteration the rows of the game, each with the game's own steps and rate. */
async function reweighted({ run, tokenizer, rows, costs }: Game): Promise<Standing[]> {
  const inside = insideBaseline(run, 'sft-reweighted');
  const standings: Standing[] = [];
  let from = run.settings.model;
  for (const [t, { steps }] of costs) {
    const names = { label: `reweighted SFT, iteration ${t}`, iteration: t };
    const fresh = await readPairs(run.path(iterationName(t), 'pairs.jsonl'));
    const replayed = (await replayedPairs(run, t)).flatMap(({ pairs }) => pairs);
    const { groups } = await groupsOf(run, [...fresh, ...replayed], t);
    const learningRate = await rateOf(run, t);
    const player = await taught(inside, tokenizer, names, from, async () => ({
      groups: groups.map(({ responses: [real], ...group }) => ({ ...group, responses: [real!] })),
      steps,
      learningRate,
    }));
    const standing = await standingOf(inside, player, rows, names);
    standings.push(standing);
    from = run.path(standing.model);
  }
  return standings;
}

interface Lesson {
  readonly groups: readonly Group[];
  readonly steps: number;
  readonly learningRate: number;
}

/** The model that learns a lesson of plain SFT, starting from the directory `from`; made once. */
async function taught(
  run: Run<'run'>,
  tokenizer: ChatTokenizer,
  { label, iteration }: Names,
  from: string,
  lessonFor: (start: Player) => Promise<Lesson>,
): Promise<Player> {
  const { engine, settings } = run;
  const folder = iteration === null ? '.' : iterationName(iteration);
  const model = run.path(folder, 'model');
  if (!(await exists(model))) {
    await mkdir(run.path(folder), { recursive: true });
    const start = { tokenizer, loaded: await loadPlayer(engine, settings, from) };
    const { groups, steps, learningRate } = await lessonFor(start);
    await run.say(
      `Baseline ${run.baseline}, ${label}: ${steps} steps on ${groups.length} answers, learning rate ${learningRate}.`,
    );
    await stage(run, { iteration, stage: 'train' }, async () => ({
      counts: await learn(run, start, {
        iteration,
        folder,
        groups,
        objective: { kind: 'sft' },
        steps,
        learningRate,
        label,
      }),
    }));
    await saveModel(engine, start.loaded, model);
  }
  await dropCheckpoints(run, folder);
  return { tokenizer, loaded: await loadPlayer(engine, settings, model) };
}

async function standingOf(run: Run<'run'>, player: Player, rows: Rows, names: Names): Promise<Standing> {
  const judgement = await judgeModel(run, player, rows, names);
  return { ...names, model: run.within(player.loaded.dir), judgement };
}
