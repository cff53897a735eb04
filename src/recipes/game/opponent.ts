/**
 * The opponent's part of an iteration: it answers every prompt, and both answers of every pair are scored under it.
 * Both stages work in shards; a finished shard is on disk and never done again.
 */
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import type { LoadedModel } from '../../checkpoint/index.ts';
import type { Checker } from '../../evaluation/index.ts';
import {
  type CompletionGenerator,
  type GenerationRequest,
  openGenerator,
  type Sampling,
} from '../../generation/index.ts';
import { type Group, type Pair, packedLength, pairGroup, type ScoredPair } from '../../pairs/index.ts';
import type { ChatTokenizer } from '../../tokens/index.ts';
import { mixedReference, openScorer, type Scorer } from '../../training/index.ts';
import { iterationName } from '../run/layout.ts';
import { microBatchTokens } from '../run/memory.ts';
import { planOf } from '../run/plan.ts';
import { loadPlayer } from '../run/player.ts';
import {
  readLogProbs,
  readPairs,
  readSamples,
  type TextCompletion,
  writeLogProbs,
  writeSamples,
} from '../run/records.ts';
import type { Row } from '../run/rows.ts';
import { type Run, stageKey } from '../run/run.ts';
import { at } from '../settings/schedules.ts';
import { batchesOf } from './learn.ts';
import { judgeEntries, pairRecord, reportPairs, writeEntries, writtenTokens } from './verdicts.ts';

/** A thing being played with: the model in the engine and its tokenizer. */
export interface Player {
  readonly loaded: LoadedModel;
  readonly tokenizer: ChatTokenizer;
}

const shardName = (shard: number) => String(shard).padStart(5, '0');

function inShards<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

/** Runs `body`, logged as a stage of iteration t; `counts` go into the log. */
export async function stage<T extends { counts: Record<string, number> }>(
  run: Run,
  at: { iteration: number | null; stage: 'prepare' | 'generate' | 'reference' | 'train' | 'evaluate' },
  body: () => Promise<T>,
): Promise<T> {
  const attempt = at.iteration === null ? null : (run.attempts.get(at.iteration) ?? 0);
  if (run.finished.has(stageKey({ ...at, attempt, baseline: run.baseline }))) return body();
  await run.emit({ ...at, type: 'stage.started' });
  const start = performance.now();
  const result = await body();
  await run.emit({ ...at, type: 'stage.finished', seconds: (performance.now() - start) / 1000, counts: result.counts });
  return result;
}

/**
 * `samples_per_prompt` answers y' ~ p_θt(·|x) to every row of train, each a pair with the human answer; then pairs.jsonl with the reasons for pairs that are left out, and
 * flagged.jsonl, which lists these pairs and those that were kept in spite of a reason.
 */
export async function samplePairs(
  run: Run<'run'>,
  { loaded, tokenizer }: Player,
  rows: readonly Row[],
  t: number,
  checker: Checker | null,
): Promise<Pair[]> {
  const file = run.path(iterationName(t), 'pairs.jsonl');
  const { settings } = run;
  const rest = () => run.rest({ loaded, tokenizer }, { iteration: t, stage: 'generate' });
  const folder = run.path(iterationName(t), 'samples');
  if (existsSync(file)) {
    await rm(folder, { recursive: true, force: true });
    return readPairs(file);
  }
  await mkdir(folder, { recursive: true });
  const sampling: Sampling = {
    temperature: at(settings.temperature, t),
    topK: at(settings.top_k, t),
    topP: at(settings.top_p, t),
  };
  const perPrompt = at(settings.samples_per_prompt, t);
  const asked = rows.flatMap((row) => Array.from({ length: perPrompt }, (_, sample) => ({ row, sample })));
  const progress = run.context.progress(`iteration ${t}: the opponent answers`, asked.length, 'answers');
  const shards = inShards(asked, settings.shard_size * perPrompt);
  let generator: CompletionGenerator | undefined;
  const samples: TextCompletion[] = [];
  const { entries } = await stage(run, { iteration: t, stage: 'generate' }, async () => {
    try {
      for (const [i, shard] of shards.entries()) {
        await rest();
        run.checkSignal();
        const shardFile = `${folder}/${shardName(i)}.jsonl`;
        let done = await readSamples(shardFile);
        if (!done) {
          const start = performance.now();
          generator ??= await openGenerator(run.engine, loaded.model, {
            batchSize: settings.generation_batch_size,
            sampling,
          });
          done = await completions(
            run,
            generator,
            tokenizer,
            shard.map(({ row: { id, promptIds }, sample }) => ({ id, sample, promptIds })),
            { iteration: t, seed: settings.seed },
            (count) => {
              progress.advance(count);
              return rest();
            },
          );
          const seconds = (performance.now() - start) / 1000;
          const counts = { rows: done.length, tokens: done.reduce((n, { ids }) => n + ids.length, 0) };
          await run.emit({
            iteration: t,
            stage: 'generate',
            type: 'shard.finished',
            shard: i,
            shards: shards.length,
            file: run.within(shardFile),
            seconds,
            counts,
          });
          await writeSamples(shardFile, done);
        } else progress.advance(done.length);
        samples.push(...done);
      }
    } finally {
      progress.done();
      await generator?.dispose();
    }
    const records = asked.map(({ row }, i) => ({
      file: row.file,
      line: row.line,
      record: pairRecord(row, samples[i]!, t),
    }));
    const entries = await judgeEntries(settings, loaded.model, checker, records);
    const tokens = samples.reduce((n, { ids }) => n + ids.length, 0);
    const cut = samples.filter(({ finish }) => finish === 'length').length;
    await reportPairs(
      run,
      { iteration: t, stage: 'generate' },
      entries,
      `Iteration ${t}: ${samples.length} answers of ${(tokens / Math.max(1, samples.length)).toFixed(1)} tokens, ` +
        `${cut} cut at ${settings.max_new_tokens}`,
    );
    return { counts: { rows: samples.length, tokens, computed: writtenTokens(entries) }, entries };
  });

  await mkdir(run.path(iterationName(t), 'logprobs'), { recursive: true });
  await writeLogProbs(samplerFile(run, t), new Map(samples.map((s) => [sampleName(s), s.logProbs])));
  await writeEntries(run, t, entries);
  await rm(folder, { recursive: true });
  return readPairs(file);
}

/** One answer per request, with its text. It goes on when `onRow` resolves. Interrupted when the run is asked to stop. */
export async function completions(
  run: Pick<Run<'run'>, 'context' | 'checkSignal'> & { readonly settings: { readonly max_new_tokens: number } },
  generator: CompletionGenerator,
  tokenizer: ChatTokenizer,
  rows: readonly GenerationRequest[],
  address: { readonly iteration: number; readonly seed: number },
  onRow: (count: number) => void | Promise<void>,
): Promise<TextCompletion[]> {
  try {
    const answers = await generator.generate(rows, {
      ...address,
      maxNewTokens: run.settings.max_new_tokens,
      endIds: tokenizer.endIds,
      signal: run.context.signal,
      onCompletion: () => onRow(1),
    });
    return answers.map((answer) => ({ ...answer, text: tokenizer.decode(answer.ids) }));
  } catch (error) {
    run.checkSignal();
    throw error;
  }
}

const sampleName = ({ id, sample }: { id: string; sample: number }) => `${id}/${sample}`;
const answerName = (pair: Pair, role: 'real' | 'generated') => `${role}/${pair.iteration}/${sampleName(pair)}`;

/** log p_θt of the opponent's answers as its sampler gave them. */
const samplerFile = (run: Run, t: number) => run.path(iterationName(t), 'logprobs', 'sampler.safetensors');

/** Answers of a pair that the scoring pass scores. */
type Roles = (pair: Pair) => readonly ('real' | 'generated')[];
const BOTH = () => ['real', 'generated'] as const;

/** The answers of a pair that are scored, as they are packed. */
const scoredGroup = (pair: Pair, roles: Roles): Group => ({
  promptIds: pair.promptIds,
  responses: roles(pair).map((role) => ({ ids: pair[role] })),
});

/** Tokens that go through the model. */
const scoredTokens = (pairs: readonly Pair[], roles: Roles) =>
  pairs.reduce((n, pair) => n + packedLength(scoredGroup(pair, roles)), 0);

/**
 * log p_θt of both answers of every pair, under the opponent θt that is in the engine.
 *
 * In f32 its own answers have theirs from the sampler; human answers are scored in one pass, and so are both answers of
 * pairs from the iteration before, whose opponent was another, and of pairs that came from a file without a sampler.
 *
 * In reduced precision a log-prob carries rounding that depends on the graph and on what shares its micro-batch. There
 * both answers of every pair are scored, in the very micro-batches of the first epoch of training: the same products of
 * the same numbers, so that every margin is 0 until the weights move (unless lack of memory makes training split its
 * batches further). A run that ever computed in reduced precision keeps to this.
 *
 * With reference_alpha the log-probs are mixed with those under the SFT model θ_0.
 */
export async function scoreUnderOpponent(
  run: Run<'run' | 'dpo'>,
  player: Player,
  pairs: readonly Pair[],
  t: number,
  opponent: string,
): Promise<ScoredPair[]> {
  const { settings, inFull } = run;
  const hash = opponent.slice(0, 16);
  const folder = run.path(iterationName(t), 'logprobs', inFull ? hash : `${hash}-${run.engine.info.dtype}`);
  await mkdir(folder, { recursive: true });
  const fromSampler = inFull ? await readLogProbs(samplerFile(run, t)) : null;
  const isSampled = (pair: Pair) => fromSampler !== null && pair.iteration === t;
  const roles: Roles = (pair) => (isSampled(pair) ? ['real'] : BOTH());
  const first = { iteration: t, epoch: 0 };
  const batches = inFull ? [] : batchesOf(pairs, (pair) => packedLength(pairGroup(pair)), settings, first);
  const shards = inFull
    ? inShards(pairs, settings.shard_size).map((shard) => [shard])
    : inShards(batches, Math.max(1, Math.floor(settings.shard_size / settings.batch_size)));
  // At iteration 0 the opponent is the base model.
  const alpha = t > 0 && 'reference_alpha' in settings ? (settings.reference_alpha ?? 0) : 0;
  const { scores, base } = await stage(run, { iteration: t, stage: 'reference' }, async () => {
    const open = () => openScorer(run.engine, player.loaded.model);
    const scores = await scoreShards(run, t, { shards, roles, folder, whose: 'the opponent', open, player });
    const base = alpha === 0 ? undefined : await scoreUnderBase(run, player.loaded, t, shards);
    const tokens = scoredTokens(pairs, roles) + (base ? scoredTokens(pairs, BOTH) : 0);
    return { counts: { pairs: pairs.length, tokens }, scores, base };
  });
  const reference = (pair: Pair, role: 'real' | 'generated'): Float32Array => {
    const name = answerName(pair, role);
    const own = role === 'generated' && isSampled(pair) ? fromSampler!.get(sampleName(pair))! : scores.get(name)!;
    return base ? mixedReference(own, base.get(name)!, alpha) : own;
  };
  return pairs.map((pair) => ({
    ...pair,
    realReference: reference(pair, 'real'),
    generatedReference: reference(pair, 'generated'),
  }));
}

/** log p_θ0 of both answers of every pair. The base model takes the opponent's place in the engine and gives it back. */
async function scoreUnderBase(
  run: Run,
  opponent: LoadedModel,
  t: number,
  shards: readonly (readonly Pair[][])[],
): Promise<Map<string, Float32Array>> {
  const folder = run.path(iterationName(t), 'logprobs', run.inFull ? 'base' : `base-${run.engine.info.dtype}`);
  await mkdir(folder, { recursive: true });
  let replaced = false;
  const open = async () => {
    replaced = true;
    return openScorer(run.engine, (await loadPlayer(run.engine, run.settings, run.settings.model)).model);
  };
  const scores = await scoreShards(run, t, { shards, roles: BOTH, folder, whose: 'the SFT model', open });
  if (replaced) await loadPlayer(run.engine, run.settings, opponent.dir);
  return scores;
}

/** Log-probs by answer, in shards of batches. A shard on disk is not computed again; without others no scorer is opened. */
async function scoreShards(
  run: Run,
  t: number,
  work: {
    readonly shards: readonly (readonly Pair[][])[];
    readonly roles: Roles;
    readonly folder: string;
    readonly whose: string;
    readonly open: () => Promise<Scorer>;
    /** Who is in the engine from the first shard to the last; without it there is no safe point here. */
    readonly player?: Player;
  },
): Promise<Map<string, Float32Array>> {
  const { shards, roles, folder, whose, open, player } = work;
  const pairsOf = (shard: readonly Pair[][]) => shard.reduce((n, { length }) => n + length, 0);
  const total = shards.reduce((n, shard) => n + pairsOf(shard), 0);
  const budget = microBatchTokens(planOf(run).micro_batch_tokens, run.reductions, { iteration: t, step: 1 });
  const progress = run.context.progress(`iteration ${t}: log-probs of ${whose}`, total, 'pairs');
  let scorer: Scorer | undefined;
  const scores = new Map<string, Float32Array>();
  try {
    for (const [i, shard] of shards.entries()) {
      if (player) await run.rest(player, { iteration: t, stage: 'reference' });
      run.checkSignal();
      const file = `${folder}/${shardName(i)}.safetensors`;
      const count = pairsOf(shard);
      let logProbs = await readLogProbs(file);
      if (logProbs) progress.advance(count);
      else {
        const start = performance.now();
        scorer ??= await open();
        logProbs = new Map();
        for (const batch of shard) {
          const scored = await scoreBatch(scorer, batch, roles, budget, progress.advance);
          for (const [name, values] of scored) logProbs.set(name, values);
        }
        const seconds = (performance.now() - start) / 1000;
        await run.emit({
          iteration: t,
          stage: 'reference',
          type: 'shard.finished',
          shard: i,
          shards: shards.length,
          file: run.within(file),
          seconds,
          counts: { pairs: count },
        });
        await writeLogProbs(file, logProbs);
      }
      for (const [name, values] of logProbs) scores.set(name, values);
    }
  } finally {
    progress.done();
    await scorer?.dispose();
  }
  return scores;
}

async function scoreBatch(
  scorer: Scorer,
  pairs: readonly Pair[],
  roles: Roles,
  budget: number,
  onBatch: (count: number) => void,
): Promise<[string, Float32Array][]> {
  const groups = pairs.map((pair) => scoredGroup(pair, roles));
  const scores = await scorer.score(groups, budget, onBatch);
  return pairs.flatMap((pair, i) =>
    roles(pair).map((role, j): [string, Float32Array] => [answerName(pair, role), scores[i]![j]!]),
  );
}
