// How byte-level tokenizers in GGUF files cut text: tokenizer.ggml.pre is the name of a set of patterns that llama.cpp knows. Here
// they are as the original tokenizer.json files have them.
// https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp names the sets.

import { GPT2_WORDS } from './byteLevel.ts';
import { isObject, type JsonObject } from './tokenizerJson.ts';

/** A set of patterns: text is cut by each in turn, "gpt2" being the words of GPT-2 and "digits" single digits. */
interface Cuts {
  /** Names of the set; the first is the one that is written. */
  readonly names: readonly string[];
  readonly patterns: readonly string[];
  /** A word that is a token as it stands is not built by merges. */
  readonly ignoreMerges?: true;
  /** The original brings text into Unicode's form NFC. */
  readonly nfc?: true;
  /** A BOS is put before a text where the file does not say. */
  readonly bos?: true;
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const MARKS_AND_SPACES = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const cl100k = (digits: string) => `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}|${MARKS_AND_SPACES}`;
const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';
const camel = (end: string, digits: string) =>
  `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+${end}|[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*${end}|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

const SETS: readonly Cuts[] = [
  { names: ['smollm', 'starcoder', 'refact', 'codeshell'], patterns: ['digits', 'gpt2'] },
  { names: ['gpt-2', 'phi-2', 'mpt', 'jais'], patterns: ['gpt2'] },
  { names: ['command-r'], patterns: ['digits', 'gpt2'], nfc: true },
  { names: ['olmo'], patterns: ['gpt2'], nfc: true },
  {
    names: ['llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'pixtral'],
    patterns: [cl100k('\\p{N}{1,3}')],
    ignoreMerges: true,
    bos: true,
  },
  { names: ['dbrx', 'smaug-bpe'], patterns: [cl100k('\\p{N}{1,3}')] },
  { names: ['qwen2', 'deepseek-r1-qwen', 'megrez'], patterns: [cl100k('\\p{N}')], nfc: true },
  { names: ['stablelm2', 'hunyuan'], patterns: [cl100k('\\p{N}')] },
  { names: ['tekken'], patterns: [camel('', '\\p{N}')], ignoreMerges: true, bos: true },
  { names: ['gpt-4o', 'llama4'], patterns: [camel(`${CONTRACTIONS}?`, '\\p{N}{1,3}')] },
];

/** What a set of patterns is in a tokenizer.json. */
export interface CutsJson {
  readonly normalizer: JsonObject | null;
  readonly preTokenizer: JsonObject;
  readonly ignoreMerges: boolean;
  readonly bos: boolean;
}

/** All names that can be read. */
export const CUT_NAMES: readonly string[] = SETS.flatMap(({ names }) => names);

/** The set of this name, or undefined. */
export function cutsNamed(name: unknown): CutsJson | undefined {
  const set = SETS.find(({ names }) => names.includes(name as string));
  if (set === undefined) return undefined;
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true };
  const stages = set.patterns.map((pattern) => {
    if (pattern === 'digits') return { type: 'Digits', individual_digits: true };
    if (pattern === 'gpt2') return { ...byteLevel, use_regex: true };
    return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false };
  });
  const all = set.patterns.at(-1) === 'gpt2' ? stages : [...stages, { ...byteLevel, use_regex: false }];
  return {
    normalizer: set.nfc ? { type: 'NFC' } : null,
    preTokenizer: all.length === 1 ? all[0]! : { type: 'Sequence', pretokenizers: all },
    ignoreMerges: set.ignoreMerges === true,
    bos: set.bos === true,
  };
}

/** The name of the set that a tokenizer.json cuts by; undefined if llama.cpp has no name for it, or none that is known here. */
export function nameOfCuts(json: JsonObject): string | undefined {
  const patterns = patternsOf(json['pre_tokenizer']);
  const model = json['model'] as JsonObject;
  const normalizer = json['normalizer'] ?? null;
  const nfc = isObject(normalizer) && normalizer['type'] === 'NFC';
  if (patterns === undefined || (normalizer !== null && !nfc)) return undefined;
  const ignoreMerges = model['ignore_merges'] === true;
  const fits = (set: Cuts) =>
    set.patterns.join('\n') === patterns.join('\n') &&
    (set.ignoreMerges === true) === ignoreMerges &&
    (set.nfc === true) === nfc;
  return SETS.find(fits)?.names[0];
}

/** The patterns of a chain of cutters that ends at the byte level, undefined if there is anything else in it. */
function patternsOf(preTokenizer: unknown): string[] | undefined {
  if (!isObject(preTokenizer)) return undefined;
  const parts = preTokenizer['type'] === 'Sequence' ? preTokenizer['pretokenizers'] : [preTokenizer];
  const stages = Array.isArray(parts) ? (parts as unknown[]).filter(isObject) : [];
  const last = stages.at(-1);
  if (last?.['type'] !== 'ByteLevel' || last['add_prefix_space'] !== false) return undefined;
  const patterns = stages.slice(0, -1).map((stage) => {
    if (stage['type'] === 'Digits' && stage['individual_digits'] === true) return 'digits';
    const pattern = isObject(stage['pattern']) ? stage['pattern']['Regex'] : undefined;
    // Patterns that match all of a text: what is between matches is nothing, kept or removed.
    const isolates = stage['behavior'] === 'Isolated' || (stage['behavior'] === 'Removed' && stage['invert'] === true);
    if (stage['type'] !== 'Split' || typeof pattern !== 'string' || !isolates) return undefined;
    return pattern === GPT2_WORDS ? 'gpt2' : pattern;
  });
  if (last['use_regex'] !== false) patterns.push('gpt2');
  return patterns.some((pattern) => pattern === undefined) ? undefined : (patterns as string[]);
}
