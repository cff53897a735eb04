/**
 * Reads fields of a config.json with checks, and reports all problems in one error: a model is built exactly as its
 * config says, or not at all.
 */
import { usageError } from '../util/index.ts';

export interface ConfigReader {
  /** A whole number from 1 to 2³¹ − 1. */
  size(key: string, fallback?: number): number;
  positive(key: string, fallback?: number): number;
  flag(key: string, fallback: boolean): boolean;
  /** A field that may be absent or have this one value; any other would change the arithmetic. */
  only(key: string, supported: unknown): void;
  section(key: string): ConfigReader | undefined;
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
  const given = (key: string) => (config[key] === null ? undefined : config[key]);

  function number(key: string, fallback: number | undefined, rule: string, ok: (n: number) => boolean): number {
    const value = given(key) ?? fallback;
    if (typeof value === 'number' && ok(value)) return value;
    say(key, value === undefined ? 'is missing' : `is ${JSON.stringify(value)}, expected ${rule}`);
    return 2;
  }

  return {
    size: (key: string, fallback?: number) =>
      number(key, fallback, 'a positive whole number', (n) => Number.isInteger(n) && n > 0 && n < 2 ** 31),
    positive: (key: string, fallback?: number) =>
      number(key, fallback, 'a positive number', (n) => Number.isFinite(n) && n > 0),
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
    section: (key: string): ConfigReader | undefined => {
      const value = given(key);
      if (value === undefined) return undefined;
      if (typeof value === 'object' && !Array.isArray(value)) {
        return readConfig(value as Record<string, unknown>, file, `${path}${key}.`, problems);
      }
      say(key, `is ${JSON.stringify(value)}, expected an object`);
      return undefined;
    },
    reject: (key: string, problem: string) => void say(key, problem),
    finish: () => {
      if (problems.length === 0) return;
      throw usageError({
        what: `cannot build the model that ${file} describes:\n  ${problems.join('\n  ')}`,
        where: file,
        fix: 'use a model whose config.json has supported values for these fields',
      });
    },
  };
}
