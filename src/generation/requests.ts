/**
 * What a caller asks for and gets, the checks made before anything runs, and the rows in flight.
 */
import type { LanguageModel } from '../models/index.ts';
import { type RowKey, rowKey, usageError } from '../util/index.ts';

export interface GenerationRequest {
  /** Row id: with `sample` it decides which random numbers the row gets. */
  readonly id: string;
  /** Which of the row's answers this is (0 by default, below 65,536). */
  readonly sample?: number | undefined;
  readonly promptIds: Int32Array;
}

export interface Completion {
  readonly id: string;
  readonly sample: number;
  /** The answer: content plus the first end id, nothing after. */
  readonly ids: Int32Array;
  /** log p(id | everything before it) for each id, in nats, of the untempered and unfiltered distribution. */
  readonly logProbs: Float32Array;
  /** 'length': cut at maxNewTokens or at the model's context, without an end id. */
  readonly finish: 'end' | 'length';
}

export interface GenerationProgress {
  /** Rows finished so far in this call. */
  readonly rows: number;
  /** Tokens generated so far in this call. */
  readonly tokens: number;
}

export interface GenerationSettings {
  readonly maxNewTokens: number;
  /** A row ends with the first of these. */
  readonly endIds: ReadonlySet<number>;
  /** Below 2^53. */
  readonly seed: number;
  /** Iteration of the game, below 65,536. */
  readonly iteration: number;
  /** Checked between steps; the call then throws the signal's reason and generator and weights stay usable. */
  readonly signal?: AbortSignal | undefined;
  /** Called with each token as it is sampled, and the id of its row. */
  readonly onToken?: ((token: number, id: string) => void) | undefined;
  /** Called after every step. */
  readonly onProgress?: ((progress: GenerationProgress) => void) | undefined;
  /** Called once per row as soon as it is finished, in order of finishing; generation waits for it. */
  readonly onCompletion?: ((completion: Completion) => void | Promise<void>) | undefined;
}

/** A request in flight. */
export interface Row {
  /** Its place in the list of requests. */
  readonly index: number;
  readonly id: string;
  readonly sample: number;
  readonly key: RowKey;
  readonly promptIds: Int32Array;
  /** Most tokens that it may get: maxNewTokens or what the context leaves. */
  readonly limit: number;
  readonly ids: number[];
  readonly logProbs: number[];
}

function whole(name: string, value: number, minimum: number, maximum: number): string[] {
  if (Number.isInteger(value) && value >= minimum && value <= maximum) return [];
  return [`${name} is ${value}, expected a whole number from ${minimum} to ${maximum}`];
}

function problemOf({ sample = 0, promptIds }: GenerationRequest, model: LanguageModel): string | undefined {
  const { contextLength, vocabSize } = model;
  if (promptIds.length === 0) return 'has an empty prompt';
  if (promptIds.length >= contextLength) {
    return `has a prompt of ${promptIds.length} tokens, which leaves no room for an answer in a context of ${contextLength}`;
  }
  const stranger = promptIds.find((id) => id < 0 || id >= vocabSize);
  if (stranger !== undefined) return `has the prompt id ${stranger}, outside of the vocabulary of ${vocabSize}`;
  return whole('sample', sample, 0, 0xffff)[0];
}

/** The rows of the requests, in order. Throws a usage error that names the settings or the first row that cannot run. */
export function openRows(
  requests: readonly GenerationRequest[],
  { maxNewTokens, seed, iteration }: GenerationSettings,
  model: LanguageModel,
): Row[] {
  const problems = [
    ...whole('maxNewTokens', maxNewTokens, 1, 2 ** 31 - 1),
    ...whole('seed', seed, 0, Number.MAX_SAFE_INTEGER),
    ...whole('iteration', iteration, 0, 0xffff),
  ];
  if (problems.length > 0) throw usageError({ what: `cannot generate:\n  ${problems.join('\n  ')}` });
  const bad = requests.filter((request) => problemOf(request, model) !== undefined);
  const [first] = bad;
  if (first) {
    const others = bad.length > 1 ? ` (${bad.length - 1} more rows cannot run either)` : '';
    throw usageError({
      what: `row "${first.id}" ${problemOf(first, model)}${others}`,
      fix: 'drop or shorten such prompts, or check that the tokenizer belongs to the model',
    });
  }
  return requests.map(({ id, sample = 0, promptIds }, index) => ({
    index,
    id,
    sample,
    key: rowKey(id),
    promptIds,
    limit: Math.min(maxNewTokens, model.contextLength - promptIds.length),
    ids: [],
    logProbs: [],
  }));
}
