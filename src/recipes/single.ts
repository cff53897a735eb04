/** The two commands that need no run directory: answers of a model to prompts, and its held-out figures. */
import { companionDirectory, demandBase, loadModel } from '../checkpoint/index.ts';
import { filesInWords, type Message, readExamples, take } from '../data/index.ts';
import { type Engine, openEngine } from '../engine/index.ts';
import { openGenerator } from '../generation/index.ts';
import { type ResultRow, resultRow } from '../report/index.ts';
import { loadTokenizer } from '../tokens/index.ts';
import { checkWritable, linkedDirectory, writeFileAtomic } from '../util/index.ts';
import { itemsOf, judge, scorersFor } from './game/judge.ts';
import { completions, type Player } from './game/opponent.ts';
import { type RecipeContext, stopIfAsked } from './run/context.ts';
import { engineSentence, frozen, withEngine } from './run/engines.ts';
import { localInputs } from './run/inputs.ts';
import { columnsOf, encodeRows, type Row, refuseUnusable } from './run/rows.ts';
import type { EvalSettings, GenerateSettings } from './settings/settings.ts';

/** Model, tokenizer and encoded rows around a body. What would fail at the end fails at the start. */
async function withModel<T>(
  given: EvalSettings | GenerateSettings,
  context: RecipeContext,
  body: (engine: Engine, player: Player, rows: Row[]) => Promise<T>,
): Promise<T> {
  if (given.out !== undefined) await checkWritable(given.out);
  const { settings } = await localInputs(given, context);
  const model = await linkedDirectory(settings.model);
  const tokenizer = await loadTokenizer(await companionDirectory(model));
  await demandBase(model);
  const dataset = await readExamples(settings.data, columnsOf(settings));
  const { limit, seed } = settings;
  const examples = take(dataset.examples, { seed, ...(limit === undefined ? {} : { limit }) });
  return withEngine(context.openEngine ?? openEngine, settings, async (opened) => {
    const { engine } = opened;
    context.say(engineSentence(frozen(opened)));
    const loaded = await loadModel(engine, model);
    const encoded = await encodeRows(examples, tokenizer, loaded.model);
    refuseUnusable([encoded], filesInWords(settings.data));
    const { rows, skipped } = encoded;
    for (const problem of skipped) context.say(`skipped ${problem}`);
    return body(engine, { loaded, tokenizer }, rows);
  });
}

const stopper =
  ({ signal }: RecipeContext) =>
  () =>
    stopIfAsked(signal);

/** A prompt of a file with its human answer and that of a model. */
export interface AnsweredPrompt {
  readonly id: string;
  readonly prompt: readonly Message[];
  readonly human: string;
  readonly answer: string;
  /** `length`: cut at max_new_tokens or at the end of the context. */
  readonly finish: 'end' | 'length';
}

/** Answers of a model to the prompts of a file, in its order; with `out` also in that file, a line of JSON each. */
export async function generateAnswers(
  settings: GenerateSettings,
  context: RecipeContext,
): Promise<{ answers: AnsweredPrompt[]; rows: number; file: string | null }> {
  return withModel(settings, context, async (engine, { loaded, tokenizer }, rows) => {
    const progress = context.progress('answering', rows.length, 'prompts');
    const sampling = { temperature: settings.temperature, topK: settings.top_k, topP: settings.top_p };
    const generator = await openGenerator(engine, loaded.model, {
      batchSize: settings.generation_batch_size,
      sampling,
    });
    const tools = { settings, context, checkSignal: stopper(context) };
    const address = { iteration: 0, seed: settings.seed };
    const completed = await completions(tools, generator, tokenizer, rows, address, progress.advance);
    progress.done();
    const answers = completed.map(({ text, finish }, i): AnsweredPrompt => {
      const { id, prompt, response } = rows[i]!;
      return { id, prompt, human: response, answer: text, finish };
    });
    if (settings.out !== undefined) await writeFileAtomic(settings.out, answerLines(answers));
    return { answers, rows: rows.length, file: settings.out ?? null };
  });
}

/** As JSON lines. */
export function answerLines(answers: readonly AnsweredPrompt[]): string {
  return answers.map((answer) => `${JSON.stringify(answer)}\n`).join('');
}

/** Held-out figures of one model: greedy and sampled answers under the scorers, likelihood of the human answers. */
export async function evaluateModel(
  settings: EvalSettings,
  context: RecipeContext,
): Promise<{ row: ResultRow; file: string | null }> {
  return withModel(settings, context, async (engine, player, rows) => {
    const tools = { settings, engine, context, checkSignal: stopper(context) };
    const scorers = await scorersFor(rows, settings.scorer);
    const judged = await judge(tools, player, rows, scorers, { label: 'judging', beta: 1 });
    const row = resultRow({ label: settings.model, iteration: null, model: settings.model, items: itemsOf(judged) });
    if (settings.out !== undefined) {
      const answers = judged.map(({ id, greedy, sample }) => ({ id, greedy: greedy.text, sample: sample.text }));
      await writeFileAtomic(settings.out, `${JSON.stringify({ v: 1, settings, row, answers }, null, 1)}\n`);
    }
    return { row, file: settings.out ?? null };
  });
}
