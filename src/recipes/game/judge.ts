/**
 * What a model is worth on held-out rows: its greedy answers and its samples under the scorers, the likelihood of the
 * human answers, and how well it tells human answers from its opponent's.
 */

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import {
  type Scorer as AnswerScorer,
  answerStatistics,
  discrimination,
  estimate,
  foreignness,
  loadScorer,
  pickScorers,
  scorers,
} from '../../evaluation/index.ts';
import { gameSampling, greedySampling, openGenerator, type Sampling } from '../../generation/index.ts';
import { censor } from '../../pairs/index.ts';
import type { ItemScores } from '../../report/index.ts';
import { openScorer } from '../../training/index.ts';
import { writeFileAtomic } from '../../util/index.ts';
import { decodeFloats, encodeFloats, type TextCompletion } from '../run/records.ts';
import type { Row } from '../run/rows.ts';
import type { Run } from '../run/run.ts';
import { completions, type Player } from './opponent.ts';

/** One held-out row under one model. */
export interface Judged {
  readonly id: string;
  readonly greedy: TextCompletion;
  /** At T=1: the model itself, and the opponent's answer for the model trained next. */
  readonly sample: TextCompletion;
  /** log p of the human answer's tokens, and of the sample's, both from the scorer. */
  readonly human: Float32Array;
  readonly own: Float32Array;
  readonly scores: Readonly<Record<string, number>>;
  /** Against its opponent: β·margin, and the row's terms of KL(θ_t ‖ θ_{t+1}) and KL(θ_0 ‖ θ_{t+1}), nats per token. */
  readonly against?: { readonly margin: number; readonly klToOpponent: number; readonly klToBase: number };
}

/** The score of a row that says whether the model tells the human answer from its opponent's. */
export const REAL_VS_GENERATED = 'real-vs-generated';

/** The scorers of a run by name: the user's own, or those that fit the human answers. */
export async function scorersFor(rows: readonly Row[], scorer: string | undefined): Promise<Map<string, AnswerScorer>> {
  if (scorer !== undefined) return new Map([['score', await loadScorer(scorer)]]);
  return new Map(pickScorers(rows).map((name) => [name, scorers[name]]));
}

type Tools = Pick<Run<'run'>, 'engine' | 'context' | 'checkSignal'> & {
  readonly settings: Pick<
    Run<'run'>['settings'],
    'max_new_tokens' | 'generation_batch_size' | 'micro_batch_tokens' | 'seed'
  >;
};

/** Random numbers of held-out samples: an address that no iteration of the game uses. */
const HELD_OUT_ITERATION = 0xffff;

/** One answer of the model to each row; samples have the same random numbers at every temperature. */
export async function heldOutAnswers(
  tools: Tools,
  { loaded, tokenizer }: Player,
  rows: readonly Row[],
  sampling: Sampling,
  onRow: (count: number) => void | Promise<void>,
): Promise<TextCompletion[]> {
  const { settings, engine } = tools;
  const generator = await openGenerator(engine, loaded.model, { batchSize: settings.generation_batch_size, sampling });
  try {
    const address = { iteration: HELD_OUT_ITERATION, seed: settings.seed };
    return await completions(tools, generator, tokenizer, rows, address, onRow);
  } finally {
    await generator.dispose();
  }
}

/** The name under which the samples' score stands beside that of the greedy answers. */
export const sampledName = (scorer: string) => `${scorer} (T=1)`;

/**
 * @param before the same rows under the opponent, if the model had one: then each row also says whether the model
 * tells the human answer from the opponent's (`REAL_VS_GENERATED`: 1, ½ for a tie, 0)
 * @param base the same rows under the SFT model
 * @param beta factor of the margin, which does not change the sign
 * @param rest called after every answer, which is a safe point
 */
export async function judge(
  tools: Tools,
  { loaded, tokenizer }: Player,
  rows: readonly Row[],
  answerScorers: ReadonlyMap<string, AnswerScorer>,
  {
    label,
    before,
    base = before,
    beta,
    rest,
  }: {
    label: string;
    before?: readonly Judged[];
    base?: readonly Judged[] | undefined;
    beta: number;
    rest?: () => Promise<void>;
  },
): Promise<Judged[]> {
  if (rows.length === 0) return [];
  const { settings, engine, context } = tools;
  const progress = context.progress(label, rows.length * 3, 'answers');
  const onAnswers = (count: number) => {
    progress.advance(count);
    return rest?.();
  };
  const answer = (sampling: Sampling) => heldOutAnswers(tools, { loaded, tokenizer }, rows, sampling, onAnswers);
  try {
    const greedy = await answer(greedySampling);
    const samples = await answer(gameSampling);
    const byId = (judged: readonly Judged[] | undefined) => new Map(judged?.map((row) => [row.id, row]));
    const [opponents, bases] = [byId(before), byId(base)];
    const scorer = await openScorer(engine, loaded.model);
    const groups = rows.map(({ id, promptIds, responseIds }, i) => {
      const others = [opponents, bases].flatMap((judged) => judged.get(id)?.sample.ids ?? []);
      const answers = [responseIds, samples[i]!.ids, ...others];
      return { promptIds, responses: answers.map((ids) => ({ ids })) };
    });
    const logProbs = await scorer.score(groups, settings.micro_batch_tokens, progress.advance);
    await scorer.dispose();
    return await Promise.all(
      rows.map(async (row, i): Promise<Judged> => {
        const [human, own, theirs, first] = logProbs[i] as [Float32Array, Float32Array, Float32Array?, Float32Array?];
        const scores: Record<string, number> = {};
        for (const [name, score] of answerScorers) {
          scores[name] = await score({ ...row, answer: greedy[i]!.text });
          scores[sampledName(name)] = await score({ ...row, answer: samples[i]!.text });
        }
        scores['nats/token'] = -sum(human) / human.length;
        const [opponent, sftModel] = [opponents.get(row.id), bases.get(row.id)];
        let against: Judged['against'];
        if (opponent && sftModel && theirs && first) {
          // The pair as training would see it: the human answer against a cut sample is cut as well.
          const length = censor(row.responseIds, opponent.sample).length;
          const real = sum(human.subarray(0, length)) - sum(opponent.human.subarray(0, length));
          const margin = beta * (real - (sum(theirs) - sum(opponent.own)));
          scores[REAL_VS_GENERATED] = discrimination([margin]).accuracy.mean;
          const divergence = (under: Float32Array, then: Judged) =>
            (sum(then.own) - sum(under)) / Math.max(1, under.length);
          against = { margin, klToOpponent: divergence(theirs, opponent), klToBase: divergence(first, sftModel) };
        }
        const judged = { id: row.id, greedy: greedy[i]!, sample: samples[i]!, human, own, scores };
        return against ? { ...judged, against } : judged;
      }),
    );
  } finally {
    progress.done();
  }
}

function sum(values: Float32Array): number {
  return values.reduce((total, x) => total + x, 0);
}

/** Rows of the table. */
export function itemsOf(judged: readonly Judged[]): ItemScores[] {
  return judged.map(({ id, scores }) => ({ id, scores: { ...scores } }));
}

/** Nats per token of human answers against the model's own; a warning when they look foreign. */
export function humanAgainstOwn(judged: readonly Judged[]) {
  const own = judged.flatMap(({ sample }) =>
    sample.ids.length > 0 ? [-sum(sample.logProbs) / sample.ids.length] : [],
  );
  return foreignness(
    judged.map(({ human }) => -sum(human) / human.length),
    own,
  );
}

/** Length, repetition and identical shares of the greedy answers, or of those at T=1. */
export function answerFigures(judged: readonly Judged[], rows: readonly Row[], which: 'greedy' | 'sample' = 'greedy') {
  return answerStatistics(
    judged.map(({ [which]: { text, ids, finish } }, i) => ({
      human: rows[i]!.response,
      answer: text,
      ids,
      truncated: finish === 'length',
    })),
  );
}

/** Mean, standard error and count of each score. */
export function figuresOf(judged: readonly Judged[]): Record<string, ReturnType<typeof estimate>> {
  const names = new Set(judged.flatMap(({ scores }) => Object.keys(scores)));
  return Object.fromEntries(
    [...names].map((name) => [name, estimate(judged.flatMap(({ scores }) => scores[name] ?? []))]),
  );
}

/** The held-out splits under one model. */
export interface Judgement {
  readonly dev: Judged[];
  readonly test: Judged[];
}

interface JudgedRecord extends Omit<Judged, 'greedy' | 'sample' | 'human' | 'own'> {
  readonly greedy: CompletionRecord;
  readonly sample: CompletionRecord;
  readonly human: string;
  readonly own: string;
}
type CompletionRecord = Omit<TextCompletion, 'ids' | 'logProbs'> & {
  readonly ids: number[];
  readonly logProbs: string;
};

// Key by key: an answer that was read from a file is written in the same bytes as one that was just made.
const packCompletion = ({ id, sample, ids, text, finish, logProbs }: TextCompletion): CompletionRecord => ({
  id,
  sample,
  ids: [...ids],
  logProbs: encodeFloats(logProbs),
  finish,
  text,
});
const unpackCompletion = (c: CompletionRecord): TextCompletion => ({
  ...c,
  ids: Int32Array.from(c.ids),
  logProbs: decodeFloats(c.logProbs),
});

/** evaluation.json: every held-out answer with its scores, so that nothing has to be generated twice. */
export async function writeJudgement(file: string, { dev, test }: Judgement): Promise<void> {
  const pack = (rows: readonly Judged[]): JudgedRecord[] =>
    rows.map((row) => ({
      ...row,
      greedy: packCompletion(row.greedy),
      sample: packCompletion(row.sample),
      human: encodeFloats(row.human),
      own: encodeFloats(row.own),
    }));
  await writeFileAtomic(file, `${JSON.stringify({ v: 1, dev: pack(dev), test: pack(test) })}\n`);
}

/** The judgement of a file, or null when it is not there yet. */
export async function readJudgement(file: string): Promise<Judgement | null> {
  if (!existsSync(file)) return null;
  const { dev, test } = JSON.parse(await readFile(file, 'utf8')) as { dev: JudgedRecord[]; test: JudgedRecord[] };
  const unpack = (rows: readonly JudgedRecord[]): Judged[] =>
    rows.map((row) => ({
      ...row,
      greedy: unpackCompletion(row.greedy),
      sample: unpackCompletion(row.sample),
      human: decodeFloats(row.human),
      own: decodeFloats(row.own),
    }));
  return { dev: unpack(dev), test: unpack(test) };
}
