// Reading checked values out of GGUF metadata: what a stranger's file says is of the type that is needed, or an error names the key.

import { failure } from '../util/index.ts';

export interface Metadata {
  /** Where it was read, for messages. */
  readonly file: string;
  has(key: string): boolean;
  /** Each throws a failure for a value of another type; undefined where the key is absent. */
  text(key: string): string | undefined;
  flag(key: string): boolean | undefined;
  number(key: string): number | undefined;
  /** An array of texts, or of numbers. */
  texts(key: string): readonly string[] | undefined;
  numbers(key: string): readonly number[] | undefined;
  bad(key: string, what: string): Error;
}

/** @param values as `readGguf` gives them */
export function readMetadata(values: ReadonlyMap<string, unknown>, file: string): Metadata {
  const bad = (key: string, what: string) =>
    failure({ what: `${key} ${what}`, where: file, fix: 'get the file from where the model was published' });
  const take = <T>(key: string, what: string, fits: (value: unknown) => boolean): T | undefined => {
    const value = values.get(key);
    if (value === undefined || fits(value)) return value as T | undefined;
    throw bad(key, `is not ${what}`);
  };
  const list = (type: string) => (value: unknown) =>
    Array.isArray(value) && value.every((item) => typeof item === type);
  return {
    file,
    has: (key) => values.has(key),
    text: (key) => take(key, 'a text', (value) => typeof value === 'string'),
    flag: (key) => take(key, 'true or false', (value) => typeof value === 'boolean'),
    number: (key) => take(key, 'a number', (value) => typeof value === 'number'),
    texts: (key) => take(key, 'a list of texts', list('string')),
    numbers: (key) => take(key, 'a list of numbers', list('number')),
    bad,
  };
}
