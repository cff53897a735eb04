/**
 * The memory planner: before anything is spent it finds out how training fits. The longest item that the user's rows can
 * give is trained on once, at rate 0, and the memory that this took is measured; what other sizes take differs from it by
 * what their values take (Engine.plannedBytes). The plan that costs least time is taken, written into the manifest, and
 * repeated by every resume. A run that would not fit is refused, with the settings that make it fit.
 */
import { type Engine, type MemoryNow, peakWhile } from '../../engine/index.ts';
import { type LanguageModel, trainable } from '../../models/index.ts';
import { type Group, packedLength } from '../../pairs/index.ts';
import { type Objective, openTrainer, trainingBytes } from '../../training/index.ts';
import { isOutOfMemory, type SelfplayError, usageError } from '../../util/index.ts';
import { optimizerOf, type SpinSettings } from '../settings/settings.ts';
import type { MemoryPlan } from './memory.ts';
import type { Run } from './run.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** What is left to others, of all memory. */
const RESERVE = { share: 1 / 32, least: 256 * MIB };
/** What values take in truth for each byte that they are: an allocator's gaps, and room to work in. */
const OVERHEAD = 1.6;
/** Smaller micro-batches than this make products slow. */
const FEWEST_TOKENS = 512;

/** What training may take in all: what it takes now and what is free, less a reserve; or what the user says. */
export function limitOf({ limit, total }: MemoryNow, maxMemory: number | undefined): number {
  if (maxMemory !== undefined) return maxMemory * GIB;
  return limit - Math.max(RESERVE.least, RESERVE.share * total);
}

/**
 * Plans in the order in which they are tried. A smaller micro-batch costs next to nothing down to 512 tokens, so that
 * comes first; computing blocks again costs a third of the time; last, items alone.
 * @param longest tokens of the longest item, below which no micro-batch can be
 */
export function plansFor(
  { micro_batch_tokens, gradient_checkpointing }: Pick<SpinSettings, 'micro_batch_tokens' | 'gradient_checkpointing'>,
  longest: number,
): MemoryPlan[] {
  const sizes = [micro_batch_tokens];
  for (let size = micro_batch_tokens / 2; size >= Math.max(FEWEST_TOKENS, longest); size /= 2)
    sizes.push(Math.floor(size));
  const alone = longest < sizes.at(-1)! ? [longest] : [];
  const plans = (checkpointing: boolean, of: readonly number[]) =>
    of.map((tokens) => ({ micro_batch_tokens: tokens, gradient_checkpointing: checkpointing }));
  if (gradient_checkpointing === 'false') return plans(false, [...sizes, ...alone]);
  const again = plans(true, [...sizes, ...alone]);
  return gradient_checkpointing === 'true' ? again : [...plans(false, sizes), ...again];
}

/** The plan of a run; before there is one, what the settings say. */
export function planOf({ plan, settings }: Pick<Run, 'plan' | 'settings'>): MemoryPlan {
  const { micro_batch_tokens, gradient_checkpointing } = settings;
  return plan() ?? { micro_batch_tokens, gradient_checkpointing: gradient_checkpointing === 'true' };
}

/** The first plan that fits; undefined when none does. */
export function firstThatFits(
  plans: readonly MemoryPlan[],
  needed: (plan: MemoryPlan) => number,
  limit: number,
): MemoryPlan | undefined {
  return plans.find((plan) => needed(plan) <= limit);
}

/** What is planned for. */
export interface Task {
  readonly model: LanguageModel;
  readonly objective: Objective;
  /** The longest item that can come. */
  readonly longest: Group;
}

/** Finds the plan, unless the run has one. Throws a usage error when nothing fits. The model is in the engine, and stays as it is. */
export async function planMemory(run: Run, task: Task): Promise<void> {
  if (run.plan() !== null) return;
  const { engine, settings } = run;
  const longest = packedLength(task.longest);
  const plans = plansFor(settings, longest);
  const now = await engine.memory();
  const limit = now ? limitOf(now, settings.max_memory) : null;
  const values = trainingBytes(engine, task.model, task.objective);
  const packOf = ({ micro_batch_tokens: tokens }: MemoryPlan): Group[] =>
    Array.from(
      { length: Math.max(1, Math.min(settings.batch_size, Math.floor(tokens / longest))) },
      () => task.longest,
    );
  const take = (plan: MemoryPlan, alone = false) =>
    OVERHEAD * values(alone ? [task.longest] : packOf(plan), plan.gradient_checkpointing);

  // Beside the values: gradients and moments of what is learned. Only what this says to fit is tried.
  const learned = bytesOf(trainable(task.model));
  let beside = (now?.used ?? 0) + learned * (settings.optimizer === 'adamw' ? 3 : 2);
  const needed = (plan: MemoryPlan, alone = false) => Math.ceil(beside + take(plan, alone));
  // Saving leaves a copy of what it saves in RAM, until that is collected as garbage.
  const saved = engine.info.device === 'cpu' ? bytesOf(task.model.parameters) : 0;
  /** What the engine said when it had too little for the longest item. */
  let shortage: SelfplayError | undefined;
  for (const checkpointing of new Set(plans.map((plan) => plan.gradient_checkpointing))) {
    const trial = { micro_batch_tokens: longest, gradient_checkpointing: checkpointing };
    if (limit === null || needed(trial, true) > limit) continue;
    const peak = await trained(engine, settings, task, trial).catch((error: unknown) => {
      if (!isOutOfMemory(error)) throw error;
      shortage = error;
    });
    if (peak === undefined) continue;
    beside = peak + saved - take(trial, true);
    const plan = firstThatFits(plans, (one) => needed(one), limit);
    if (plan) return settle(run, plan, { longest, needed: needed(plan), limit });
  }
  if (limit === null) return settle(run, plans[0]!, { longest, needed: needed(plans[0]!), limit });
  if (shortage) {
    throw usageError({
      what: `training would not fit: the longest item (${longest} tokens) was tried alone: ${(shortage as SelfplayError).what}`,
      fix: 'give a lower --max-length, an adapter (--lora-rank 16) or a smaller model, or free memory',
      cause: shortage,
    });
  }
  throw refusal(run, task, {
    limit,
    needed: needed(plans.at(-1)!),
    learned,
    values: (group) => OVERHEAD * values([group], true),
    beside,
  });
}

const bytesOf = (parameters: LanguageModel['parameters']) =>
  parameters.reduce((n, { shape }) => n + 4 * shape.reduce((a, b) => a * b, 1), 0);

async function settle(
  run: Run,
  plan: MemoryPlan,
  figures: { readonly longest: number; readonly needed: number; readonly limit: number | null },
): Promise<void> {
  const { micro_batch_tokens: tokens, gradient_checkpointing } = plan;
  await run.freezePlan(plan);
  await run.emit({
    type: 'memory.planned',
    ...plan,
    ...figures,
    limit: figures.limit === null ? null : Math.floor(figures.limit),
  });
  const amount =
    figures.limit === null
      ? 'this device does not say how much it has'
      : `training takes about ${gib(figures.needed)} of the ${gib(figures.limit)} that it may take`;
  await run.say(
    `Memory: ${amount}; at most ${tokens} tokens at once (the longest item has ${figures.longest}), ` +
      `${gradient_checkpointing ? 'each block is computed again in the backward pass' : 'nothing is computed twice'}.`,
  );
}

const gib = (bytes: number) => `${(bytes / GIB).toFixed(bytes < 10 * GIB ? 2 : 1)} GiB`;

/**
 * The memory held at most while the longest item is trained on, at rate 0, in two steps with everything read between them
 * as a checkpoint reads it. Throws out-of-memory where that did not fit.
 * Notable choice: references are made up, so β is next to nothing: no loss overflows, and its memory is the same.
 */
async function trained(
  engine: Engine,
  settings: Run['settings'],
  { model, objective, longest }: Task,
  plan: MemoryPlan,
): Promise<number> {
  const trainer = await openTrainer(engine, model, {
    objective: objective.kind === 'spin' ? { ...objective, beta: 1e-6 } : objective,
    optimizer: optimizerOf(settings),
    maxGradNorm: settings.max_grad_norm,
    microBatchTokens: plan.micro_batch_tokens,
    gradientCheckpointing: plan.gradient_checkpointing,
    masks: { seed: settings.seed, iteration: null },
  });
  try {
    return await peakWhile(engine, async () => {
      await trainer.step([longest], 1, 0);
      for (const name of trainer.states) await engine.readState(name);
      await trainer.step([longest], 2, 0);
    });
  } finally {
    await trainer.dispose();
  }
}

/** What to change, of everything that would make it fit. */
function refusal(
  { settings, engine }: Run,
  { longest }: Task,
  facts: {
    readonly limit: number;
    readonly needed: number;
    /** Bytes of what is learned, once. */
    readonly learned: number;
    readonly values: (group: Group) => number;
    readonly beside: number;
  },
) {
  const { limit, needed, learned, values, beside } = facts;
  const least = beside + values(longest);
  const without = (bytes: number) => least - bytes <= limit;
  const fixes: string[] = [];
  if (settings.gradient_checkpointing === 'false' && without(0)) fixes.push('--gradient-checkpointing auto');
  const length = longestThatFits(longest, (group) => beside + values(group) <= limit);
  if (length !== undefined) fixes.push(`--max-length ${length}, which leaves longer rows out`);
  if (settings.optimizer === 'adamw' && without(learned)) fixes.push('--optimizer rmsprop');
  const moments = settings.optimizer === 'adamw' ? 2 : 1;
  if (settings.lora_rank === 0 && without(learned * (1 + moments))) fixes.push('--lora-rank 16');
  const where = engine.info.device === 'cpu' ? 'memory' : `memory of ${engine.info.device}`;
  return usageError({
    what:
      `training would not fit: it takes about ${gib(needed)} of ${where} for the longest item alone ` +
      `(${packedLength(longest)} tokens), and may take ${gib(limit)}`,
    fix: `${fixes.length > 0 ? `give ${fixes.join('; or ')}` : 'take a smaller model'}; or give it more with --max-memory, in GiB`,
  });
}

/**
 * The largest prompt and human answer together, in tokens, with which an item fits; undefined when not even an eighth does.
 * Both are shortened alike; the other answers stay as they are.
 */
export function longestThatFits(longest: Group, fits: (group: Group) => boolean): number | undefined {
  const [human, ...others] = longest.responses;
  const full = longest.promptIds.length + human!.ids.length;
  const cut = (length: number): Group => {
    const answer = Math.max(1, Math.round((length * human!.ids.length) / full));
    return {
      promptIds: longest.promptIds.slice(0, Math.max(1, length - answer)),
      responses: [{ ids: human!.ids.slice(0, answer) }, ...others],
    };
  };
  let [low, high] = [Math.ceil(full / 8), full];
  if (!fits(cut(low))) return undefined;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (fits(cut(middle))) low = middle;
    else high = middle;
  }
  return low;
}
