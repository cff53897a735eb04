// Rotary positions in GGUF files: metadata and tensors <-> rope_theta and rope_scaling of a config.json.
// llama.cpp has keys for the methods linear and yarn. Llama 3's method is written as what comes of it, a factor for every pair of
// columns (the tensor rope_freqs), and LongRoPE as its factors (rope_factors_short, rope_factors_long).
// Notable choice: what has no equivalent, or could be read in two ways, is an error that names the key.

import type { GgufValue, Metadata } from '../formats/index.ts';
import { usageError } from '../util/index.ts';

type Config = Readonly<Record<string, unknown>>;

/** Reads a small tensor of the file by its GGUF name; undefined if there is none. */
export type ReadTensor = (name: string) => Promise<Float32Array | undefined>;

export const ROPE_FREQS = 'rope_freqs.weight';
const FACTORS = { short: 'rope_factors_short.weight', long: 'rope_factors_long.weight' };
const DEFAULT_THETA = 10_000;

/** The number with the fewest digits that has this fp32: 1e-5 where the file has 0.000009999999747378752. */
export function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}

/** What Llama 3.1 and its successors were published with; only `factor` differs between them. */
const LLAMA3 = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

interface Llama3 {
  readonly factor: number;
  readonly low_freq_factor: number;
  readonly high_freq_factor: number;
  readonly original_max_position_embeddings: number;
}

/**
 * The number by which every frequency θ^(−2j/d) is divided: 1 for waves shorter than original/high, `factor` for those longer
 * than original/low, and between them 1 / ((1 − s)/factor + s) with s from 0 to 1 by how many waves fit into the original length.
 */
function llama3Divisors(theta: number, headDim: number, given: Llama3): Float32Array {
  const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = given;
  return Float32Array.from({ length: headDim / 2 }, (_, j) => {
    const waves = (original * theta ** ((-2 * j) / headDim)) / (2 * Math.PI);
    if (waves > high) return 1;
    if (waves < low) return factor;
    const s = (waves - low) / (high - low);
    return 1 / ((1 - s) / factor + s);
  });
}

/** rope_theta and, where positions are scaled, rope_scaling. Throws a usage error for what has no equivalent. */
export async function ropeConfig(
  metadata: Metadata,
  architecture: string,
  headDim: number,
  readTensor: ReadTensor,
): Promise<Config> {
  const key = (name: string) => `${architecture}.rope.${name}`;
  const theta = shortest(metadata.number(key('freq_base')) ?? DEFAULT_THETA);
  const scaling = await ropeScaling(metadata, key, { theta, headDim, architecture }, readTensor);
  return { rope_theta: theta, ...(scaling === undefined ? {} : { rope_scaling: scaling }) };
}

async function ropeScaling(
  metadata: Metadata,
  key: (name: string) => string,
  { theta, headDim, architecture }: { theta: number; headDim: number; architecture: string },
  readTensor: ReadTensor,
): Promise<Config | undefined> {
  const unsupported = (name: string, what: string) =>
    usageError({
      what: `${key(name)} ${what}, which is not supported`,
      where: metadata.file,
      fix: 'use the original model in Hugging Face format, if its rope type is supported',
    });
  const number = (name: string) => metadata.number(key(`scaling.${name}`));
  const type = metadata.text(key('scaling.type')) ?? 'none';
  const divisors = await readTensor(ROPE_FREQS);
  const longFactors = await readTensor(FACTORS.long);
  if (longFactors !== undefined || type === 'longrope') {
    const shortFactors = await readTensor(FACTORS.short);
    if (longFactors === undefined || shortFactors === undefined) throw unsupported('scaling.type', 'lacks its factors');
    const attention = number('attn_factor');
    return {
      rope_type: 'longrope',
      short_factor: Array.from(shortFactors, shortest),
      long_factor: Array.from(longFactors, shortest),
      original_max_position_embeddings:
        number('original_context_length') ?? metadata.number(`${architecture}.context_length`),
      ...(attention === undefined ? {} : { attention_factor: shortest(attention) }),
    };
  }
  if (divisors?.some((divisor) => divisor !== 1)) {
    const factor = shortest(divisors.at(-1)!);
    const expected = llama3Divisors(theta, headDim, { factor, ...LLAMA3 });
    const same = expected.length === divisors.length && expected.every((d, j) => Math.abs(d / divisors[j]! - 1) < 1e-4);
    if (!same || type !== 'none') throw unsupported('freq_base', 'goes with rope_freqs that are not those of Llama 3');
    return { rope_type: 'llama3', factor, ...LLAMA3 };
  }
  for (const name of ['attn_factor', 'yarn_attn_factor', 'yarn_ext_factor', 'yarn_log_multiplier']) {
    const value = number(name) ?? 1;
    if (value !== 1) throw unsupported(`scaling.${name}`, `is ${value}`);
  }
  const old = metadata.number(key('scale_linear')) ?? 1;
  const factor = shortest(number('factor') ?? old);
  if (type === 'none') return old === 1 ? undefined : { rope_type: 'linear', factor };
  if (type === 'linear') return factor === 1 ? undefined : { rope_type: 'linear', factor };
  if (type !== 'yarn') throw unsupported('scaling.type', `is "${type}"`);
  const original = number('original_context_length');
  const [fast, slow] = [number('yarn_beta_fast'), number('yarn_beta_slow')];
  return {
    rope_type: 'yarn',
    factor,
    ...(original === undefined ? {} : { original_max_position_embeddings: original }),
    ...(fast === undefined ? {} : { beta_fast: shortest(fast) }),
    ...(slow === undefined ? {} : { beta_slow: shortest(slow) }),
  };
}

/** Metadata by key, and the factors on frequencies where Llama 3's method asks for that tensor. */
export interface RopeToWrite {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly divisors?: Float32Array;
}

/** The reverse of `ropeConfig`. Throws a usage error for a method that GGUF files cannot say. */
export function ropeMetadata(config: Config, architecture: string, headDim: number): RopeToWrite {
  const spelled = config['rope_parameters'] as Config | null | undefined;
  const scaling = spelled ?? (config['rope_scaling'] as Config | null | undefined) ?? {};
  const theta = Number(spelled?.['rope_theta'] ?? config['rope_theta'] ?? DEFAULT_THETA);
  const type = String(scaling['rope_type'] ?? scaling['type'] ?? 'default');
  const cannot = (what: string) =>
    usageError({ what: `${what} cannot be written to a GGUF file`, fix: 'export to Hugging Face format' });
  const key = (name: string) => `${architecture}.rope.${name}`;
  const base: [string, GgufValue][] = [[key('freq_base'), { type: 'f32', value: theta }]];
  const factor = Number(scaling['factor'] ?? 1);
  const method = (name: string): [string, GgufValue][] => [
    [key('scaling.type'), { type: 'string', value: name }],
    [key('scaling.factor'), { type: 'f32', value: factor }],
  ];
  const optional = (name: string, ggufName: string, kind: 'u32' | 'f32'): [string, GgufValue][] => {
    const value = scaling[name] ?? (kind === 'u32' ? config[name] : undefined);
    return typeof value === 'number' ? [[key(`scaling.${ggufName}`), { type: kind, value }]] : [];
  };
  switch (type) {
    case 'default':
      return { metadata: new Map(base) };
    case 'linear':
      return { metadata: new Map([...base, ...method('linear')]) };
    case 'llama3': {
      const given = { ...LLAMA3, ...scaling, factor } as Llama3;
      return { metadata: new Map(base), divisors: llama3Divisors(theta, headDim, given) };
    }
    case 'yarn': {
      const own = ['attention_factor', 'mscale', 'mscale_all_dim', 'truncate'].find((name) => scaling[name] != null);
      if (own !== undefined) throw cannot(`rope_scaling.${own} of the rope type "yarn"`);
      const more = [
        ...optional('original_max_position_embeddings', 'original_context_length', 'u32'),
        ...optional('beta_fast', 'yarn_beta_fast', 'f32'),
        ...optional('beta_slow', 'yarn_beta_slow', 'f32'),
      ];
      return { metadata: new Map([...base, ...method('yarn'), ...more]) };
    }
    default:
      throw cannot(`the rope type "${type}"`);
  }
}
