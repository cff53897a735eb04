// What the recipes' zod schemas say about each setting, read off their JSON schema: the one source for flags, for
// `--help`, for config files and for what an error says is allowed.
import { z } from 'zod';

/** One setting, under the key that config files use. */
export interface Setting {
  readonly key: string;
  /** `--micro-batch-tokens` for micro_batch_tokens. */
  readonly flag: string;
  readonly kind: 'string' | 'integer' | 'number' | 'boolean' | 'array';
  /** Whether a list of numbers may stand in place of one: 0.1,5 on the command line. */
  readonly list: boolean;
  /** Whether it can be turned off with `--no-`; every boolean can. */
  readonly off: boolean;
  readonly choices: readonly string[];
  /** Forms of a value where there are too many to choose from: cpu, cuda:N. */
  readonly forms: readonly string[];
  readonly description: string;
  readonly required: boolean;
  /** Undefined where there is none. */
  readonly default: unknown;
  /** What a value must be: "a whole number of at least 1". */
  readonly allowed: string;
}

/** The part of a JSON schema that settings use. */
interface Property {
  readonly type: Setting['kind'];
  /** Where a value has several forms: itself first, then a list of them, then false. */
  readonly anyOf?: readonly Property[];
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  /** What an array holds. */
  readonly items?: Property;
  /** Forms of a value that no list can hold. */
  readonly examples?: readonly string[];
  readonly minLength?: number;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly exclusiveMaximum?: number;
}

/** All settings of a recipe's schema, by key, in its order. */
export function settingsOf(schema: z.ZodType): ReadonlyMap<string, Setting> {
  const { properties = {}, required = [] } = z.toJSONSchema(schema, { io: 'input' });
  const settings = Object.entries(properties as Record<string, Property>).map(([key, property]): [string, Setting] => [
    key,
    {
      key,
      flag: `--${key.replaceAll('_', '-')}`,
      ...formsOf(property),
      choices: property.enum ?? property.items?.enum ?? [],
      forms: property.examples ?? [],
      description: property.description ?? '',
      required: required.includes(key),
      default: property.default,
      allowed: allowedBy(property),
    },
  ]);
  return new Map(settings);
}

function formsOf({ type, anyOf }: Property): Pick<Setting, 'kind' | 'list' | 'off'> {
  const [one] = anyOf ?? [];
  if (one === undefined) return { kind: type, list: false, off: type === 'boolean' };
  const off = anyOf!.some((form) => form.type === 'boolean');
  // Several texts are several words of a flag; numbers are one, with commas.
  return one.type === 'string' ? { kind: 'array', list: false, off } : { kind: one.type, list: true, off };
}

function allowedBy(property: Property): string {
  const [one] = property.anyOf ?? [];
  if (one !== undefined) return `${allowedBy(one)}, or a list of such`;
  if (property.items !== undefined) return `a list, each ${allowedBy(property.items)}`;
  const listed = property.enum ?? property.examples;
  if (listed !== undefined) return `one of ${listed.join(', ')}`;
  if (property.type === 'boolean') return 'true or false';
  if (property.type === 'string') return property.minLength === undefined ? 'a text' : 'a text that is not empty';
  const { minimum, exclusiveMinimum, maximum = Number.MAX_SAFE_INTEGER, exclusiveMaximum } = property;
  const bounds: string[] = [];
  if (minimum !== undefined) bounds.push(`at least ${minimum}`);
  if (exclusiveMinimum !== undefined) bounds.push(`more than ${exclusiveMinimum}`);
  if (maximum < Number.MAX_SAFE_INTEGER) bounds.push(`at most ${maximum}`);
  if (exclusiveMaximum !== undefined) bounds.push(`less than ${exclusiveMaximum}`);
  const noun = property.type === 'integer' ? 'a whole number' : 'a number';
  return bounds.length === 0 ? noun : `${noun} of ${bounds.join(' and ')}`;
}
