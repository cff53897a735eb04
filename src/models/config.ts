/**
 * Reads fields of a config.json with checks, and reports all problems in one error: a model is built exactly as its
 * config says, or not at all.
 */
import { problemLines, usageError } from '../util/index.ts';

export interface ConfigReader {
  /** A whole number from 1 to `most`, which is 2³¹ − 1 if not said. */
  size(key: string, fallback?: number, most?: number): number;
  positive(key: string, fallback?: number): number;
  /** A whole number as above, or undefined where it is null; absent it is `fallback`, or undefined. */
  sizeOrNone(key: string, fallback?: number): number | undefined;
  /** The same of a positive number. */
  positiveOrNone(key: string, fallback?: number): number | undefined;
  /** `count` positive numbers. */
  numbers(key: string, count: number): readonly number[];
  /** One of these; anything else is named in the error. */
  oneOf<T extends string>(key: string, values: readonly T[], fallback: T): T;
  /** What is there, unchecked; undefined for null and where there is nothing. */
  given(key: string): unknown;
  flag(key: string, fallback: boolean): boolean;
  /** A field that may be absent or have this one value; any other would change the arithmetic. */
  only(key: string, supported: unknown): void;
  /** The fields of an object; none where it is absent. */
  section(key: string): ConfigReader;
  reject(key: string, problem: string): void;
  /** Throws one usage error with everything that was wrong. */
  finish(): void;
}

/** @param file where the config was read, for messages */
export function readConfig(
  config: Readonly<Record<string, unknown>>,
  file: string,
  path = '',
  problems: string[] = [],
): ConfigReader {
  const say = (key: string, problem: string) => problems.push(`${path}${key}: ${problem}`);
  const given = (key: string): unknown => (config[key] === null ? undefined : config[key]);
  const isSize = (n: unknown): n is number => Number.isInteger(n) && (n as number) > 0 && (n as number) < 2 ** 31;
  const isPositive = (n: unknown): n is number => typeof n === 'number' && Number.isFinite(n) && n > 0;

  function number(key: string, fallback: number | undefined, rule: string, ok: (n: number) => boolean): number {
    const value = given(key) ?? fallback;
    if (typeof value === 'number' && ok(value)) return value;
    say(key, value === undefined ? 'is missing' : `is ${JSON.stringify(value)}, expected ${rule}`);
    return 2;
  }

  function orNone(key: string, fallback: number | undefined, rule: string, ok: (n: unknown) => n is number) {
    const value = config[key] === null ? undefined : (config[key] ?? fallback);
    if (value === undefined || ok(value)) return value;
    say(key, `is ${JSON.stringify(value)}, expected ${rule} or null`);
    return undefined;
  }

  return {
    size: (key: string, fallback?: number, most?: number) =>
      most === undefined
        ? number(key, fallback, 'a positive whole number', isSize)
        : number(key, fallback, `a whole number from 1 to ${most}`, (n) => isSize(n) && n <= most),
    positive: (key: string, fallback?: number) => number(key, fallback, 'a positive number', isPositive),
    sizeOrNone: (key: string, fallback?: number) => orNone(key, fallback, 'a positive whole number', isSize),
    positiveOrNone: (key: string, fallback?: number) => orNone(key, fallback, 'a positive number', isPositive),
    numbers: (key: string, count: number): readonly number[] => {
      const value = given(key);
      if (Array.isArray(value) && value.length === count && value.every(isPositive)) return value;
      const got = Array.isArray(value)
        ? `has ${value.length} entries`
        : value === undefined
          ? 'is missing'
          : 'is no list';
      say(key, `${got}, expected ${count} positive numbers`);
      return [];
    },
    oneOf: <T extends string>(key: string, values: readonly T[], fallback: T): T => {
      const value = given(key) ?? fallback;
      if (values.includes(value as T)) return value as T;
      const names = values.map((name) => JSON.stringify(name)).join(', ');
      say(key, `is ${JSON.stringify(value)}, which is not supported; ${names} ${values.length > 1 ? 'are' : 'is'}`);
      return fallback;
    },
    given,
    flag: (key: string, fallback: boolean): boolean => {
      const value = given(key) ?? fallback;
      if (typeof value !== 'boolean') say(key, `is ${JSON.stringify(value)}, expected true or false`);
      return value === true;
    },
    only: (key: string, supported: unknown) => {
      const value = given(key);
      if (value === undefined || value === supported) return;
      const instead = supported === undefined ? 'its absence' : JSON.stringify(supported);
      say(key, `is ${JSON.stringify(value)}, which changes the arithmetic; only ${instead} is supported`);
    },
    section: (key: string): ConfigReader => {
      const value = given(key) ?? {};
      const isObject = typeof value === 'object' && !Array.isArray(value);
      if (!isObject) say(key, `is ${JSON.stringify(value)}, expected an object`);
      return readConfig(isObject ? (value as Record<string, unknown>) : {}, file, `${path}${key}.`, problems);
    },
    reject: (key: string, problem: string) => void say(key, problem),
    finish: () => {
      if (problems.length === 0) return;
      throw usageError({
        what: `cannot build the model that ${file} describes:${problemLines(problems)}`,
        where: file,
        fix: 'use a model whose config.json has supported values for these fields',
      });
    },
  };
}
