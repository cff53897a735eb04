/**
 * What stages write for later stages and for people: samples, pairs and log-probs of a run, each with its schema
 * version. Log-probs are exact: fp32 bytes, in base64 within JSON lines or as safetensors.
 */
import { existsSync } from 'node:fs';
import { z } from 'zod';
import type { Message } from '../../data/index.ts';
import { readJsonLines, readSafetensorsHeader, readTensorF32, writeSafetensors } from '../../formats/index.ts';
import type { Completion } from '../../generation/index.ts';
import { type Pair, REASONS, type Reason, type Verdict } from '../../pairs/index.ts';
import { writeFileAtomic } from '../../util/index.ts';

export function encodeFloats({ buffer, byteOffset, byteLength }: Float32Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('base64');
}

export function decodeFloats(text: string): Float32Array {
  const bytes = Buffer.from(text, 'base64');
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** A completion with its text, as a line of JSON. */
interface SampleLine {
  readonly v: 1;
  readonly id: string;
  readonly sample: number;
  readonly ids: number[];
  readonly text: string;
  readonly finish: 'end' | 'length';
  readonly logProbs: string;
}

export interface TextCompletion extends Completion {
  readonly text: string;
}

export async function writeSamples(file: string, samples: readonly TextCompletion[]): Promise<void> {
  const lines = samples.map(({ id, sample, ids, text, finish, logProbs }): string => {
    const line: SampleLine = { v: 1, id, sample, ids: [...ids], text, finish, logProbs: encodeFloats(logProbs) };
    return JSON.stringify(line);
  });
  await writeFileAtomic(file, lines.map((line) => `${line}\n`).join(''));
}

/** The samples of a file, or null when it is not there yet. */
export async function readSamples(file: string): Promise<TextCompletion[] | null> {
  if (!existsSync(file)) return null;
  const samples: TextCompletion[] = [];
  for await (const { value } of readJsonLines(file)) {
    const { v: _, ...line } = value as SampleLine;
    samples.push({ ...line, ids: Int32Array.from(line.ids), logProbs: decodeFloats(line.logProbs) });
  }
  return samples;
}

/** One response of a line of pairs.jsonl. */
interface ResponseRecord {
  readonly role: 'real' | 'generated';
  /** Iteration of the opponent that wrote it; null for a human. */
  readonly iteration: number | null;
  readonly sample: number;
  readonly text: string;
  /** As trained on: a human answer against a cut sample is cut at its length. */
  readonly ids: number[];
  readonly finish: 'end' | 'length';
}

/** A line of pairs.jsonl: a prompt with its responses, and why the pair was left out if it was. */
export interface PairRecord {
  readonly v: 1;
  readonly id: string;
  readonly prompt: readonly Message[];
  readonly promptIds: number[];
  readonly responses: readonly [ResponseRecord, ResponseRecord];
  readonly excluded: Reason | null;
}

const ids = z.array(z.int().min(0).max(0x7fffffff)).min(1);
const response = z.object({
  sample: z.int().min(0),
  text: z.string(),
  ids,
  finish: z.enum(['end', 'length']),
});

/** What a line of pairs.jsonl must be like when it comes from elsewhere. */
export const pairRecordSchema = z.object({
  v: z.literal(1),
  id: z.string().min(1),
  prompt: z.array(z.object({ role: z.enum(['system', 'user', 'assistant']), content: z.string() })),
  promptIds: ids,
  responses: z.tuple([
    response.extend({ role: z.literal('real'), iteration: z.null() }),
    response.extend({ role: z.literal('generated'), iteration: z.int().min(0) }),
  ]),
  excluded: z.enum(REASONS).nullable(),
}) satisfies z.ZodType<PairRecord>;

export async function writePairs(file: string, records: readonly PairRecord[]): Promise<void> {
  await writeFileAtomic(file, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
}

/** The pair of a line, without its texts. */
export function pairOf({ id, promptIds, responses: [real, generated] }: PairRecord): Pair {
  return {
    id,
    sample: generated.sample,
    iteration: generated.iteration!,
    promptIds: Int32Array.from(promptIds),
    real: Int32Array.from(real.ids),
    generated: Int32Array.from(generated.ids),
  };
}

/** A line of flagged.jsonl: a pair for which a reason to leave it out holds, and whether it was left out. */
export interface FlaggedRecord {
  readonly v: 1;
  readonly id: string;
  /** Number of the generated answer among those to this row, from 0. */
  readonly sample: number;
  /** The file that the pair's row is from, and its line there, from 1. */
  readonly file: string;
  readonly line: number;
  readonly prompt: readonly Message[];
  readonly reasons: Verdict['reasons'];
  readonly action: 'dropped' | 'kept';
  /** Tokens of the answers, as they are (would be) trained on. */
  readonly humanTokens: number;
  readonly generatedTokens: number;
}

export async function writeFlagged(file: string, records: readonly FlaggedRecord[]): Promise<void> {
  await writeFileAtomic(file, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
}

/** The pairs of a file that take part. */
export async function readPairs(file: string): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for await (const { value } of readJsonLines(file)) {
    const record = value as PairRecord;
    if (record.excluded === null) pairs.push(pairOf(record));
  }
  return pairs;
}

/** Log-probs per token by name. */
export async function writeLogProbs(file: string, logProbs: ReadonlyMap<string, Float32Array>): Promise<void> {
  await writeSafetensors(
    file,
    [...logProbs].map(([name, data]) => ({ name, dtype: 'F32' as const, shape: [data.length], data })),
  );
}

/** The log-probs of a file, or null when it is not there yet. */
export async function readLogProbs(file: string): Promise<Map<string, Float32Array> | null> {
  if (!existsSync(file)) return null;
  const logProbs = new Map<string, Float32Array>();
  for (const [name, info] of (await readSafetensorsHeader(file)).tensors) logProbs.set(name, await readTensorF32(info));
  return logProbs;
}
