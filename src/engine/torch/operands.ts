/** Operands as kernels ask for them: in f32 or in the compute dtype, as checked indices, block by block. */
import type { Shape } from '../../graph/index.ts';
import { failure } from '../../util/index.ts';
import { type Chunk, chunksOf, type Heads } from './chunks.ts';
import type { Indices, Operand, RunContext, StateOperand } from './kernel.ts';
import { type Sequences, sequencesOf } from './sequences.ts';
import { type Device, sizeOf, type Tensor, type TorchDtype } from './tensors.ts';

/** Values of a block of elementwise work: several tensors of that many stay in the cache between its calls. */
export const BLOCK_VALUES = 2 ** 19;

export const isState = (x: Operand): x is StateOperand => 'state' in x;
const isIndices = (x: Operand): x is Indices => 'host' in x;
export const reject = (what: string) => failure({ what: `engine torch: ${what}` });

export type Operands = ReturnType<typeof operandsOn>;

export function operandsOn(device: Device, dtype: TorchDtype) {
  const { dense, rows } = device;
  const tensor = (x: Operand | undefined): Tensor => {
    if (!x || isIndices(x)) throw reject('an operand has no values');
    return isState(x) ? x.tensor() : x;
  };
  const f32 = (x: Operand | undefined): Tensor => dense(tensor(x), 'f32');
  const low = (x: Operand | undefined): Tensor => {
    if (x && isState(x)) return x.low();
    return dense(tensor(x), dtype);
  };
  /** In the compute dtype, perhaps columns of a wider matrix. */
  const inLow = (x: Operand | undefined): Tensor =>
    x && !isState(x) && tensor(x).dtype === dtype ? tensor(x) : low(x);
  const ids = (x: Operand | undefined): Indices => {
    if (!x || !isIndices(x)) throw reject('indices must be an input of the graph');
    return x;
  };
  const sizes = (c: RunContext, shape: Shape) => shape.map(c.size);
  /** Indices as an i64 tensor, checked against what they index. */
  const indices = (c: RunContext, x: Operand | undefined, limit: number): Tensor => {
    const input = ids(x);
    return c.once(`i64 ${limit} ${input.name}`, () => {
      const { host } = input;
      for (const id of host) if (id < 0 || id >= limit) throw reject(`index ${id} is outside 0..${limit - 1}`);
      return device.upload(BigInt64Array.from(host, BigInt), [host.length]);
    });
  };
  const chunks = (c: RunContext, table: Operand | undefined, tokens: number, heads: Heads): readonly Chunk[] => {
    const input = ids(table);
    c.varies();
    const key = `chunks ${heads.groups} ${heads.shared} ${heads.window} ${input.name}`;
    return c.once(key, () => chunksOf(device, input.host, tokens, heads, dtype));
  };
  const sequences = (c: RunContext, table: Operand | undefined, tokens: number): Sequences => {
    const input = ids(table);
    c.varies();
    return c.once(`sequences ${input.name}`, () => sequencesOf(device, input.host, tokens));
  };

  /** Blocks of rows of matrices with this many columns. */
  function* blocks(count: number, columns: number): Generator<[number, number]> {
    const size = Math.max(1, Math.floor(BLOCK_VALUES / columns));
    for (let from = 0; from < count; from += size) yield [from, Math.min(from + size, count)];
  }
  /** A matrix [T,D] made block by block; `body` fills the block's rows of the results. */
  function byBlocks(shape: readonly number[], body: (block: (x: Tensor) => Tensor) => void): void {
    if (sizeOf(shape) <= BLOCK_VALUES) {
      body((x) => x);
      return;
    }
    for (const [from, to] of blocks(shape[0]!, shape[1]!)) {
      device.scoped(() => {
        body((x) => rows(x, from, to));
        return [];
      });
    }
  }

  return { tensor, f32, low, inLow, ids, sizes, indices, chunks, sequences, byBlocks };
}
