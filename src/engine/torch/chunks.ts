/**
 * How attention over packed tokens is cut into products: segments into blocks of queries, each with the keys that it may
 * see, and blocks of like size into chunks. A chunk is two blocks at least where it can: a batch of an odd number of key
 * heads leaves a core idle.
 */
import type { HeadAttributes } from '../../graph/index.ts';
import { readSegments, type Segment } from '../segments.ts';
import type { Device, Tensor } from './tensors.ts';

/** Longer segments are cut into blocks of at most so many queries. */
const QUERY_BLOCK = 64;
/** Scores of one head in a chunk of more than two blocks, at most: they stay in the cache. */
const CHUNK_SCORES = 2 ** 16;
/** How many times the blocks' own scores those of a chunk may be, padding included: of two blocks, of more. */
const MOST_PADDING = { two: 1.5, more: 1.1 };

export interface Heads {
  /** G */
  readonly groups: number;
  /** H/G, query heads that read one key head. */
  readonly shared: number;
  /** d */
  readonly width: number;
  readonly scale: number;
  readonly window?: number | undefined;
  readonly softcap?: number | undefined;
}

export function headsOf({ headDim, ...others }: HeadAttributes, q: Tensor, k: Tensor): Heads {
  const [queryWidth, keyWidth] = [q.shape[1]!, k.shape[1]!];
  return { ...others, groups: keyWidth / headDim, shared: queryWidth / keyWidth, width: headDim };
}

/** n blocks, padded to lq queries and lk keys. */
export interface Chunk {
  readonly n: number;
  readonly lq: number;
  readonly lk: number;
  /** Rows of [T·H, d] in the order [n,H,lq]; padding is row 0. */
  readonly queries: Tensor;
  /** The same, for writing to [(T+1)·H, d]: padding goes to the rows of token T. */
  readonly written: Tensor;
  /** Rows of [T·G, d] in the order [n,G,lk]; padding is row 0. */
  readonly keys: Tensor;
  /** [n,1,lq,m]: 0 where a query sees one of the last m keys, else −∞; it sees all keys before (with a window m is lk). */
  readonly mask: Tensor;
  /** [n,1,lq,1]: 1 for queries, 0 for padding; undefined where there is none. */
  readonly present: Tensor | undefined;
}

/** Consecutive queries of a segment, and its keys from the first that one of them sees to the last. */
interface Block {
  readonly segment: Segment;
  readonly from: number;
  readonly lq: number;
  /** Keys of the segment before these. */
  readonly unseen: number;
  readonly lk: number;
}

/** The chunks of a segment table int32 [S,6], uploaded; masks in the dtype of the scores. */
export function chunksOf(
  device: Device,
  table: Int32Array,
  tokens: number,
  { groups, shared, window = Number.POSITIVE_INFINITY }: Heads,
  dtype: Tensor['dtype'],
): Chunk[] {
  const upload = (values: Float32Array, shape: readonly number[]) => device.dense(device.upload(values, shape), dtype);
  return joined(blocksOf(readSegments(table, tokens), window)).map((blocks): Chunk => {
    const [n, lq, lk] = [blocks.length, largest(blocks, 'lq'), largest(blocks, 'lk')];
    /** token·heads + head for every [block, head, i]. */
    const rows = (heads: number, length: number, tokenOf: (block: Block, i: number) => number) => {
      const ids = new BigInt64Array(n * heads * length);
      blocks.forEach((block, b) => {
        for (let i = 0; i < length; i++) {
          const token = tokenOf(block, i);
          for (let h = 0; h < heads; h++) ids[(b * heads + h) * length + i] = BigInt(token * heads + h);
        }
      });
      return device.upload(ids, [ids.length]);
    };
    const query = (padding: number) => (block: Block, i: number) =>
      i < block.lq ? block.segment.queries[0] + block.from + i : padding;
    const key = ({ segment, unseen, lk }: Block, i: number) => {
      const [first, end] = segment.keys;
      if (i >= lk) return 0;
      const at = unseen + i;
      return at < end - first ? first + at : segment.more[0] + at - (end - first);
    };
    // Query i of a block sees its first lk − lq + i + 1 keys, and of these the last of its window.
    const common = lk > window ? 0 : Math.min(...blocks.map((block) => block.lk - block.lq));
    const width = lk - common;
    const mask = new Float32Array(n * lq * width).fill(Number.NEGATIVE_INFINITY);
    const present = new Float32Array(n * lq);
    blocks.forEach((block, b) => {
      present.fill(1, b * lq, b * lq + block.lq);
      for (let i = 0; i < lq; i++) {
        const start = (b * lq + i) * width;
        const end = Math.min(block.lk, block.lk - block.lq + i + 1);
        mask.fill(0, start + Math.max(0, end - window - common), start + end - common);
      }
    });
    return {
      n,
      lq,
      lk,
      queries: rows(groups * shared, lq, query(0)),
      written: rows(groups * shared, lq, query(tokens)),
      keys: rows(groups, lk, key),
      mask: upload(mask, [n, 1, lq, width]),
      present: present.includes(0) ? upload(present, [n, 1, lq, 1]) : undefined,
    };
  });
}

/** Segments cut into blocks of nearly equal size. */
function blocksOf(segments: readonly Segment[], window: number): Block[] {
  return segments.flatMap((segment) => {
    const { queryCount, keyCount } = segment;
    const size = Math.ceil(queryCount / Math.ceil(queryCount / QUERY_BLOCK));
    const blocks: Block[] = [];
    for (let from = 0; from < queryCount; from += size) {
      const lq = Math.min(size, queryCount - from);
      const before = keyCount - queryCount + from;
      const unseen = Math.max(0, before + 1 - window);
      blocks.push({ segment, from, lq, unseen, lk: before + lq - unseen });
    }
    return blocks;
  });
}

const largest = (blocks: readonly Block[], side: 'lq' | 'lk') => Math.max(...blocks.map((block) => block[side]));
const padded = (blocks: readonly Block[]) => blocks.length * largest(blocks, 'lq') * largest(blocks, 'lk');
const own = (blocks: readonly Block[]) => blocks.reduce((n, { lq, lk }) => n + lq * lk, 0);

/** Blocks in pairs, each with the one that costs least padding, and pairs of like size together. */
function joined(blocks: readonly Block[]): Block[][] {
  const rest = blocks.toSorted((a, b) => b.lk - a.lk || b.lq - a.lq);
  const groups: Block[][] = [];
  for (let first = rest.shift(); first; first = rest.shift()) {
    let best = -1;
    let least = Number.POSITIVE_INFINITY;
    // Sorted by keys: once these alone pad too much, so do all that follow.
    for (let i = 0; i < rest.length && 2 * first.lk <= MOST_PADDING.two * (first.lk + rest[i]!.lk); i++) {
      const waste = padded([first, rest[i]!]) - own([first, rest[i]!]);
      if (waste < least) [best, least] = [i, waste];
      if (waste === 0) break;
    }
    const pair = [first];
    const second = rest[best];
    if (second && padded([first, second]) <= MOST_PADDING.two * own([first, second])) {
      pair.push(second);
      rest.splice(best, 1);
    }
    const more = [...(groups.at(-1) ?? []), ...pair];
    const joins = groups.length > 0 && padded(more) <= Math.min(CHUNK_SCORES, MOST_PADDING.more * own(more));
    if (joins) groups[groups.length - 1] = more;
    else groups.push(pair);
  }
  return groups;
}
