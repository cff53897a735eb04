/**
 * Rotary positions (Su et al. 2021) as a config describes them: frequencies θ^(−2j/r) for the r columns of a head that turn,
 * scaled as one of the methods below says to reach further than the model was first trained.
 *
 * A graph has the same frequencies for every length. Of the methods whose frequencies switch with the length of a text (dynamic,
 * longrope) the model is read as it is up to its original length, and that is its context then.
 */
import type { OpAttributes } from '../graph/index.ts';
import type { ConfigReader } from './config.ts';

export interface Rotation {
  /** Attributes of `rope`. */
  readonly turn: OpAttributes['rope'];
  /** Longest text for which they hold. */
  readonly contextLength: number;
}

interface Given {
  /** Where the parameters of the method stand. */
  readonly of: ConfigReader;
  readonly theta: number;
  /** r */
  readonly columns: number;
  /** max_position_embeddings */
  readonly longest: number;
  /** Longest text of the first training. */
  readonly original: number;
}

interface Scaled {
  readonly frequencies: readonly number[];
  /** Factor on the turned columns, and so twice on their share of q·k; 1 when left out. */
  readonly scale?: number;
  readonly contextLength?: number;
}

const plain = ({ theta, columns }: Given): number[] =>
  Array.from({ length: columns / 2 }, (_, j) => theta ** ((-2 * j) / columns));

const methods: Readonly<Record<string, (given: Given) => Scaled>> = {
  default: (given) => ({ frequencies: plain(given) }),

  /** Positions divided by `factor` (Chen et al. 2023, "Extending Context Window … via Positional Interpolation"). */
  linear: (given) => {
    const factor = given.of.positive('factor');
    return { frequencies: plain(given).map((w) => w / factor) };
  },

  /**
   * Llama 3.1: waves longer than original/low are stretched by `factor`, those shorter than original/high stay, and between
   * them the two are mixed by how many waves fit into the original length.
   */
  llama3: (given) => {
    const { of, original } = given;
    const [factor, low, high] = [
      of.positive('factor'),
      of.positive('low_freq_factor'),
      of.positive('high_freq_factor'),
    ];
    if (high <= low) of.reject('high_freq_factor', `${high} is not above low_freq_factor ${low}`);
    const frequencies = plain(given).map((w) => {
      const waves = (original * w) / (2 * Math.PI);
      const kept = Math.min(1, Math.max(0, (waves - low) / (high - low)));
      return kept * w + ((1 - kept) * w) / factor;
    });
    return { frequencies };
  },

  /**
   * YaRN (Peng et al. 2023): columns that turn more than `beta_fast` times within the original length stay, those that turn less
   * than `beta_slow` times are stretched, with a ramp between them; and attention is sharpened by 0.1·ln(factor) + 1.
   */
  yarn: (given) => {
    const { of, theta, columns, original } = given;
    const factor = of.positive('factor');
    const [fast, slow] = [of.positive('beta_fast', 32), of.positive('beta_slow', 1)];
    const truncate = of.flag('truncate', true);
    /** The pair of columns that turns so many times. */
    const pairOf = (turns: number) => (columns * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
    const first = Math.max(0, truncate ? Math.floor(pairOf(fast)) : pairOf(fast));
    const end = Math.min(columns - 1, truncate ? Math.ceil(pairOf(slow)) : pairOf(slow));
    const width = end === first ? 0.001 : end - first;
    const frequencies = plain(given).map((w, j) => {
      const stretched = Math.min(1, Math.max(0, (j - first) / width));
      return (w / factor) * stretched + w * (1 - stretched);
    });
    const sharpened = (m: number) => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
    const [m, all] = [of.positiveOrNone('mscale'), of.positiveOrNone('mscale_all_dim')];
    const usual = m !== undefined && all !== undefined ? sharpened(m) / sharpened(all) : sharpened(1);
    return { frequencies, scale: of.positive('attention_factor', usual) };
  },

  /** θ grows with the length of a text beyond the longest of training (NTK-aware, dynamic): up to that, nothing changes. */
  dynamic: (given) => {
    given.of.positive('factor');
    return { frequencies: plain(given) };
  },

  /**
   * LongRoPE (Ding et al. 2024): a factor for every pair of columns, others beyond the original length; attention is sharpened by
   * √(1 + ln(factor)/ln(original)) at any length.
   */
  longrope: (given) => {
    const { of, columns, longest, original } = given;
    const short = of.numbers('short_factor', columns / 2);
    of.numbers('long_factor', columns / 2);
    const factor = of.positive('factor', longest / original);
    const usual = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
    const frequencies = plain(given).map((w, j) => w / (short[j] ?? 1));
    return { frequencies, scale: of.positive('attention_factor', usual), contextLength: Math.min(longest, original) };
  },
};

interface RopeDefaults {
  readonly theta?: number;
  /** max_position_embeddings where the config has none. */
  readonly longest: number;
  /** original_max_position_embeddings where the config has none; else that is max_position_embeddings. */
  readonly original?: number;
  /** Whether a part of a head may turn (partial_rotary_factor). */
  readonly partial?: boolean;
  /** The methods that the model has, by their names in its configs; all under their own names when left out. */
  readonly methods?: Readonly<Record<string, string>>;
}

/** From the new spelling (rope_parameters) or the old one (rope_theta, rope_scaling). */
export function readRope(
  c: ConfigReader,
  headDim: number,
  {
    theta: usualTheta = 10_000,
    longest: usualLongest,
    original: usualOriginal,
    partial = false,
    methods: known,
  }: RopeDefaults,
): Rotation {
  const isNew = c.given('rope_parameters') !== undefined;
  const of = c.section(isNew ? 'rope_parameters' : 'rope_scaling');
  for (const layerType of ['full_attention', 'sliding_attention']) of.only(layerType, undefined);
  const [longest, outer] = [c.size('max_position_embeddings', usualLongest), c.positive('rope_theta', usualTheta)];
  const theta = isNew ? of.positive('rope_theta', outer) : outer;
  const share = partial ? of.positive('partial_rotary_factor', c.positive('partial_rotary_factor', 1)) : 1;
  if (!partial) for (const at of [c, of]) at.only('partial_rotary_factor', 1);
  const columns = Math.floor(headDim * share);
  if (columns % 2 !== 0 || columns > headDim) {
    c.reject(
      share === 1 ? 'head_dim' : 'partial_rotary_factor',
      `${columns} of ${headDim} columns of a head would turn; positions turn pairs`,
    );
  }
  const original = c.size(
    'original_max_position_embeddings',
    of.size('original_max_position_embeddings', usualOriginal ?? longest),
  );
  const key = of.given('rope_type') === undefined && of.given('type') !== undefined ? 'type' : 'rope_type';
  const named = String(of.given(key) ?? 'default');
  const names = known ?? Object.fromEntries(Object.keys(methods).map((name) => [name, name]));
  const method = Object.hasOwn(names, named) ? methods[names[named]!] : undefined;
  if (!method) of.reject(key, `"${named}" is not supported; ${Object.keys(names).join(', ')} are`);
  const {
    frequencies,
    scale = 1,
    contextLength = longest,
  } = (method ?? methods['default']!)({
    of,
    theta,
    columns,
    longest,
    original,
  });
  return {
    turn: { headDim, frequencies, inverse: false, ...(scale === 1 ? {} : { scale }) },
    contextLength,
  };
}
