// The numbers of the GGUF format: block types of tensors, types of metadata values.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

/** How a tensor type packs weights: `elements` of a row in `bytes`. */
export interface BlockType {
  readonly number: number;
  readonly name: string;
  readonly elements: number;
  readonly bytes: number;
}

const ROWS: readonly (readonly [number: number, name: string, elements: number, bytes: number])[] = [
  [0, 'F32', 1, 4],
  [1, 'F16', 1, 2],
  [2, 'Q4_0', 32, 18],
  [3, 'Q4_1', 32, 20],
  [6, 'Q5_0', 32, 22],
  [7, 'Q5_1', 32, 24],
  [8, 'Q8_0', 32, 34],
  [9, 'Q8_1', 32, 36],
  [10, 'Q2_K', 256, 84],
  [11, 'Q3_K', 256, 110],
  [12, 'Q4_K', 256, 144],
  [13, 'Q5_K', 256, 176],
  [14, 'Q6_K', 256, 210],
  [15, 'Q8_K', 256, 292],
  [16, 'IQ2_XXS', 256, 66],
  [17, 'IQ2_XS', 256, 74],
  [18, 'IQ3_XXS', 256, 98],
  [19, 'IQ1_S', 256, 50],
  [20, 'IQ4_NL', 32, 18],
  [21, 'IQ3_S', 256, 110],
  [22, 'IQ2_S', 256, 82],
  [23, 'IQ4_XS', 256, 136],
  [24, 'I8', 1, 1],
  [25, 'I16', 1, 2],
  [26, 'I32', 1, 4],
  [27, 'I64', 1, 8],
  [28, 'F64', 1, 8],
  [29, 'IQ1_M', 256, 56],
  [30, 'BF16', 1, 2],
  [34, 'TQ1_0', 256, 54],
  [35, 'TQ2_0', 256, 66],
  [39, 'MXFP4', 32, 17],
];

/** Every tensor type by its number in the file. */
export const BLOCK_TYPES: ReadonlyMap<number, BlockType> = new Map(
  ROWS.map(([number, name, elements, bytes]) => [number, { number, name, elements, bytes }]),
);

const BY_NAME: ReadonlyMap<string, BlockType> = new Map([...BLOCK_TYPES.values()].map((type) => [type.name, type]));

/** The block type of this name, which must be one of the table. */
export function blockType(name: string): BlockType {
  const type = BY_NAME.get(name);
  if (type === undefined) throw new Error(`no GGUF type ${name}`);
  return type;
}

/** Numbers of the types of metadata values. */
export const VALUE_TYPES = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;

/** Bytes of a metadata value by type number; strings (8) and arrays (9) vary. */
export const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, undefined, undefined, 8, 8, 8] as const;

/** Tensor data begin at multiples of this where general.alignment says nothing. */
export const DEFAULT_ALIGNMENT = 32;
