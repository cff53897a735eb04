// The trainer's state on disk: a directory published at once, holding state.json (counters, settings) and tensors.safetensors
// (fp32 masters, moments). A resume takes the newest that verifies; older ones go only after a newer one has been verified.

import { join } from 'node:path';
import { readSafetensorsHeader, type TensorInfo, type TensorToWrite, writeSafetensors } from '../formats/index.ts';
import {
  diskIo,
  failure,
  type Io,
  publishDirectory,
  SelfplayError,
  verifyDirectory,
  withFile,
  writeAll,
} from '../util/index.ts';
import { readText } from './text.ts';

const STATE_FILE = 'state.json';
const TENSORS_FILE = 'tensors.safetensors';
const STATE_SCHEMA = 1;

/** `state` must survive JSON; tensors are written one at a time. */
export interface TrainerState {
  readonly state: unknown;
  readonly tensors: readonly TensorToWrite[];
}

/** Saves the state as the directory `dir`, atomically; its parent must exist. */
export async function saveTrainerState(dir: string, { state, tensors }: TrainerState, io: Io = diskIo): Promise<void> {
  const text = `${JSON.stringify({ schema: STATE_SCHEMA, state }, null, 2)}\n`;
  await publishDirectory(
    dir,
    async (temporary) => {
      await withFile(io, join(temporary, STATE_FILE), 'wx', (file) => writeAll(file, new TextEncoder().encode(text)));
      await writeSafetensors(join(temporary, TENSORS_FILE), tensors, {}, io);
    },
    io,
  );
}

/** Loads a saved state after verifying sizes and hashes; tensors are read later with readTensorF32 or readTensorI32. */
export async function loadTrainerState(dir: string): Promise<{ state: unknown; tensors: Map<string, TensorInfo> }> {
  await verifyDirectory(dir);
  const file = join(dir, STATE_FILE);
  const { schema, state } = JSON.parse(await readText(file)) as { schema: unknown; state: unknown };
  if (schema !== STATE_SCHEMA) {
    const fix = 'resume with the version of selfplay that wrote it';
    throw failure({ what: `trainer state of schema ${String(schema)}, expected ${STATE_SCHEMA}`, where: file, fix });
  }
  const { tensors } = await readSafetensorsHeader(join(dir, TENSORS_FILE));
  return { state, tensors };
}

/** A checkpoint directory `PREFIX-NUMBER` that verified, and the newer ones that did not, with the reason. */
export interface VerifiedCheckpoint {
  readonly path: string;
  readonly number: number;
  readonly skipped: { readonly path: string; readonly reason: string }[];
}

/** The checkpoint name for a number, with at least six digits: `step-000123`. */
export function checkpointName(prefix: string, number: number): string {
  return `${prefix}-${String(number).padStart(6, '0')}`;
}

/** The newest checkpoint of `parent` that verifies, passing over damaged ones; undefined if there is none. */
export async function newestVerified(parent: string, prefix: string): Promise<VerifiedCheckpoint | undefined> {
  const skipped: { path: string; reason: string }[] = [];
  for (const { path, number } of await listCheckpoints(parent, prefix)) {
    try {
      await verifyDirectory(path);
      return { path, number, skipped };
    } catch (error) {
      if (!(error instanceof SelfplayError)) throw error;
      skipped.push({ path, reason: error.message });
    }
  }
  return undefined;
}

/**
 * Removes all checkpoints of `parent` but the newest one that verifies, which is returned; removes nothing if none does.
 */
export async function dropOlder(
  parent: string,
  prefix: string,
  io: Io = diskIo,
): Promise<VerifiedCheckpoint | undefined> {
  const newest = await newestVerified(parent, prefix);
  if (newest === undefined) return undefined;
  for (const { path } of await listCheckpoints(parent, prefix)) {
    if (path !== newest.path) await io.rm(path);
  }
  return newest;
}

/** Checkpoint directories, newest first. */
async function listCheckpoints(parent: string, prefix: string): Promise<{ path: string; number: number }[]> {
  const found: { path: string; number: number }[] = [];
  for (const { name, type } of await diskIo.readdir(parent)) {
    const digits = name.startsWith(`${prefix}-`) ? name.slice(prefix.length + 1) : '';
    if (type !== 'directory' || !/^\d{6,15}$/.test(digits)) continue;
    found.push({ path: join(parent, name), number: Number(digits) });
  }
  return found.sort((a, b) => b.number - a.number);
}
