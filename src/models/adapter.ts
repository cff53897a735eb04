/**
 * Low-rank adapters (LoRA, Hu et al. 2021): beside a frozen weight W [N,K] stand A [r,K] and B [N,r], and the layer
 * computes y = x·Wᵀ + s·(dropout(x)·Aᵀ)·Bᵀ with s = α/r, or α/√r for rank-stabilised LoRA (Kalajdzievski 2023).
 *
 * An adapter transforms a model: its forward graph is built with a builder whose `linear` looks at which weight it is
 * given. No model file knows of it. What is a layer is what the model multiplies by `linear`; embedding and head are not.
 */
import { type GraphBuilder, graphBuilder, isNode, type Value } from '../graph/index.ts';
import { hash32, usageError } from '../util/index.ts';
import type { LanguageModel, Parameter } from './model.ts';

/** What PEFT's LoraConfig says of an adapter; patterns speak of modules, which are parameters without ".weight". */
export interface LoraConfig {
  readonly rank: number;
  readonly alpha: number;
  /** s = α/√r in place of α/r. */
  readonly rankStabilized: boolean;
  /** Probability with which training drops an input of A. */
  readonly dropout: number;
  /**
   * Modules by the end of their name ("q_proj", "self_attn.q_proj") or all of it, `*` for anything; "all-linear"; or, as
   * { regex }, by the whole name.
   */
  readonly targets: readonly string[] | { readonly regex: string } | 'all-linear';
  /** Rank and α of modules that have others, by a regular expression for the end of the name. */
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
}

/** A layer with its adapter. */
export interface AdaptedModule {
  readonly name: string;
  /** [N, K] */
  readonly shape: readonly [number, number];
  readonly rank: number;
  /** s */
  readonly scale: number;
}

/** Names of A [r,K] and B [N,r], as PEFT has them below its own prefix. */
export const adapterNames = (module: string) => ({
  a: `${module}.lora_A.weight`,
  b: `${module}.lora_B.weight`,
});

/** A model's linear layers: name without ".weight" -> [N, K]. */
function linearModules(model: LanguageModel): Map<string, readonly [number, number]> {
  const found = new Map<string, readonly [number, number]>();
  const b = graphBuilder();
  const seeing: GraphBuilder = {
    ...b,
    linear: (x, ...weights) => {
      for (const weight of weights) {
        const module = moduleOf(weight);
        if (module !== undefined) found.set(module, weight.shape as readonly number[] as readonly [number, number]);
      }
      return b.linear(x, ...weights);
    },
  };
  const ids = b.input('ids', ['tokens'], 'i32');
  const segments = b.input('segments', ['segments', 6], 'i32');
  model.hidden(seeing, ids, b.input('positions', ['tokens'], 'i32'), (_, q, k, v, heads) =>
    b.attention(q, k, v, segments, heads),
  );
  return found;
}

const SUFFIX = '.weight';

const moduleNamed = (weight: string) => (weight.endsWith(SUFFIX) ? weight.slice(0, -SUFFIX.length) : undefined);
const moduleOf = ({ node }: Value) => (isNode(node, 'state') ? moduleNamed(node.attributes.name) : undefined);

function regular(pattern: string): RegExp {
  try {
    return new RegExp(`^(?:${pattern})$`);
  } catch (cause) {
    throw usageError({ what: `"${pattern}" is not a regular expression: ${(cause as Error).message}`, cause });
  }
}

/** As PEFT's `(.*\.)?(pattern)$`, from the start of the name. */
const byEnd = (pattern: string) => regular(`(?:.*\\.)?(?:${pattern})`);
const literal = (text: string) => text.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*');

/**
 * The layers that an adapter adapts, in the order of the model.
 * @throws usage error for a pattern that fits no layer, and for one that fits embedding or head, with the reason
 */
export function adaptedModules(model: LanguageModel, config: LoraConfig): AdaptedModule[] {
  const layers = linearModules(model);
  const { targets } = config;
  const patterns: readonly [string, RegExp][] =
    targets === 'all-linear'
      ? [[targets, /^/]]
      : 'regex' in targets
        ? [[targets.regex, regular(targets.regex)]]
        : targets.map((target): [string, RegExp] => [target, byEnd(literal(target))]);
  if (targets !== 'all-linear') refuseTables(model, layers, patterns);
  for (const [pattern, expression] of patterns) {
    if ([...layers.keys()].some((name) => expression.test(name))) continue;
    const ends = [...new Set([...layers.keys()].map((name) => name.split('.').at(-1)!))];
    throw usageError({
      what: `"${pattern}" names no linear layer of the model`,
      fix: `its layers are ${ends.join(', ')}`,
    });
  }
  const first = (values: Readonly<Record<string, number>>, name: string) =>
    Object.entries(values).find(([pattern]) => byEnd(pattern).test(name))?.[1];
  return [...layers].flatMap(([name, shape]) => {
    if (!patterns.some(([, expression]) => expression.test(name))) return [];
    const rank = first(config.rankPattern, name) ?? config.rank;
    const alpha = first(config.alphaPattern, name) ?? config.alpha;
    return [{ name, shape, rank, scale: alpha / (config.rankStabilized ? Math.sqrt(rank) : rank) }];
  });
}

/** Embedding and head are no layers: says so to whoever asks for them. */
function refuseTables(
  { parameters }: LanguageModel,
  layers: ReadonlyMap<string, unknown>,
  patterns: readonly (readonly [string, RegExp])[],
): void {
  for (const { name, shape, aliases } of parameters) {
    if (shape.length !== 2 || layers.has(moduleNamed(name) ?? '')) continue;
    for (const module of [name, ...aliases].flatMap((alias) => moduleNamed(alias) ?? [])) {
      const [pattern] = patterns.find(([, expression]) => expression.test(module)) ?? [];
      if (pattern === undefined) continue;
      const why = aliases.includes('lm_head.weight')
        ? 'embedding and head are one matrix here (tie_word_embeddings), so what is learned for one would change the other'
        : 'it is a table of tokens and no layer of the blocks';
      throw usageError({
        what: `"${pattern}" asks for an adapter on ${module}: ${why}`,
        fix: 'name layers of the blocks, such as q_proj, v_proj or mlp.*; or train all weights (lora_rank 0)',
      });
    }
  }
}

/**
 * The model with an adapter: its own parameters are frozen, and A and B of every adapted layer are learned. With B = 0,
 * as a new adapter starts, it computes what the model computes.
 * @throws usage error as `adaptedModules` does
 */
export function withAdapter(model: LanguageModel, config: LoraConfig): LanguageModel {
  const adapted = new Map(adaptedModules(model, config).map((module) => [module.name, module]));
  const layers = linearModules(model);
  const frozen = model.parameters.map((parameter): Parameter => {
    const isLayer = layers.has(moduleNamed(parameter.name) ?? '');
    return { ...parameter, frozen: isLayer ? 'layer' : 'other' };
  });
  const learned = [...adapted.values()].flatMap(({ name, shape: [N, K], rank }): Parameter[] => {
    const { a, b } = adapterNames(name);
    return [
      { name: a, shape: [rank, K], aliases: [], initial: 'kaiming-uniform' },
      { name: b, shape: [N, rank], aliases: [], initial: 'zeros' },
    ];
  });
  return {
    ...model,
    parameters: [...frozen, ...learned],
    dropout: config.dropout,
    hidden: (b, ids, positions, attend, dropoutKeys) =>
      model.hidden({ ...b, linear: adaptedLinear(b, adapted, config.dropout, dropoutKeys) }, ids, positions, attend),
  };
}

/** `linear` that adds s·(dropout(x)·Aᵀ)·Bᵀ to the product with an adapted weight. Without dropout all A share x. */
function adaptedLinear(
  b: GraphBuilder,
  adapted: ReadonlyMap<string, AdaptedModule>,
  probability: number,
  keys: Value | undefined,
): GraphBuilder['linear'] {
  return (x, ...weights) => {
    const modules = weights.map((weight) => adapted.get(moduleOf(weight) ?? ''));
    const those = modules.filter((module) => module !== undefined);
    const stateOf = ({ name, shape: [N, K], rank }: AdaptedModule) => ({
      A: b.state(adapterNames(name).a, [rank, K]),
      B: b.state(adapterNames(name).b, [N, rank]),
    });
    const inputs = keys
      ? those.map((module) => {
          const dropped = b.dropout(x, keys, { probability, salt: hash32(module.name) });
          return b.linear(dropped, stateOf(module).A)[0]!;
        })
      : those.length > 0
        ? b.linear(x, ...those.map((module) => stateOf(module).A))
        : [];
    return b.linear(x, ...weights).map((product, i) => {
      const module = modules[i];
      if (!module) return product;
      const narrow = b.affine(inputs[those.indexOf(module)]!, module.scale);
      return b.add(product, b.linear(narrow, stateOf(module).B)[0]!);
    });
  };
}
