// One repository at one commit: its files, from the Hub or from the cache. What is fetched is checked by its hash before it
// gets its name, goes on where it was cut, and appears in the snapshot only when all that was asked for is there.
import { open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  demandRoom,
  type Env,
  failure,
  isUnreachable,
  lockDirectory,
  SelfplayError,
  type StartBar,
  saveError,
  usageError,
  type WebOptions,
  withByteBar,
} from '../util/index.ts';
import { type HubApi, hubApi, type RepoFile } from './api.ts';
import {
  cachedCommit,
  cachedFiles,
  contentHash,
  isCached,
  keepCommit,
  keepFiles,
  made,
  place,
  type RepoCache,
  repoCache,
  snapshotFiles,
} from './cache.ts';
import { type HubEnvironment, hubEnvironment } from './environment.ts';
import { COMMIT, type HubName, isInnerPath } from './names.ts';

/** What the caller gives besides a name. */
export interface HubOptions extends WebOptions {
  readonly env?: Env | undefined;
  readonly say?: ((sentence: string) => void) | undefined;
  readonly progress?: StartBar | undefined;
}

export interface Repository {
  readonly name: HubName;
  readonly commit: string;
  /** Paths of its files, as the server says them; without a listing, of those that the cache has. */
  readonly paths: readonly string[];
  /** Brings these files here; they lie in the directory that is returned, under their paths. */
  readonly fetch: (paths: readonly string[]) => Promise<string>;
  /** All that is needed is here: from now on the cache means this commit by the revision. */
  readonly keep: () => Promise<void>;
}

/** Waits between two looks at a repository that another process fetches; milliseconds. */
const LOOK_AGAIN_MS = 500;

/**
 * Finds out which commit is meant, and its files.
 * @param given the name as it was typed, for messages
 * @throws usage errors for what is not there or may not be seen; failures for what goes wrong on the way
 */
export async function openRepository(name: HubName, given: string, options: HubOptions): Promise<Repository> {
  const { env = process.env, say = () => undefined } = options;
  const hub = await hubEnvironment(env);
  const cache = repoCache(hub.cache, name);
  const absent = (why: string, cause?: unknown) => notCached(name, given, cache.folder, why, cause);
  if (hub.offline) return fromCache(name, cache, absent, 'HF_HUB_OFFLINE is set');
  const api = hubApi(hub, name, given, options);
  try {
    const commit = COMMIT.test(name.revision) ? name.revision : await api.commitOf();
    const known = await cachedFiles(cache, commit);
    const files = known ?? (await api.filesOf(commit));
    if (known === undefined) await keepFiles(cache, commit, files);
    return fromHub(name, { hub, cache, api, commit, files }, options);
  } catch (error) {
    if (!isUnreachable(error)) throw error;
    const why = `${new URL(hub.endpoint).host} cannot be reached`;
    const found = await fromCache(name, cache, absent, why, error);
    say(`${why}: the cache has ${name.id}@${found.commit.slice(0, 12)}, which is used.`);
    return found;
  }
}

async function fromCache(
  name: HubName,
  cache: RepoCache,
  absent: (why: string, cause?: unknown) => Error,
  why: string,
  cause?: unknown,
): Promise<Repository> {
  const commit = COMMIT.test(name.revision) ? name.revision : await cachedCommit(cache, name.revision);
  const there = commit === undefined ? [] : await snapshotFiles(cache.snapshot(commit));
  if (commit === undefined || there.length === 0) throw absent(why, cause);
  const files = await cachedFiles(cache, commit);
  return {
    name,
    commit,
    paths: files?.map(({ path }) => path) ?? there,
    fetch: async (paths) => {
      const snapshot = cache.snapshot(commit);
      const present = new Set(there);
      const missing = paths.filter((path) => !present.has(path));
      for (const path of paths) {
        // A link may lead to a blob that is gone.
        if (present.has(path) && !(await stat(join(snapshot, path)).catch(() => undefined))) missing.push(path);
      }
      if (missing.length === 0) return snapshot;
      throw usageError({
        what: `${why}, and the cache has not all of ${name.id}: ${missing.slice(0, 5).join(', ')}${missing.length > 5 ? ', …' : ''}`,
        where: snapshot,
        fix: 'run the command once with a network',
        cause,
      });
    },
    keep: async () => undefined,
  };
}

function notCached({ kind, id, revision }: HubName, given: string, where: string, why: string, cause: unknown): Error {
  return usageError({
    what: `there is no "${given}" here, and the ${kind === 'model' ? 'model' : 'data set'} ${id}@${revision} is not in the cache (${why})`,
    where,
    fix: 'check the name or the path; or run the command once with a network, after which it needs none',
    cause,
  });
}

interface Source {
  readonly hub: HubEnvironment;
  readonly cache: RepoCache;
  readonly api: HubApi;
  readonly commit: string;
  readonly files: readonly RepoFile[];
}

function fromHub(name: HubName, source: Source, options: HubOptions): Repository {
  const { cache, commit, files } = source;
  return {
    name,
    commit,
    paths: files.map(({ path }) => path),
    fetch: async (paths) => {
      const wanted = new Set(paths);
      const asked = files.filter(({ path }) => wanted.has(path));
      const outside = asked.find(({ path }) => !isInnerPath(path));
      if (outside !== undefined) {
        throw failure({
          what: `the listing of ${name.id} has a file outside of it: ${JSON.stringify(outside.path)}`,
          where: source.hub.endpoint,
          fix: 'do not use this repository',
        });
      }
      await fetchMissing(name, source, asked, options);
      return cache.snapshot(commit);
    },
    keep: () => keepCommit(cache, name.revision, commit),
  };
}

async function fetchMissing(
  { id }: HubName,
  source: Source,
  files: readonly RepoFile[],
  options: HubOptions,
): Promise<void> {
  const { cache, commit } = source;
  const missing = async () => {
    const found: RepoFile[] = [];
    for (const file of files) if (!(await isCached(cache, commit, file))) found.push(file);
    return found;
  };
  if ((await missing()).length === 0) return;
  const lock = await lockWhenFree(id, await made(cache.locks), options);
  try {
    // Another process may have fetched them while this one waited.
    const wanted = await missing();
    const blobs = join(cache.folder, 'blobs');
    await made(blobs);
    const bytes = wanted.reduce((sum, { size }) => sum + size, 0);
    await demandRoom(bytes, blobs, 'free disk space, or let HF_HUB_CACHE name a folder on another disk');
    await withByteBar(options.progress, `Fetching ${id}`, bytes, async (count) => {
      for (const file of wanted) await fetchBlob(source, file, count);
    });
    for (const file of wanted) await place(cache, commit, file);
  } finally {
    await lock.release();
  }
}

/** Waits for other processes that fetch from the same repository. */
async function lockWhenFree(
  id: string,
  directory: string,
  { say, signal, pause = (ms) => sleep(ms, undefined, signal && { signal }) }: HubOptions,
): Promise<{ release(): Promise<void> }> {
  for (let waited = false; ; waited = true) {
    try {
      return await lockDirectory(directory);
    } catch (error) {
      if (!(error instanceof SelfplayError) || error.kind !== 'usage') throw error;
      const process = /process \d+/.exec(error.what)?.[0] ?? 'another process';
      if (!waited) say?.(`Waiting for ${process}, which fetches from ${id} as well.`);
    }
    // Two that start together may both have given way.
    await pause(LOOK_AGAIN_MS * (1 + Math.random())).catch(() => {
      throw failure({
        what: 'stopped while waiting for another process',
        fix: 'run the command again',
        code: 'stopped',
      });
    });
  }
}

/** Brings one blob into the cache. A wrong one is thrown away and fetched anew, once. */
async function fetchBlob(
  { cache, api, commit }: Source,
  file: RepoFile,
  onBytes: (count: number) => void,
): Promise<void> {
  const blob = cache.blob(file);
  const { size, path } = file;
  if ((await stat(blob).catch(() => undefined))?.size === size) return onBytes(size);
  const partial = `${blob}.incomplete`;
  const address = api.addressOf(commit, path);
  const expected = file.sha256 ?? file.blobId;
  for (let attempt = 0; ; attempt++) {
    let arrived = 0;
    const count = (bytes: number) => {
      arrived += bytes;
      onBytes(bytes);
    };
    // An empty file has no bytes to ask for.
    if (size === 0) await (await open(partial, 'w')).close();
    else if (!(await api.web.download(address, { from: 0, length: size, size }, partial, count))) {
      await api.web.downloadWhole(address, size, partial, count);
    }
    const found = await contentHash(partial, file);
    if (found === expected) break;
    await rm(partial, { force: true });
    onBytes(-arrived);
    if (attempt === 1) {
      throw failure({
        what: `${path} is not what the listing says: its hash is ${found}, not ${expected}`,
        where: address,
        fix: 'try again later, or from another network',
      });
    }
  }
  try {
    const handle = await open(partial, 'r+');
    await handle.sync().finally(() => handle.close());
    await rename(partial, blob);
  } catch (error) {
    throw saveError(error, blob);
  }
}
