/**
 * The output matrix lowered to ONNX: log-probs of given tokens and their gradient in chunks of rows, so that rows ×
 * vocabulary never exists as a whole; and sampling beside the logits, so that only ids and log-probs leave the engine.
 */
import type { OpAttributes } from '../../graph/index.ts';
import { timesSlope } from './attention.ts';
import type { Emitter } from './emitter.ts';

/** Most bytes of one chunk of logits: products with few rows are slower, and each round copies the gradient once. */
const CHUNK_BYTES = 96 * 2 ** 20;

/** Largest fp32 below 1, as a factor. */
const JUST_BELOW = 1 - 2 ** -23;

/** Most rows of a chunk. */
function chunkRows(vocabulary: number): number {
  return Math.max(16, Math.floor(CHUNK_BYTES / 4 / vocabulary));
}

/** Rounds over the rows of h, at most `most` at a time and all alike: their number, and the bounds of one round. */
function chunks(e: Emitter, h: string, most: number) {
  const total = e.op('Shape', [h], { start: 0n, end: 1n });
  const roundsFor = (size: string) => e.op('Div', [e.op('Sub', [e.op('Add', [total, size]), e.i64(1)]), size]);
  const rounds = e.op('Max', [roundsFor(e.i64(most)), e.i64(1)]);
  const chunk = roundsFor(rounds);
  const bounds = (inner: Emitter, round: string) => {
    const from = inner.op('Unsqueeze', [inner.op('Mul', [round, inner.op('Squeeze', [chunk])]), inner.i64(0)]);
    const to = inner.op('Min', [inner.op('Add', [from, chunk]), total]);
    const pad = (tensor: string) => {
      const missing = inner.op('Sub', [chunk, inner.op('Sub', [to, from])]);
      return inner.op('Pad', [tensor, inner.op('Concat', [inner.i64(0, 0), missing, inner.i64(0)], { axis: 0n })]);
    };
    return { slice: (tensor: string) => inner.op('Slice', [tensor, from, to, inner.i64(0)]), pad };
  };
  /** [rounds, chunk, width] -> [R, width] */
  const join = (stacked: string, width: number) =>
    e.op('Slice', [e.op('Reshape', [stacked, e.i64(-1, width)]), e.i64(0), total, e.i64(0)]);
  return { rounds: e.op('Squeeze', [rounds]), bounds, join };
}

/** Logits h·wᵀ, with a cap c as c·tanh(h·wᵀ/c); then also that tanh. */
function logitsOf(e: Emitter, h: string, w: string, softcap: number | undefined): { logits: string; bent: string } {
  if (softcap === undefined) return { logits: e.op('Gemm', [h, w], { transB: 1n }), bent: '' };
  const bent = e.op('Tanh', [e.op('Gemm', [h, w], { transB: 1n, alpha: 1 / softcap })]);
  return { logits: e.op('Mul', [bent, e.scalar(softcap)]), bent };
}

export function tokenLogProbs(
  e: Emitter,
  [h, w, targets]: readonly string[],
  { softcap }: OpAttributes['tokenLogProbs'],
  vocabulary: number,
): string {
  const columns = e.op('Unsqueeze', [targets!, e.i64(1)]);
  const { rounds, bounds, join } = chunks(e, h!, chunkRows(vocabulary));
  const { scanned } = e.loop(rounds, [], (inner, round) => {
    const { slice, pad } = bounds(inner, round);
    const { logits } = logitsOf(inner, slice(h!), w!, softcap);
    const logProbs = inner.op('LogSoftmax', [logits], { axis: -1n });
    return { carried: [], scanned: [pad(inner.op('GatherElements', [logProbs, slice(columns)], { axis: 1n }))] };
  });
  return e.op('Squeeze', [join(scanned[0]!, 1), e.i64(1)]);
}

/**
 * d log p(target) = onehot(target) − softmax: dlogits = g·(onehot − p), dh = dlogits·W, dW = dlogitsᵀ·h; with a cap dlogits is
 * multiplied by 1 − t², t being tanh of the logits before it.
 * @param size `zeros` of the shape of W where dW is asked for
 * @returns dh, and dW if it is
 */
export function tokenLogProbsGrad(
  e: Emitter,
  [dlogprobs, h, w, targets]: readonly string[],
  { softcap }: OpAttributes['tokenLogProbs'],
  size: { vocabulary: number; width: number; zeros?: string },
): string[] {
  const columns = e.op('Unsqueeze', [targets!, e.i64(1)]);
  const weights = e.op('Unsqueeze', [dlogprobs!, e.i64(1)]);
  const { rounds, bounds, join } = chunks(e, h!, chunkRows(size.vocabulary));
  const { carried, scanned } = e.loop(rounds, size.zeros === undefined ? [] : [size.zeros], (inner, round, [dw]) => {
    const { slice, pad } = bounds(inner, round);
    const hidden = slice(h!);
    const column = slice(columns);
    const weight = slice(weights);
    const { logits, bent } = logitsOf(inner, hidden, w!, softcap);
    const p = inner.op('Softmax', [logits], { axis: -1n });
    const atTarget = inner.op('GatherElements', [p, column], { axis: 1n });
    const away = inner.op('Mul', [p, inner.op('Neg', [weight])]);
    const toward = inner.op('Mul', [weight, inner.op('Sub', [inner.scalar(1), atTarget])]);
    const dcapped = inner.op('ScatterElements', [away, column, toward], { axis: 1n });
    const dlogits = bent === '' ? dcapped : timesSlope(inner, dcapped, bent);
    return {
      carried: dw === undefined ? [] : [inner.op('Gemm', [dlogits, hidden, dw], { transA: 1n })],
      scanned: [pad(inner.op('MatMul', [dlogits, w!]))],
    };
  });
  return [join(scanned[0]!, size.width), ...carried];
}

/** How many entries of each row of `cumulative` [B,n] are <= `target` [B,1]: the place of the first above it, i64 [B,1]. */
function firstAbove(e: Emitter, cumulative: string, target: string): string {
  const below = e.op('Cast', [e.op('LessOrEqual', [cumulative, target])], { to: 7n });
  return e.op('ReduceSum', [below, e.i64(1)]);
}

function cumulate(e: Emitter, x: string, exclusive: 0n | 1n = 0n): string {
  return e.op('CumSum', [x, e.op('Squeeze', [e.i64(1)])], { exclusive });
}

function last(e: Emitter, x: string): string {
  return e.op('Slice', [x, e.i64(-1), e.i64(2 ** 31), e.i64(1)]);
}

/** min(x, just below total): the first cumulative sum above it exists and has a positive step. */
function inside(e: Emitter, x: string, total: string): string {
  return e.op('Min', [x, e.op('Mul', [total, e.scalar(JUST_BELOW)])]);
}

/** ids i32 [B] and their untempered log-probs [B]. */
export function sample(
  e: Emitter,
  logits: string,
  uniforms: string,
  { temperature, topK, topP }: OpAttributes['sample'],
  vocabulary: number,
): [string, string] {
  const logProbs = e.op('LogSoftmax', [logits], { axis: -1n });
  const u = e.op('Unsqueeze', [uniforms, e.i64(1)]);
  const tempered = temperature === 1 || temperature === 0 ? logProbs : e.op('Div', [logProbs, e.scalar(temperature)]);
  const filtered = topP < 1 || (topK > 0 && topK < vocabulary);
  const ids =
    temperature === 0
      ? e.op('ArgMax', [logits], { axis: 1n, keepdims: 1n })
      : filtered
        ? pickFiltered(e, tempered, u, topK > 0 ? Math.min(topK, vocabulary) : vocabulary, topP)
        : pick(
            e,
            temperature === 1 ? e.op('Exp', [tempered]) : e.op('Softmax', [tempered], { axis: -1n }),
            u,
            vocabulary,
          );
  const chosen = e.op('GatherElements', [logProbs, ids], { axis: 1n });
  return [e.op('Cast', [e.op('Squeeze', [ids, e.i64(1)])], { to: 6n }), e.op('Squeeze', [chosen, e.i64(1)])];
}

/** Inverse of the cumulative distribution in two levels: first the block of the vocabulary, then the id within it. */
function pick(e: Emitter, p: string, u: string, vocabulary: number): string {
  const width = blockWidth(vocabulary);
  const count = Math.ceil(vocabulary / width);
  const padding = count * width - vocabulary;
  const padded = padding === 0 ? p : e.op('Pad', [p, e.i64(0, 0, 0, padding)]);
  const blocks = e.op('Reshape', [padded, e.i64(-1, count, width)]);
  const sums = e.op('ReduceSum', [blocks, e.i64(2)], { keepdims: 0n });
  const cumulative = cumulate(e, sums);
  const total = last(e, cumulative);
  const target = inside(e, e.op('Mul', [u, total]), total);
  const block = firstAbove(e, cumulative, target);
  const before = e.op('Sub', [
    e.op('GatherElements', [cumulative, block], { axis: 1n }),
    e.op('GatherElements', [sums, block], { axis: 1n }),
  ]);
  const inBlock = e.op('GatherND', [blocks, block], { batch_dims: 1n });
  const within = cumulate(e, inBlock);
  const rest = inside(e, e.op('Sub', [target, before]), last(e, within));
  const place = firstAbove(e, within, rest);
  return e.op('Add', [e.op('Mul', [block, e.i64(width)]), place]);
}

/** A divisor of the vocabulary's size near its square root where there is one, else the root itself. */
function blockWidth(vocabulary: number): number {
  const root = Math.ceil(Math.sqrt(vocabulary));
  for (let width = root; width <= 2 * root; width++) if (vocabulary % width === 0) return width;
  return root;
}

/** Keeps the k best and of those the smallest set that reaches topP (the id that crosses it included). */
function pickFiltered(e: Emitter, scores: string, u: string, k: number, topP: number): string {
  const [best, places] = e.many('TopK', [scores, e.i64(k)], 2, { axis: 1n, largest: 1n, sorted: 1n });
  const p = e.op('Softmax', [best!], { axis: -1n });
  const kept = topP < 1 ? e.op('Where', [e.op('Less', [cumulate(e, p, 1n), e.scalar(topP)]), p, e.scalar(0)]) : p;
  const cumulative = cumulate(e, kept);
  const total = last(e, cumulative);
  const place = firstAbove(e, cumulative, inside(e, e.op('Mul', [u, total]), total));
  return e.op('GatherElements', [places!, place], { axis: 1n });
}
