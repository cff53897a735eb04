/**
 * The two programs of a training stage: `score` (log-probs of given answers) and `train` (loss, and gradients added to
 * the gradient states). Both run the same forward graph over packed tokens.
 */
import { gradients, recomputed } from '../autodiff/index.ts';
import { type Engine, floats, ints, type Tensor } from '../engine/index.ts';
import { bindShape, type Graph, type GraphBuilder, graphBuilder, isNode, type Value } from '../graph/index.ts';
import { type LanguageModel, trainable } from '../models/index.ts';
import { type Group, type PackedTokens, packGroups } from '../pairs/index.ts';
import { crossEntropy, type LossSettings, pairLoss, sumPerResponse, usesInitial } from './losses.ts';

/**
 * What is minimised: a loss of pairs plus `sftWeight` times the cross-entropy of the real answers, in both each pair times
 * its weight; or the cross-entropy alone.
 * The loss is SPIN's own if none is named.
 */
export type Objective =
  | { readonly kind: 'spin'; readonly beta: number; readonly sftWeight: number; readonly loss?: LossSettings }
  | { readonly kind: 'sft' };
type PairObjective = Extract<Objective, { readonly kind: 'spin' }>;

const spinLoss: LossSettings = { name: 'logistic', labelSmoothing: 0, lengthNormalization: false };
const lossOf = ({ loss = spinLoss }: PairObjective): LossSettings => loss;

/** The state that collects the gradient of a parameter. */
export const gradientName = (parameter: string) => `gradient/${parameter}`;

/** log p_θ(target) of every response row [R]; with `keys` as training computes it, with dropout. */
function responseLogProbs(b: GraphBuilder, model: LanguageModel, keys?: Value): Value {
  const ids = b.input('ids', ['tokens'], 'i32');
  const positions = b.input('positions', ['tokens'], 'i32');
  const segments = b.input('segments', ['segments', 6], 'i32');
  const rows = b.input('rows', ['rows'], 'i32');
  const targets = b.input('targets', ['rows'], 'i32');
  const hidden = model.hidden(b, ids, positions, (_, q, k, v, heads) => b.attention(q, k, v, segments, heads), keys);
  const scored = b.gatherRows(hidden, rows);
  return b.checkpoint(b.tokenLogProbs(scored, model.head(b), targets, { softcap: model.logitSoftcap }));
}

/** Output: logProbs [R]. */
export function scoreGraph(model: LanguageModel): Graph {
  const b = graphBuilder();
  b.output('logProbs', responseLogProbs(b, model));
  return b.build();
}

export function scoreInputs(packed: PackedTokens): Record<string, Tensor> {
  return {
    ids: ints(packed.ids),
    positions: ints(packed.positions),
    segments: ints(packed.segments, [packed.segments.length / 6, 6]),
    rows: ints(packed.rows),
    targets: ints(packed.targets),
  };
}

/**
 * Effect: adds dL/dw to the gradient state of every trainable parameter. Outputs: loss [1,1]; for pairs also realReward and
 * generatedReward [P,1], and logps: the sum of log p_θ per response [N,1].
 * @param gradientCheckpointing whether the backward pass computes each block again instead of keeping what it needs of it
 */
export function trainGraph(model: LanguageModel, objective: Objective, gradientCheckpointing = false): Graph {
  const b = graphBuilder();
  const keys = model.dropout ? b.input('dropoutKeys', ['tokens'], 'i32') : undefined;
  const logProbs = responseLogProbs(b, model, keys);
  const tokenWeights = () => b.input('tokenWeights', ['rows']);
  let loss: Value;
  if (objective.kind === 'sft') loss = crossEntropy(b, logProbs, tokenWeights());
  else {
    const responseOf = b.input('responseOf', ['rows'], 'i32');
    // Carries no data: it names the number of responses.
    b.input('responses', ['responses'], 'i32');
    const settings = lossOf(objective);
    const ofPairs = pairLoss(
      b,
      {
        logProbs,
        reference: b.input('reference', ['rows']),
        tokenShares: b.input('tokenShares', ['rows']),
        responseOf,
        real: b.input('real', ['pairs'], 'i32'),
        generated: b.input('generated', ['pairs'], 'i32'),
        ...(usesInitial(settings) ? { initial: b.input('initial', ['pairs'], 'i32') } : {}),
        responses: 'responses',
        pairWeight: b.input('pairWeight', ['pairs', 1]),
      },
      objective.beta,
      settings,
    );
    loss = objective.sftWeight > 0 ? b.add(ofPairs.loss, crossEntropy(b, logProbs, tokenWeights())) : ofPairs.loss;
    b.output('realReward', ofPairs.realReward);
    b.output('generatedReward', ofPairs.generatedReward);
    b.output('logps', sumPerResponse(b, logProbs, responseOf, 'responses'));
  }
  b.output('loss', loss);
  const parameters = trainable(model);
  const states = parameters.map(({ name, shape }) => b.state(name, shape));
  gradients(b, loss, states).forEach((contributions, i) => {
    const { name, shape } = parameters[i]!;
    for (const part of contributions) b.accumulate(b.state(gradientName(name), shape), part);
  });
  return gradientCheckpointing ? recomputed(b.build()) : b.build();
}

/** What a micro-batch is normalised by: counts over the whole batch. */
export interface BatchTotals {
  readonly pairs: number;
  /** Tokens of real answers. */
  readonly realTokens: number;
}

export const totalsOf = (batch: readonly Group[]): BatchTotals => ({
  pairs: batch.length,
  realTokens: batch.reduce((n, { responses }) => n + responses[0]!.ids.length, 0),
});

/**
 * Inputs of `trainGraph`, with the tokens' keys for a model with dropout. The responses of pairs follow each other as `pairGroup` packs them: real,
 * generated, (initial,) real …
 */
export function trainInputs(
  packed: PackedTokens,
  objective: Objective,
  totals: BatchTotals,
  dropoutKeys?: Int32Array,
): Record<string, Tensor> {
  const common = { ...scoreInputs(packed), ...(dropoutKeys ? { dropoutKeys: ints(dropoutKeys) } : {}) };
  if (objective.kind === 'sft') {
    const tokenWeights = Float32Array.from(
      packed.responseOf,
      (response) => packed.weights[response]! / totals.realTokens,
    );
    return { ...common, tokenWeights: floats(tokenWeights) };
  }
  const triplets = usesInitial(lossOf(objective));
  const perPair = triplets ? 3 : 2;
  const pairs = packed.responses / perPair;
  const every = (which: number) => ints(Int32Array.from({ length: pairs }, (_, p) => perPair * p + which));
  const lengths = new Int32Array(packed.responses);
  for (const response of packed.responseOf) lengths[response]!++;
  const perToken = objective.sftWeight / totals.realTokens;
  const tokenWeights = Float32Array.from(packed.responseOf, (response) =>
    response % perPair === 0 ? perToken * packed.weights[response]! : 0,
  );
  return {
    ...common,
    ...(objective.sftWeight > 0 ? { tokenWeights: floats(tokenWeights) } : {}),
    reference: floats(packed.reference),
    tokenShares: floats(Float32Array.from(packed.responseOf, (response) => 1 / lengths[response]!)),
    responseOf: ints(packed.responseOf),
    responses: ints(new Int32Array(packed.responses)),
    real: every(0),
    generated: every(1),
    ...(triplets ? { initial: every(2) } : {}),
    pairWeight: floats(
      Float32Array.from({ length: pairs }, (_, p) => packed.weights[perPair * p]! / totals.pairs),
      [pairs, 1],
    ),
  };
}

/**
 * The memory model of training.
 * @returns (groups, gradientCheckpointing) -> the most bytes that values take while these groups are one micro-batch, as
 * `Engine.plannedBytes` has it
 */
export function trainingBytes(
  engine: Pick<Engine, 'plannedBytes'>,
  model: LanguageModel,
  objective: Objective,
): (groups: readonly Group[], gradientCheckpointing: boolean) => number {
  const graphs = new Map<boolean, Graph>();
  return (groups, gradientCheckpointing) => {
    const graph = graphs.get(gradientCheckpointing) ?? trainGraph(model, objective, gradientCheckpointing);
    graphs.set(gradientCheckpointing, graph);
    const inputs = trainInputs(packGroups(groups), objective, { pairs: groups.length, realTokens: 1 });
    const sizes = new Map<string, number>();
    for (const node of graph.nodes) {
      if (!isNode(node, 'input')) continue;
      const { name, type } = node.attributes;
      const given = inputs[name];
      if (given) bindShape(name, type.shape, given.shape, sizes);
    }
    return engine.plannedBytes(graph, sizes);
  };
}
