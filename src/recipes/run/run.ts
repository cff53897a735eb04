/**
 * A run directory: manifest, log, and a lock against other processes. The directory is the only source of truth, and every stage looks there for
 * what is done already.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { basename, join, relative, resolve } from 'node:path';
import { modelIdentity } from '../../checkpoint/index.ts';
import { type Engine, type OpenOptions, openEngine } from '../../engine/index.ts';
import { LASTING, type NewEvent, openRunLog, type RunEvent, type RunLog, readRunLog } from '../../report/index.ts';
import { wallClock } from '../../tokens/index.ts';
import { linkedDirectory, lockDirectory, removeStaleTemps, usageError, VERSION } from '../../util/index.ts';
import { isModule, type ResumeChanges } from '../settings/settings.ts';
import { Interrupted, type RecipeContext } from './context.ts';
import { lastDurable } from './durable.ts';
import {
  changed,
  engineSentence,
  frozen,
  isSame,
  type OpenedEngine,
  requestFor,
  unavailable,
  withEngine,
} from './engines.ts';
import { type Hashes, hashesOf } from './hashes.ts';
import { bringBack, localInputs } from './inputs.ts';
import { BASELINES, CONTAMINATION, LOCK, LOG, PREFLIGHT } from './layout.ts';
import { demandLock, demandModules, lockOf, readInputs, readLock, shownValue, writeLock } from './lock.ts';
import { MANIFEST, type Manifest, type RunCommand, readManifest, type Settings, writeManifest } from './manifest.ts';
import { type MemoryPlan, type Reduction, reductionsOf } from './memory.ts';
import type { Place, Seat } from './rest.ts';

/** An open run: one process writes to it. */
export interface Run<C extends RunCommand = RunCommand> {
  readonly directory: string;
  readonly settings: Settings[C];
  readonly context: RecipeContext;
  readonly engine: Engine;
  /** What the chat template writes as the time, if it writes any. */
  readonly templateTime: string | undefined;
  /** Whether every engine of the run so far computed in f32. */
  readonly inFull: boolean;
  /** What lack of memory changed, in this process and before. */
  readonly reductions: Reduction[];
  /** What fits into memory, once that is known. */
  readonly plan: () => MemoryPlan | null;
  /** Writes it down for every resume, and into the lock what of it decides how sums are rounded. */
  readonly freezePlan: (plan: MemoryPlan) => Promise<void>;
  /** Which try at an iteration is under way, from 0; none is 0. */
  readonly attempts: Map<number, number>;
  /** The control that is at work, whose folder `path` starts from and whose name events carry; none in the game itself. */
  readonly baseline?: string;
  readonly log: RunLog;
  readonly path: (...parts: string[]) => string;
  /** The other way round: such a path from the run directory on. */
  readonly within: (path: string) => string;
  /** Events that count, of the processes before this one. */
  readonly before: readonly RunEvent[];
  /** Stages that the log has as finished (see `stageKey`): going through one again from disk is not logged again. */
  readonly finished: ReadonlySet<string>;
  /** Logs an event; fields that it does not give are null. */
  readonly emit: (event: Partial<NewEvent> & { type: NewEvent['type'] }) => Promise<void>;
  /** A sentence for the user, also in the log. */
  readonly say: (sentence: string) => Promise<void>;
  readonly warn: (sentence: string) => Promise<void>;
  /** A safe point, with the model that is in the engine: resolves when the run may go on, or shall stop. */
  readonly rest: (
    player: Pick<Seat, 'loaded' | 'tokenizer'>,
    at: Omit<Place, 'step'> & Partial<Place>,
  ) => Promise<void>;
  /** Throws Interrupted when the run was asked to stop. */
  readonly checkSignal: () => void;
}

export const stageKey = ({
  iteration,
  attempt,
  stage,
  baseline,
}: Pick<RunEvent, 'iteration' | 'attempt' | 'stage' | 'baseline'>) =>
  `${baseline ?? 'game'}/${iteration}/${attempt}/${stage}`;

/** The run as a control sees it: its own folder, its name on every event, the rest as it is. */
export function insideBaseline(run: Run<'run'>, name: string): Run<'run'> {
  return {
    ...run,
    baseline: name,
    path: (...parts) => run.path(BASELINES, name, ...parts),
    emit: (event) => run.emit({ ...event, baseline: name }),
  };
}

/** Creates a run directory and works in it. */
export async function startRun<C extends RunCommand, T>(
  command: C,
  given: Settings[C],
  context: RecipeContext,
  body: (run: Run<C>) => Promise<T>,
): Promise<T> {
  const directory = resolve(given.out ?? defaultDirectory(given));
  const isNew = !existsSync(directory);
  const cannot = (error: unknown) =>
    usageError({
      what: `cannot write here: ${(error as Error).message}`,
      where: directory,
      fix: 'give another --out',
      cause: error,
    });
  const there = isNew ? [] : await readdir(directory).catch((error) => Promise.reject(cannot(error)));
  if (there.includes(MANIFEST)) {
    throw usageError({
      what: 'there is a run in this directory already',
      where: directory,
      fix: `go on with it: selfplay resume ${directory}; or give another --out`,
    });
  }
  if (there.some((name) => !name.startsWith('.'))) {
    throw usageError({ what: 'the output directory is not empty', where: directory, fix: 'give another --out' });
  }
  const { settings: here, sources } = await localInputs(given, context);
  const settings = await withAbsolutePaths(here);
  const locked = settings.lock === undefined ? null : await readLock(settings.lock);
  // A run that repeats another has its prompts, also on another day.
  const inputs = await readInputs(settings, locked?.model.template_time ?? wallClock());
  const { scorer: _, checker: __, ...hashes } = inputs.data;
  return withEngine(context.openEngine ?? openEngine, settings, async (opened) => {
    const lock = await lockOf(command, settings, { ...inputs, sources }, opened.engine.info);
    if (locked !== null) demandLock(settings.lock!, locked, lock);
    await mkdir(directory, { recursive: true }).catch((error) => Promise.reject(cannot(error)));
    let ours = false;
    const work = inDirectory(directory, context, async (log) => {
      ours = true;
      const manifest: Manifest<C> = {
        v: 1,
        command,
        version: VERSION,
        created: new Date().toISOString(),
        template_time: inputs.model.template_time,
        settings,
        sources,
        engine: frozen(opened),
        earlier_engines: [],
        memory: null,
        hashes: { model: modelIdentity(inputs.model.files), ...hashes },
      };
      await writeLock(join(directory, LOCK), lock);
      await writeManifest(directory, manifest);
      const run = openTools(manifest, directory, context, { ...opened, log }, []);
      context.say(`Writing to ${directory}`);
      await run.emit({ type: 'run.started', command, version: VERSION });
      await run.say(engineSentence(manifest.engine));
      return body(run);
    });
    try {
      return await work;
    } catch (error) {
      if (ours && !(error instanceof Interrupted)) await removeUnlessWorkedIn(directory, isNew);
      throw error;
    }
  });
}

/** After bad input: a run that made nothing yet leaves nothing, so that the same command works once it is mended. */
async function removeUnlessWorkedIn(directory: string, isNew: boolean): Promise<void> {
  const names = await readdir(directory);
  if (!names.every((name) => [MANIFEST, LOCK, LOG, CONTAMINATION, PREFLIGHT].includes(name))) return;
  for (const name of names) await rm(join(directory, name));
  if (isNew) await rmdir(directory);
}

/** Settings that are paths; a checker is one where it is no name. */
const PATHS = ['scorer', 'checker', 'lock'] as const;
/** Settings that are lists of paths. */
const PATH_LISTS = ['data', 'eval_data', 'pairs', 'replay_pairs', 'contamination'] as const;

/** A resume may come from another working directory, and find a link to the model leading elsewhere. */
async function withAbsolutePaths<S extends Settings[RunCommand]>(settings: S): Promise<S> {
  const given: { readonly [Key in (typeof PATHS)[number]]?: string | undefined } & {
    readonly [Key in (typeof PATH_LISTS)[number]]?: readonly string[] | undefined;
  } = settings;
  const absolute = PATHS.flatMap((key) => {
    const path = given[key];
    return path === undefined || (key === 'checker' && !isModule(path)) ? [] : [[key, resolve(path)]];
  });
  const lists = PATH_LISTS.flatMap((key) => (given[key] ? [[key, given[key].map((file) => resolve(file))]] : []));
  const model = await linkedDirectory(resolve(settings.model));
  return { ...settings, ...Object.fromEntries([...absolute, ...lists]), model };
}

/** Opens a run directory again, with its engine or what `changes` say instead; the bodies find there what is done. */
export async function reopenRun<T>(
  directory: string,
  context: RecipeContext,
  changes: ResumeChanges,
  bodies: { readonly [C in RunCommand]: (run: Run<C>) => Promise<T> },
): Promise<T> {
  const manifest = await readManifest(directory);
  await bringBack(manifest.settings, manifest.sources, context);
  const hashes = await hashesOf(manifest.settings);
  for (const name of Object.keys(hashes) as (keyof Hashes)[]) {
    const was = manifest.hashes[name] ?? null;
    if (hashes[name] === was) continue;
    throw usageError({
      what: `${name} has changed since the run began (${shownValue(was)}, now ${shownValue(hashes[name])})`,
      where: `${join(directory, MANIFEST)}:hashes.${name}`,
      fix: 'bring the old files back, or start a new run',
    });
  }
  await demandModules(join(directory, LOCK), manifest.settings);
  const was = manifest.engine;
  const asked = Object.values(changes).some((value) => value !== undefined);
  const open = (options: OpenOptions) =>
    (context.openEngine ?? openEngine)(options).catch((error: unknown) =>
      Promise.reject(asked ? error : unavailable(was, directory, error)),
    );
  return withEngine(open, requestFor(was, changes, manifest.settings), (opened) => {
    const { info } = opened.engine;
    const same = isSame(was, info);
    if (!same && !asked) throw changed(was, info, directory);
    return inDirectory(directory, context, async (log) => {
      await removeLeftovers(directory);
      const supersedesFrom = await lastDurable(directory, log.nextSeq());
      const kept = await readRunLog(directory);
      const before = kept.filter(({ seq, type }) => seq < supersedesFrom || LASTING.has(type));
      const earlier = [...manifest.earlier_engines, { ...was, until: new Date().toISOString() }];
      // Another engine takes another amount of memory.
      const now = same ? manifest : { ...manifest, engine: frozen(opened), earlier_engines: earlier, memory: null };
      const run = openTools(now, directory, context, { ...opened, log }, before);
      await run.emit({ type: 'run.resumed', supersedesFrom });
      if (!same) {
        await writeManifest(directory, now);
        await run.emit({ type: 'engine.changed', from: was, to: info, reasons: [...now.engine.reasons] });
      }
      await run.say(engineSentence(now.engine));
      const body: (run: never) => Promise<T> = bodies[manifest.command];
      return body(run as never);
    });
  });
}

/** Has the run go on with these settings, now and after an interruption: for what does not touch anything that is there. */
export async function withSettings<C extends RunCommand>(run: Run<C>, changes: Partial<Settings[C]>): Promise<Run<C>> {
  const settings = { ...run.settings, ...changes };
  await writeManifest(run.directory, { ...(await readManifest(run.directory)), settings });
  return { ...run, settings };
}

/** Lock and log around a body; errors are logged, and everything is closed. */
async function inDirectory<T>(
  directory: string,
  context: RecipeContext,
  body: (log: RunLog) => Promise<T>,
): Promise<T> {
  const lock = await lockDirectory(directory);
  try {
    const log = await openRunLog(directory, context.onEvent ? { onEvent: context.onEvent } : {});
    try {
      return await body(log);
    } catch (error) {
      const none = { iteration: null, attempt: null, stage: null };
      const message = error instanceof Error ? error.message : String(error);
      // The log may be what failed (a full disk); the first error is the one to report.
      await log
        .emit(
          error instanceof Interrupted
            ? { ...none, type: 'run.interrupted', reason: 'signal' }
            : { ...none, type: 'run.failed', message },
        )
        .catch(() => undefined);
      throw error;
    } finally {
      await log.close();
    }
  } finally {
    await lock.release();
  }
}

/** @param before events that count, from the processes before this one */
function openTools<C extends RunCommand>(
  manifest: Manifest<C>,
  directory: string,
  context: RecipeContext,
  { engine, log }: OpenedEngine & { readonly log: RunLog },
  before: readonly RunEvent[],
): Run<C> {
  const { settings, engine: now, earlier_engines, template_time } = manifest;
  let plan = manifest.memory;
  const finished = before.filter(({ type }) => type === 'stage.finished');
  const attempts = new Map<number, number>();
  const emit: Run['emit'] = async (event) => {
    const attempt = event.iteration == null ? null : (attempts.get(event.iteration) ?? 0);
    await log.emit({ iteration: null, attempt, stage: null, ...event } as NewEvent);
  };
  return {
    directory,
    settings,
    context,
    engine,
    templateTime: template_time ?? undefined,
    inFull: [...earlier_engines, now].every(({ dtype }) => dtype === 'f32'),
    reductions: reductionsOf(before),
    plan: () => plan,
    freezePlan: async (found) => {
      plan = found;
      await writeManifest(directory, { ...(await readManifest(directory)), memory: found });
      const lock = join(directory, LOCK);
      if (!existsSync(lock)) return;
      const locked = await readLock(lock);
      const { micro_batch_tokens } = found;
      await writeLock(lock, { ...locked, settings: { ...locked.settings, micro_batch_tokens } });
    },
    attempts,
    log,
    before,
    finished: new Set(finished.map(stageKey)),
    emit,
    path: (...parts) => join(directory, ...parts),
    within: (path) => relative(directory, path).replaceAll('\\', '/'),
    say: async (message) => {
      context.say(message);
      await emit({ type: 'note', message });
    },
    warn: async (message) => {
      context.say(`Warning: ${message}`);
      await emit({ type: 'warning', message });
    },
    rest: async ({ loaded, tokenizer }, at) =>
      context.atRest?.({ engine, loaded, tokenizer, place: { step: null, ...at } }),
    checkSignal: () => {
      if (context.signal?.aborted) throw new Interrupted(directory);
    },
  };
}

/** Temporary files of this run's dead processes, at any depth. */
async function removeLeftovers(directory: string): Promise<void> {
  await removeStaleTemps(directory);
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeLeftovers(join(directory, entry.name));
  }
}

/** Where a run of this model goes that is given no directory, by the time of the call. */
export function defaultDirectory({ model }: { readonly model: string }): string {
  const stamp = new Date().toISOString().slice(0, 19).replace('T', '-').replaceAll(':', '');
  return join('runs', `${basename(resolve(model)).replace(/@.*$/, '')}-${stamp}`);
}
