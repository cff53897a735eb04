/**
 * lock.json: everything that decides the bytes of a run, and nothing else: contents, not paths; no times. Two runs with
 * the same lock make the same weights. `--lock FILE` refuses a run whose lock would not be the same, entry by entry.
 * Notable choice: engine, threads, processor and versions are entries like any other, for sums are rounded by them.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import {
  baseDirectory,
  companionDirectory,
  demandBase,
  hashModelFiles,
  modelRevision,
} from '../../checkpoint/index.ts';
import { type EngineInfo, processor } from '../../engine/index.ts';
import { hashTokenizer } from '../../tokens/index.ts';
import { canonicalJson, usageError, VERSION, writeFileAtomic } from '../../util/index.ts';
import type { RecordedSettings } from '../settings/dpoSettings.ts';
import { isModule } from '../settings/settings.ts';
import { hashInput, rowHashes } from './hashes.ts';
import type { Sources } from './inputs.ts';

const entries = z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]));
const nullableHash = z.string().nullable();

const lockSchema = z.strictObject({
  v: z.literal(1),
  command: z.enum(['run', 'sft', 'dpo', 'probe']),
  model: z.strictObject({
    /** Commit of the Hugging Face repository, where the directory tells: for finding it again, not compared by itself. */
    revision: z.string().nullable(),
    /** SHA-256 of every file that makes up the model. */
    files: z.record(z.string(), z.string()),
    /** SHA-256 of what decides token ids, the chat template apart. */
    tokenizer: z.string(),
    chat_template: nullableHash,
    /** The time that a template with a clock writes (tokens/template.ts): that of the first run; null for others. */
    template_time: z.iso.datetime({ local: true }).nullable().default(null),
  }),
  /** SHA-256 of the files; null for what is not given. */
  data: z.strictObject({
    data: nullableHash,
    eval_data: nullableHash,
    pairs: nullableHash,
    replay_pairs: nullableHash,
    contamination: nullableHash,
    scorer: nullableHash,
    checker: nullableHash,
  }),
  /** What came from the Hub, with its commits: for finding it again, not compared. */
  sources: z.record(z.string(), z.union([z.string(), z.array(z.string())])).default({}),
  /** Of every random choice: splits, order, samples. */
  seed: z.number(),
  /** How the opponent answers; null where nothing is sampled. */
  sampler: entries.nullable(),
  /** The other settings that decide the outcome; those without a value are left out. */
  settings: entries,
  /** What `auto` came to; the version is that of ONNX Runtime or torch. */
  engine: entries,
  processor: entries,
  versions: entries,
});

/** lock.json */
export type RunLock = z.output<typeof lockSchema>;

/** What a run stands on, besides its settings and its engine. */
export type Inputs = Pick<RunLock, 'model' | 'data'> & { readonly sources?: Sources };

const SAMPLER = ['temperature', 'top_k', 'top_p', 'max_new_tokens', 'samples_per_prompt'];
/** Settings that have an entry of their own (paths: by content; the engine: as it was opened), or do not touch the outcome. */
const ELSEWHERE = new Set([
  ...['model', 'data', 'eval_data', 'pairs', 'replay_pairs', 'scorer', 'contamination', 'out', 'lock'],
  ...['seed', 'engine', 'device', 'dtype', 'threads', ...SAMPLER],
  ...['stop_after', 'checkpoint_seconds', 'preflight', 'baselines', 'minutes'],
  ...['gradient_checkpointing', 'max_memory'],
]);

/**
 * Reads and hashes all that the settings name.
 * @param time that a chat template is to write, if it writes any
 * @throws usage error or failure naming the file that is wrong
 */
export async function readInputs(settings: RecordedSettings, time: string): Promise<Inputs> {
  const { model } = settings;
  const files = await hashModelFiles(model);
  await demandBase(model);
  const { tokenizer, chatTemplate, readsClock } = await hashTokenizer(await companionDirectory(model));
  return {
    model: {
      revision: await modelRevision(await baseDirectory(model)),
      files,
      tokenizer,
      chat_template: chatTemplate,
      template_time: readsClock ? time : null,
    },
    data: {
      ...(await rowHashes(settings)),
      ...(await moduleHashes(settings)),
    },
  };
}

async function moduleHashes(settings: RecordedSettings): Promise<Pick<Inputs['data'], 'scorer' | 'checker'>> {
  const scorer = 'scorer' in settings ? settings.scorer : undefined;
  const checker = 'checker' in settings && isModule(settings.checker) ? settings.checker : undefined;
  return {
    scorer: scorer === undefined ? null : await hashInput(scorer, 'check --scorer'),
    checker: checker === undefined ? null : await hashInput(checker, 'check --checker'),
  };
}

/**
 * A scorer or checker that was changed would give the rest of a run other figures or other pairs.
 * @param path the run's lock; one without a lock was begun by an older version, and is not held to it
 */
export async function demandModules(path: string, settings: RecordedSettings): Promise<void> {
  if (!existsSync(path)) return;
  const { data: locked } = await readLock(path);
  const now = await moduleHashes(settings);
  for (const name of ['scorer', 'checker'] as const) {
    if (now[name] === locked[name]) continue;
    throw usageError({
      what: `the ${name} has changed since the run began (${shownValue(locked[name])}, now ${shownValue(now[name])})`,
      where: `${path}:data.${name}`,
      fix: 'bring the old file back, or start a new run',
    });
  }
}

/** The lock of a run on this machine. */
export async function lockOf(
  command: RunLock['command'],
  settings: RecordedSettings,
  inputs: Inputs,
  { gpu, ...engine }: EngineInfo,
): Promise<RunLock> {
  const { sources = {}, ...contents } = inputs;
  const given = (isWanted: (key: string) => boolean) =>
    Object.fromEntries(
      Object.entries(settings).flatMap(([key, value]) => {
        if (value === undefined || !isWanted(key) || (key === 'checker' && isModule(String(value)))) return [];
        return [[key, Array.isArray(value) ? value.join(', ') : value]];
      }),
    );
  return {
    v: 1,
    command,
    ...contents,
    sources: structuredClone(sources) as RunLock['sources'],
    seed: settings.seed,
    sampler: command !== 'sft' ? given((key) => SAMPLER.includes(key)) : null,
    settings: given((key) => !ELSEWHERE.has(key)),
    engine: { ...engine, ...(gpu ? { gpu: gpu.model, gpu_driver: gpu.driver } : {}) },
    processor: { ...(await processor()) },
    versions: { selfplay: VERSION, node: process.versions.node },
  };
}

/** Writes a lock atomically, with its keys in order: equal locks are equal files. */
export async function writeLock(path: string, lock: RunLock): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(JSON.parse(canonicalJson(lock)), null, 2)}\n`);
}

/** Reads a lock. @throws usage error when it cannot be read or is no lock that this version understands */
export async function readLock(path: string): Promise<RunLock> {
  const fix = 'give the lock.json of a run';
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw usageError({ what: `the lock cannot be read: ${(cause as Error).message}`, where: path, fix, cause });
  }
  const { success, data, error } = lockSchema.safeParse(value);
  if (success) return data;
  const [issue] = error.issues;
  throw usageError({ what: `not a lock: ${issue!.message}`, where: `${path}:${issue!.path.join('.')}`, fix });
}

type Value = string | number | boolean | null | undefined;

/** A key with its value on either side; undefined where a side has none. */
export interface Difference {
  readonly key: string;
  readonly a: Value;
  readonly b: Value;
}

/** The keys of two objects whose values differ, in order; keys of objects inside are joined by dots. */
export function differences(a: object, b: object): Difference[] {
  const [left, right] = [flat(a), flat(b)];
  return [...new Set([...left.keys(), ...right.keys()])]
    .sort()
    .filter((key) => left.get(key) !== right.get(key))
    .map((key) => ({ key, a: left.get(key), b: right.get(key) }));
}

function flat(value: object, prefix = ''): Map<string, Value> {
  const found = new Map<string, Value>();
  for (const [key, inner] of Object.entries(value) as [string, Value | object][]) {
    const path = `${prefix}${key}`;
    if (typeof inner === 'object' && inner !== null) for (const entry of flat(inner, `${path}.`)) found.set(...entry);
    else found.set(path, inner);
  }
  return found;
}

/** What differs between two locks. The same files from another revision, or from nobody knows where, are no difference. */
export function lockDifferences(a: RunLock, b: RunLock): Difference[] {
  const found = differences({ ...a, sources: {} }, { ...b, sources: {} });
  const files = found.some(({ key }) => key.startsWith('model.files.'));
  return files ? found : found.filter(({ key }) => key !== 'model.revision');
}

const HASH = /^[0-9a-f]{64}$/;

/** A value as a reader wants it: a hash by its beginning, "none" for nothing. */
export function shownValue(value: Value): string {
  if (value === undefined || value === null) return 'none';
  return typeof value === 'string' && HASH.test(value) ? value.slice(0, 12) : String(value);
}

const ROUNDING = /^(engine|processor|versions)\./;

/** @throws one usage error that names every difference from the lock at `path` */
export function demandLock(path: string, locked: RunLock, here: RunLock): void {
  const found = lockDifferences(locked, here);
  if (found.length === 0) return;
  const lines = found.map(({ key, a, b }) => `\n  ${key}: locked ${shownValue(a)}, here ${shownValue(b)}`);
  const why = found.some(({ key }) => ROUNDING.test(key))
    ? '\nEngine, threads, processor and versions decide how sums are rounded, and with that the bits of the outcome.'
    : '';
  throw usageError({
    what: `the run would not be the locked one: ${found.length} difference(s)${lines.join('')}${why}`,
    where: path,
    fix: 'bring back what the lock has; or leave --lock out for another run, and see `selfplay compare` for what that changes',
  });
}
