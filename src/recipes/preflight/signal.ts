/**
 * The game's first step on a few pairs, as the game computes it: loss and margins; and the signal test of the preflight, the
 * gradients of two halves with their two controls (evaluation/preflight.ts says what they mean).
 */
import type { PreflightFacts } from '../../evaluation/index.ts';
import type { Group } from '../../pairs/index.ts';
import {
  type Agreement,
  type Halves,
  halvesOf,
  listsOf,
  noiseScale,
  type Objective,
  openAgreement,
  openScorer,
  type Scorer,
} from '../../training/index.ts';
import { failure } from '../../util/index.ts';
import type { Player } from '../game/opponent.ts';
import type { Drawn, DrawTools } from './draw.ts';

export type GroupOf = (drawn: Drawn) => Group;

/** At step 0, over all pairs. */
export interface FirstStep {
  readonly loss: number;
  readonly margins: NonNullable<PreflightFacts['margins']>;
  /** Null where the controls are left out, without which a cosine says nothing. */
  readonly signal: PreflightFacts['signal'];
}

/** Log-probs of a sampler are those of the training graph up to so many nats a token. */
const SAMPLER_ERROR = 1e-4;

/** The groups with log-probs under the weights in the engine as references. @throws failure where one is not finite */
export async function scoreGroups(scorer: Scorer, groups: readonly Group[], tokens: number): Promise<Group[]> {
  const scores = await scorer.score(groups, tokens);
  if (!scores.every((one) => one.every((logProbs) => logProbs.every(Number.isFinite)))) {
    throw failure({
      what: 'log-probs of the model are not finite',
      fix: 'its weights are damaged, or they overflow in this precision: try --dtype f32',
    });
  }
  return groups.map(({ promptIds, responses }, i) => ({
    promptIds,
    responses: responses.map(({ ids }, j) => ({ ids, reference: scores[i]![j]! })),
  }));
}

/**
 * @param tokens computed at once
 * @param controls whether the signal test is made
 * @returns null with fewer than two pairs that take part
 */
export async function firstStep(
  { settings, engine, context, checkSignal }: DrawTools,
  { loaded: { model } }: Player,
  objective: Extract<Objective, { readonly kind: 'spin' }>,
  drawn: readonly Drawn[],
  { groupOf, tokens, controls }: { readonly groupOf: GroupOf; readonly tokens: number; readonly controls: boolean },
): Promise<FirstStep | null> {
  const halves = halvesOf(drawn.filter(({ record }) => record.excluded === null));
  if (halves.first.length === 0) return null;
  const pairs = await referenced();
  const parts = (controls ? 3 : 1) * listsOf(halves).length;
  const progress = context.progress('preflight: gradients of two halves', parts, 'parts');
  const afterList = () => {
    progress.advance(1);
    checkSignal();
  };
  const measure = async (what: Objective, each: readonly Halves<Group>[]): Promise<Agreement[]> => {
    const meter = await openAgreement(engine, model, what);
    const found: Agreement[] = [];
    try {
      for (const one of each) found.push(await meter.measure(one, tokens, afterList));
      return found;
    } finally {
      await meter.dispose();
    }
  };
  const turned = mapHalves(pairs, (group, i) => (i % 2 === 0 ? turnedRound(group) : group));
  const humans = mapHalves(pairs, ({ promptIds, responses }) => ({ promptIds, responses: responses.slice(0, 1) }));
  const [game, swapped] = (await measure(objective, controls ? [pairs, turned] : [pairs])) as [Agreement, Agreement?];
  const [sft] = controls ? await measure({ kind: 'sft' }, [humans]) : [];
  progress.done();
  const half = halves.first.length;
  return {
    loss: game.loss,
    margins: worstMargin(game.margins, listsOf(pairs).flat(), objective.beta),
    signal:
      swapped && sft
        ? {
            pairs: 2 * half,
            game: cosineIn(game),
            sft: cosineIn(sft),
            swapped: cosineIn(swapped),
            noiseScale: noiseScale(game.cosine, half),
            batchSize: settings.batch_size,
          }
        : null,
  };

  /** The pairs with their references as the game has them: the sampler's own where it computes in f32. */
  async function referenced(): Promise<Halves<Group>> {
    const scorer = await openScorer(engine, model);
    const scored = new Map<Drawn, Group>();
    try {
      for (const list of listsOf(halves)) {
        const groups = await scoreGroups(scorer, list.map(groupOf), tokens);
        for (const [i, one] of list.entries()) scored.set(one, groups[i]!);
        checkSignal();
      }
    } finally {
      await scorer.dispose();
    }
    return mapHalves(halves, (one) => {
      const { promptIds, responses } = scored.get(one)!;
      const [real, generated] = responses;
      const reference = engine.info.dtype === 'f32' && one.logProbs ? one.logProbs : generated!.reference!;
      return { promptIds, responses: [real!, { ids: generated!.ids, reference }] };
    });
  }
}

const cosineIn = ({ cosine, standardError }: Agreement) => ({ cosine, standardError });

/** `i` counts through both halves. */
function mapHalves<T, U>({ first, parts }: Halves<T>, of: (item: T, i: number) => U): Halves<U> {
  let at = 0;
  const next = (item: T) => of(item, at++);
  return { first: first.map(next), parts: parts.map((part) => part.map(next)) };
}

const turnedRound = ({ promptIds, responses }: Group): Group => ({ promptIds, responses: responses.toReversed() });

/** The margin that is largest for what rounding may leave: β times the tokens of both answers times the sampler's error. */
function worstMargin(
  margins: readonly number[],
  pairs: readonly Group[],
  beta: number,
): NonNullable<PreflightFacts['margins']> {
  return pairs
    .map(({ responses }, i) => ({
      largest: Math.abs(margins[i]!),
      allowed: beta * SAMPLER_ERROR * responses.reduce((n, { ids }) => n + ids.length, 0),
    }))
    .reduce((a, b) => (b.largest / b.allowed > a.largest / a.allowed ? b : a));
}
