/**
 * manifest.json: what a run was asked for and what was chosen for it, frozen, so that a resume repeats it.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { failure, usageError, writeFileAtomic } from '../../util/index.ts';
import { type DpoSettings, dpoSchema } from '../settings/dpoSettings.ts';
import { type ProbeSettings, probeSchema } from '../settings/probeSettings.ts';
import { type SftSettings, type SpinSettings, sftSchema, spinSchema } from '../settings/settings.ts';
import type { EarlierEngine, FrozenEngine } from './engines.ts';
import type { Hashes } from './hashes.ts';
import type { Sources } from './inputs.ts';
import type { MemoryPlan } from './memory.ts';

/** The settings of the commands that have a run directory. */
export interface Settings {
  readonly run: SpinSettings;
  readonly sft: SftSettings;
  readonly dpo: DpoSettings;
  readonly probe: ProbeSettings;
}
export type RunCommand = keyof Settings;

export interface Manifest<C extends RunCommand = RunCommand> {
  readonly v: 1;
  readonly command: C;
  readonly version: string;
  readonly created: string;
  /** What the chat template writes as the time, in all processes of the run; null where it writes none. */
  readonly template_time: string | null;
  readonly settings: Settings[C];
  /** Which of them came from the Hub, with their commits. */
  readonly sources: Sources;
  /** Automatic choices, frozen until the user says otherwise. */
  readonly engine: FrozenEngine;
  /** Those before it, the first one first. */
  readonly earlier_engines: readonly EarlierEngine[];
  /** What fits into memory; null until that is known. */
  readonly memory: MemoryPlan | null;
  /** SHA-256 of what the run stands on; manifests of earlier versions do not have all of them. */
  readonly hashes: Pick<Hashes, 'model'> & Partial<Hashes>;
}

const schemas: { readonly [C in RunCommand]: z.ZodType<Settings[C]> } = {
  run: spinSchema,
  sft: sftSchema,
  dpo: dpoSchema,
  probe: probeSchema,
};

export const MANIFEST = 'manifest.json';

export async function writeManifest(directory: string, manifest: Manifest): Promise<void> {
  await writeFileAtomic(join(directory, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** @throws SelfplayError when there is no run in the directory, or none that this version understands */
export async function readManifest(directory: string): Promise<Manifest> {
  const file = join(directory, MANIFEST);
  if (!existsSync(file)) {
    throw usageError({
      what: 'there is no run here',
      where: file,
      fix: 'give the directory that a run printed as --out',
    });
  }
  let manifest: Manifest | null;
  try {
    manifest = JSON.parse(await readFile(file, 'utf8')) as Manifest | null;
  } catch (cause) {
    throw failure({ what: 'the manifest is not JSON', where: file, fix: 'start a new run', cause });
  }
  const schema = manifest === null ? undefined : schemas[manifest.command];
  const settings = schema?.safeParse(manifest?.settings);
  if (manifest?.v !== 1 || !settings?.success) {
    throw usageError({
      what: 'the manifest is not one that this version understands',
      where: file,
      fix: manifest?.version === undefined ? 'start a new run' : `resume with selfplay ${manifest.version}`,
    });
  }
  // Runs of earlier versions do not say why they have their engine, that they had no other, and what their template wrote.
  const engine = { ...manifest.engine, reasons: manifest.engine.reasons ?? [] };
  const { sources = {}, earlier_engines = [], template_time = manifest.created.slice(0, 19), memory = null } = manifest;
  return { ...manifest, settings: settings.data, sources, engine, earlier_engines, template_time, memory };
}
