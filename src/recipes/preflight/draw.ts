/**
 * A few pairs of the first iteration, before it is played: rows in a random order with answers of the model, or lines of the
 * file that has the pairs. Nothing is written; the game samples its own.
 */
import type { Checker } from '../../evaluation/index.ts';
import { type CompletionGenerator, openGenerator } from '../../generation/index.ts';
import { shuffled } from '../../util/index.ts';
import { readPairFiles } from '../game/entry.ts';
import { completions, type Player } from '../game/opponent.ts';
import { type JudgedEntry, judgeEntries, pairRecord } from '../game/verdicts.ts';
import type { Row, Rows } from '../run/rows.ts';
import type { Run } from '../run/run.ts';
import { at } from '../settings/schedules.ts';

/** A pair as it would be played, and the opponent's log-probs of its own answer where they came along. */
export interface Drawn extends JudgedEntry {
  readonly logProbs: Float32Array | null;
}

export interface Draw {
  /** Rows with an answer that there can be, one for each prompt; of a file all its pairs. */
  readonly available: number;
  /** The first `count` pairs, or as many as there are; what was drawn before is not drawn again. */
  take(count: number): Promise<readonly Drawn[]>;
  /** Seconds of compiling, and of a token to be read and to be written; null where nothing was sampled. */
  pace(): { readonly open: number; readonly read: number; readonly write: number } | null;
}

export type DrawTools = Pick<Run<'run'>, 'settings' | 'engine' | 'context' | 'checkSignal'>;

/** Random numbers of these answers: an address that neither the game nor the held-out answers use. */
const DRAWN_ITERATION = 0xfffe;

/** @throws what `selfplay run` throws about a file of pairs */
export async function openDraw(tools: DrawTools, player: Player, rows: Rows, checker: Checker | null): Promise<Draw> {
  const { pairs: files, start_iteration: first, seed } = tools.settings;
  if (files === undefined) {
    return sampledDraw(tools, player, shuffled(rows.trainAt(first), seed, 'preflight'), checker);
  }
  const { entries } = await readPairFiles(files, first, player, rows.comparisons, checker, tools.settings);
  const order = shuffled(entries, seed, 'preflight').map((entry) => ({ ...entry, logProbs: null }));
  return { available: order.length, take: async (count) => order.slice(0, count), pace: () => null };
}

function sampledDraw(tools: DrawTools, player: Player, order: readonly Row[], checker: Checker | null): Draw {
  const { settings, engine } = tools;
  const { start_iteration: first } = settings;
  const { loaded, tokenizer } = player;
  const sampled: Omit<Drawn, 'reasons'>[] = [];
  const stats = { open: 0, promptTokens: 0, prefillSeconds: 0, generatedTokens: 0, decodeSeconds: 0 };

  async function sample(more: readonly Row[]): Promise<void> {
    const start = performance.now();
    const generator: CompletionGenerator = await openGenerator(engine, loaded.model, {
      batchSize: settings.generation_batch_size,
      sampling: {
        temperature: at(settings.temperature, first),
        topK: at(settings.top_k, first),
        topP: at(settings.top_p, first),
      },
    });
    stats.open = (performance.now() - start) / 1000;
    const progress = tools.context.progress('preflight: answers', more.length, 'prompts');
    try {
      const address = { iteration: DRAWN_ITERATION, seed: settings.seed };
      const answers = await completions(tools, generator, tokenizer, more, address, progress.advance);
      for (const [i, answer] of answers.entries()) {
        const row = more[i]!;
        const record = pairRecord(row, answer, first);
        sampled.push({ file: row.file, line: row.line, record, logProbs: answer.logProbs });
      }
      for (const name of ['promptTokens', 'prefillSeconds', 'generatedTokens', 'decodeSeconds'] as const) {
        stats[name] += generator.stats[name];
      }
    } finally {
      progress.done();
      await generator.dispose();
    }
  }
  return {
    available: order.length,
    take: async (count) => {
      const more = order.slice(sampled.length, count);
      if (more.length > 0) await sample(more);
      const taken = sampled.slice(0, count);
      const judged = await judgeEntries(settings, loaded.model, checker, taken);
      return judged.map((entry, i) => ({ ...entry, logProbs: taken[i]!.logProbs }));
    },
    pace: () => ({
      open: stats.open,
      read: stats.prefillSeconds / Math.max(1, stats.promptTokens),
      // Of an answer of one token nothing is decoded.
      write: stats.decodeSeconds / Math.max(1, stats.generatedTokens),
    }),
  };
}
