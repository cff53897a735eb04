/**
 * Which engine a recipe computes with: what the settings ask for, what was chosen, and whether a resume gets the same.
 * A run goes on with another engine only when the user says so.
 */
import type { DeviceName, Engine, EngineChoice, EngineInfo, OpenOptions } from '../../engine/index.ts';
import { SelfplayError, usageError } from '../../util/index.ts';
import type { EngineSettings, ResumeChanges, SpinSettings } from '../settings/settings.ts';

/** What the settings ask for. */
export type EngineRequest = Pick<SpinSettings, 'engine' | 'device' | 'dtype' | 'threads' | 'deterministic'>;

/** An engine, and in plain words why it is this one. */
export interface OpenedEngine {
  readonly engine: Engine;
  readonly choice: Pick<EngineChoice, 'reasons'>;
}

export type OpenEngine = (options: OpenOptions) => Promise<OpenedEngine>;

/** What a run computes with, as its manifest has it. */
export interface FrozenEngine extends EngineInfo {
  readonly reasons: readonly string[];
}

/** An engine that a run was begun with, and when it went on with another (UTC, ISO 8601). */
export interface EarlierEngine extends FrozenEngine {
  readonly until: string;
}

export const frozen = ({ engine, choice }: OpenedEngine): FrozenEngine => ({
  ...engine.info,
  reasons: [...choice.reasons],
});

/** Opens what the settings ask for; whoever calls disposes the engine. */
export function openRequested(
  open: OpenEngine,
  { engine, device, dtype, threads, deterministic }: EngineRequest,
): Promise<OpenedEngine> {
  return open({
    engine,
    // The schema lets no other through.
    device: device as 'auto' | DeviceName,
    dtype,
    deterministic,
    ...(threads === undefined ? {} : { threads }),
  });
}

/** Opens what the settings ask for around a body. */
export async function withEngine<T>(
  open: OpenEngine,
  request: EngineRequest,
  body: (opened: OpenedEngine) => Promise<T>,
): Promise<T> {
  const opened = await openRequested(open, request);
  try {
    return await body(opened);
  } finally {
    await opened.engine.dispose();
  }
}

/** "torch 2.15.0 on cpu in bf16", "torch 2.15.0 on cuda (NVIDIA H200) in bf16" */
function engineName({ name, version, device, dtype, gpu }: Omit<EngineInfo, 'threads'>): string {
  return `${name} ${version} on ${device}${gpu ? ` (${gpu.model})` : ''} in ${dtype}`;
}

/** All engines that a run computed with, the first one first: "torch 2.15.0 on cpu in bf16, then onnx 1.30.0 …". */
export function engineSequence(run: {
  readonly engine: FrozenEngine;
  readonly earlier_engines: readonly EarlierEngine[];
}): string {
  return [...run.earlier_engines, run.engine].map(engineName).join(', then ');
}

/** What computes, and why, in one sentence. */
export function engineSentence({ reasons, ...info }: FrozenEngine): string {
  const why = reasons.length === 0 ? '' : ` (${reasons.join('; ')})`;
  return `Computing with ${engineName(info)}, ${info.threads} thread(s)${why}.`;
}

/** What a resume asks for: the frozen engine, or what the user said instead. Another engine chooses its own device. */
export function requestFor(
  was: FrozenEngine,
  said: ResumeChanges,
  { deterministic }: Pick<EngineRequest, 'deterministic'>,
): EngineRequest {
  const name = was.name as EngineSettings['engine'];
  const engine = said.engine ?? name;
  const kept = engine === name;
  return {
    engine,
    device: said.device ?? (kept ? was.device : 'auto'),
    dtype: said.dtype ?? (kept ? (was.dtype as EngineSettings['dtype']) : 'auto'),
    threads: was.threads,
    deterministic,
  };
}

/** Whether a run's engine and another compute the same bits, as far as one can know; runs of earlier versions do not know their GPU. */
export function isSame(was: Omit<EngineInfo, 'threads'>, { gpu, ...is }: Omit<EngineInfo, 'threads'>): boolean {
  return engineName(was) === engineName(was.gpu && gpu ? { ...is, gpu } : is);
}

const howToChange = (run: string, engine: string) => `go on with another: selfplay resume ${run} --engine ${engine}`;

/** The frozen engine cannot be opened. */
export function unavailable(was: FrozenEngine, run: string, error: unknown): unknown {
  if (!(error instanceof SelfplayError)) return error;
  const other = was.name === 'onnx' ? 'torch' : 'onnx';
  return usageError({
    what: `the run computes with ${engineName(was)}, which cannot be used here: ${error.what}`,
    where: error.where,
    fix: `${error.fix === undefined ? 'bring it back' : error.fix}; or ${howToChange(run, other)}`,
    cause: error,
  });
}

/** The engine that opened is not the frozen one. */
export function changed(was: FrozenEngine, is: EngineInfo, run: string): SelfplayError {
  return usageError({
    what: `the run computes with ${engineName(was)}, here is ${engineName(is)}: the outcome would not be the same`,
    where: `${run}/manifest.json:engine`,
    fix: `bring the old one back; or say that it may go on with this one: selfplay resume ${run} --engine ${is.name}`,
  });
}
