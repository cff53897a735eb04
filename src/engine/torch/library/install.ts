// `selfplay engine install torch`: the few files of torch that the engine loads, out of the wheels of a package index.
// Members of a wheel are fetched one by one; only from servers that do not serve parts of files, the whole wheel is. What
// arrived stays in a folder beside the target until all is there, so that another call goes on with it; every file's
// SHA-256 is in pins.ts; the target appears at once, complete.
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  demandRoom,
  diskIo,
  type Env,
  exists,
  failure,
  hashFile,
  lockDirectory,
  megabytes,
  publishDirectory,
  readManifest,
  SelfplayError,
  type StartBar,
  saveError,
  usageError,
  type Web,
  type WebOptions,
  withByteBar,
} from '../../../util/index.ts';
import { installFolder, PLATFORMS, type Platform, platformOf } from './locations.ts';
import { indexClient, indexUrl, wheelUrl } from './packageIndex.ts';
import { PINS, type PinnedFile, type PinnedWheel, TORCH_VERSION } from './pins.ts';
import { dataOffset, type ReadAt, unpackMember, type ZipMember, zipMembers } from './zip.ts';

const OURS_FIX = 'use a torch that is there: `selfplay engine use DIR`';
const LICENCES: Readonly<Record<string, string>> = {
  torch:
    'torch is under the BSD 3-clause licence, the OpenMP runtime beside it under its own (GPL with exception, or LLVM)',
  nvidia: 'cupti and cudart (on Arm NVPL too), without which it does not load, are under the licences of NVIDIA',
};

export interface InstallOptions extends WebOptions {
  readonly env?: Env;
  /** What is fetched; default: pins of this machine's platform. */
  readonly pins?: readonly PinnedWheel[];
  readonly say?: (sentence: string) => void;
  /** Starts a bar. */
  readonly progress?: StartBar | undefined;
}

/**
 * Installs torch into the cache folder, or does nothing where it is complete already.
 * @returns the folder, and whether anything was fetched
 * @throws usage error where there is no torch for the platform; failures name file or address
 */
export async function installTorch(options: InstallOptions = {}): Promise<{ directory: string; fetched: boolean }> {
  const { env = process.env, say = () => undefined } = options;
  const platform = demandPlatform();
  const pins = options.pins ?? PINS[platform];
  const directory = installFolder(env, TORCH_VERSION, platform);
  if (await isComplete(directory)) return { directory, fetched: false };

  const partial = `${directory}.partial`;
  await mkdir(partial, { recursive: true }).catch((error: unknown) => {
    throw saveError(error, partial);
  });
  const lock = await lockPartial(partial);
  try {
    // Another process may have finished while this one came here.
    if (await isComplete(directory)) return { directory, fetched: false };
    const index = indexUrl(env);
    announce(say, pins, directory, index);
    await demandRoomFor(pins, partial);
    const web = indexClient(options);
    for (const wheel of pins) await fetchWheel({ ...options, web, index, partial }, wheel);
    await publishDirectory(directory, async (temporary) => {
      for (const { name } of pins.flatMap(({ files }) => files))
        await rename(join(partial, name), join(temporary, name));
    });
    await rm(partial, { recursive: true, force: true });
    return { directory, fetched: true };
  } finally {
    await lock.release();
  }
}

/** Bytes to fetch and bytes installed, on this machine; undefined where there is no torch for it. */
export function installSize(): { readonly packed: number; readonly size: number } | undefined {
  const platform = platformOf(process);
  if (platform === undefined) return undefined;
  const files = PINS[platform].flatMap((wheel) => wheel.files);
  return { packed: total(files, 'packed'), size: total(files, 'size') };
}

/** The platform, if there is a torch for it. */
function demandPlatform(): Platform {
  const platform = platformOf(process);
  if (platform === undefined) {
    const what = `there is no torch for ${process.platform} on ${process.arch}; there is for ${PLATFORMS.join(', ')}`;
    throw usageError({ what, fix: 'the engine onnx works here' });
  }
  if (process.platform === 'linux' && !hasGlibc()) {
    const what = "torch's library needs glibc, and this system has another C library (musl, on Alpine)";
    throw usageError({ what, fix: 'the engine onnx works here' });
  }
  return platform;
}

function hasGlibc(): boolean {
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime !== undefined;
}

async function isComplete(directory: string): Promise<boolean> {
  if (!(await exists(directory))) return false;
  // A damaged folder is replaced.
  return readManifest(directory).then(
    (files) => files !== undefined,
    () => false,
  );
}

async function lockPartial(partial: string): Promise<{ release(): Promise<void> }> {
  try {
    return await lockDirectory(partial);
  } catch (error) {
    if (!(error instanceof SelfplayError) || error.kind !== 'usage') throw error;
    const process = /process \d+/.exec(error.what)?.[0] ?? 'another process';
    const fix = 'wait until it is done; this command then finds it installed';
    throw failure({ what: `torch is being installed by ${process}`, where: partial, fix });
  }
}

/** Size, source and licences, before anything is fetched. */
function announce(
  say: (sentence: string) => void,
  pins: readonly PinnedWheel[],
  directory: string,
  index: string,
): void {
  const files = pins.flatMap((wheel) => wheel.files);
  const { protocol, host, pathname } = new URL(index);
  say(
    `torch ${TORCH_VERSION}: ${megabytes(total(files, 'packed'))} MB to fetch from ${protocol}//${host}${pathname}, ` +
      `${megabytes(total(files, 'size'))} MB in ${directory}`,
  );
  for (const [key, text] of Object.entries(LICENCES)) {
    if (pins.some(({ project }) => project.startsWith(key))) say(`  ${text}.`);
  }
}

const total = (files: readonly PinnedFile[], key: 'packed' | 'size'): number =>
  files.reduce((sum, file) => sum + file[key], 0);

/** Room for what is not yet there: packed, and unpacked beside it. */
async function demandRoomFor(pins: readonly PinnedWheel[], partial: string): Promise<void> {
  let needed = 0;
  for (const { name, size, packed } of pins.flatMap(({ files }) => files)) {
    if (await exists(join(partial, name))) continue;
    needed += size + packed - ((await diskIo.stat(join(partial, `${name}.part`)))?.size ?? 0);
  }
  await demandRoom(needed, partial, 'free disk space, or let SELFPLAY_CACHE name a folder on another disk');
}

interface Job extends InstallOptions {
  readonly web: Web;
  readonly index: string;
  /** The folder of what arrived so far. */
  readonly partial: string;
}

/** Brings the wanted files of one wheel into the partial folder, each checked. */
async function fetchWheel(job: Job, wheel: PinnedWheel): Promise<void> {
  const missing: PinnedFile[] = [];
  for (const file of wheel.files) if (!(await isGood(join(job.partial, file.name), file))) missing.push(file);
  if (missing.length === 0) return;
  const url = await wheelUrl(job.web, job.index, wheel.project, wheel.filename);
  if (await fetchMembers(job, wheel, missing, url)) return;
  job.say?.(`This server does not serve parts of files: the whole of ${wheel.filename} is fetched.`);
  const whole = join(job.partial, wheel.filename);
  await withByteBar(job.progress, `Fetching ${wheel.project}`, wheel.size, (count) =>
    job.web.downloadWhole(url, wheel.size, whole, count),
  );
  const read: ReadAt = (from, length) => readFrom(whole, from, length);
  const members = await zipMembers(read, wheel.size, url);
  for (const file of missing) {
    const member = memberOf(members, file, url);
    await unpack(job, whole, await dataOffset(read, member, url), member, file, url);
  }
  await rm(whole, { force: true });
}

/** Fetches member by member. @returns false when the server does not serve ranges */
async function fetchMembers(job: Job, wheel: PinnedWheel, files: readonly PinnedFile[], url: string): Promise<boolean> {
  const { web, partial } = job;
  const read: ReadAt = async (from, length) => {
    const bytes = await web.range(url, from, length);
    if (bytes === undefined) throw new NoRanges();
    return bytes;
  };
  try {
    const members = await zipMembers(read, wheel.size, url);
    await withByteBar(job.progress, `Fetching ${wheel.project}`, total(files, 'packed'), async (count) => {
      for (const file of files) {
        const member = memberOf(members, file, url);
        const part = join(partial, `${file.name}.part`);
        const from = await dataOffset(read, member, url);
        if (!(await web.download(url, { from, length: member.packed }, part, count))) throw new NoRanges();
        await unpack(job, part, 0, member, file, url);
        await rm(part, { force: true });
      }
    });
    return true;
  } catch (error) {
    if (error instanceof NoRanges) return false;
    throw error;
  }
}

/** The server does not serve ranges: known only here. */
class NoRanges extends Error {}

function memberOf(members: ReadonlyMap<string, ZipMember>, file: PinnedFile, url: string): ZipMember {
  const member = members.get(file.member);
  if (member?.packed === file.packed) return member;
  throw strange(`the wheel has no ${file.member} of ${file.packed} bytes`, url);
}

/** Unpacks and checks; what is wrong is thrown away, so that another call fetches it anew. */
async function unpack(
  { partial, signal }: Job,
  from: string,
  start: number,
  member: ZipMember,
  file: PinnedFile,
  url: string,
): Promise<void> {
  const unpacked = join(partial, `${file.name}.unpacked`);
  let sha256: string | undefined;
  try {
    sha256 = await unpackMember(from, start, member, unpacked, signal);
  } catch (error) {
    if (signal?.aborted) {
      throw failure({ what: 'stopped; what was fetched is kept', code: 'stopped', cause: error });
    }
    throw saveError(error, unpacked);
  }
  if (sha256 !== file.sha256) {
    await rm(from, { force: true });
    await rm(unpacked, { force: true });
    throw strange(`${file.member} is not what it should be: its SHA-256 is ${sha256 ?? 'none, as it is damaged'}`, url);
  }
  await rename(unpacked, join(partial, file.name));
}

function strange(what: string, where: string): SelfplayError {
  return failure({ what, where, fix: `run the same command again; if that does not help, ${OURS_FIX}` });
}

async function isGood(path: string, { size, sha256 }: PinnedFile): Promise<boolean> {
  if ((await diskIo.stat(path))?.size !== size) return false;
  return (await hashFile(path)).sha256 === sha256;
}

async function readFrom(path: string, from: number, length: number): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const bytes = new Uint8Array(length);
    await file.read(bytes, 0, length, from);
    return bytes;
  } finally {
    await file.close();
  }
}
