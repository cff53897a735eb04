// Hugging Face's cache, so that Python finds what was fetched here, and the reverse:
//   models--org--name/blobs/HASH                    contents, by SHA-256 (files in LFS) or git's SHA-1
//   models--org--name/snapshots/COMMIT/path         relative links to them; copies where the system has no links
//   models--org--name/refs/REVISION                 the commit that a branch or tag was when it was asked for last
//   models--org--name/trees/COMMIT.json             the listing of a commit, as huggingface_hub 2 keeps it
//   .locks/models--org--name/                       claims of processes that fetch
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, link, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { hashFile, saveError, writeFileAtomic } from '../util/index.ts';
import { checkedFile, type RepoFile } from './api.ts';
import { COMMIT, type HubName } from './names.ts';

const TREE_FORMAT = 1;

/** The parts of the cache that belong to one repository. */
export interface RepoCache {
  readonly folder: string;
  /** Where processes that fetch are seen. */
  readonly locks: string;
  readonly snapshot: (commit: string) => string;
  readonly blob: (file: RepoFile) => string;
}

export function repoCache(cache: string, { kind, id }: Pick<HubName, 'kind' | 'id'>): RepoCache {
  const name = [`${kind}s`, ...id.split('/')].join('--');
  const folder = join(cache, name);
  return {
    folder,
    locks: join(cache, '.locks', name),
    snapshot: (commit) => join(folder, 'snapshots', commit),
    blob: ({ blobId, sha256 }) => join(folder, 'blobs', sha256 ?? blobId),
  };
}

/** The commit that a revision was; undefined where the cache does not know. */
export async function cachedCommit({ folder }: RepoCache, revision: string): Promise<string | undefined> {
  const text = await readFile(join(folder, 'refs', revision), 'utf8').catch(() => '');
  return COMMIT.test(text.trim()) ? text.trim() : undefined;
}

export async function keepCommit(repo: RepoCache, revision: string, commit: string): Promise<void> {
  if (revision === commit || (await cachedCommit(repo, revision)) === commit) return;
  const path = join(repo.folder, 'refs', revision);
  await made(dirname(path));
  await writeFileAtomic(path, commit);
}

/** The listing of a commit; undefined where there is none that can be read. */
export async function cachedFiles({ folder }: RepoCache, commit: string): Promise<RepoFile[] | undefined> {
  try {
    const { format_version, files } = JSON.parse(await readFile(treeFile(folder, commit), 'utf8')) as {
      format_version?: unknown;
      files?: Record<string, { size?: unknown; blob_id?: unknown; lfs_sha256?: unknown; lfs_size?: unknown }>;
    };
    if (format_version !== TREE_FORMAT) return undefined;
    const found = Object.entries(files ?? {}).map(([path, { size, blob_id, lfs_sha256, lfs_size }]) =>
      checkedFile({ path, size: lfs_size ?? size, blobId: blob_id, sha256: lfs_sha256 ?? undefined }),
    );
    return found.every((file) => file !== undefined) ? found : undefined;
  } catch {
    return undefined;
  }
}

export async function keepFiles({ folder }: RepoCache, commit: string, files: readonly RepoFile[]): Promise<void> {
  const entries = files.map(({ path, size, blobId, sha256 }) => [
    path,
    { size, blob_id: blobId, ...(sha256 === undefined ? {} : { lfs_sha256: sha256, lfs_size: size }) },
  ]);
  const tree = { format_version: TREE_FORMAT, files: Object.fromEntries(entries) };
  await made(join(folder, 'trees'));
  await writeFileAtomic(treeFile(folder, commit), JSON.stringify(tree, null, 1));
}

const treeFile = (folder: string, commit: string) => join(folder, 'trees', `${commit}.json`);

/** Whether a snapshot has a file, by its size. */
export async function isCached(repo: RepoCache, commit: string, { path, size }: RepoFile): Promise<boolean> {
  const found = await stat(join(repo.snapshot(commit), path)).catch(() => undefined);
  return found?.isFile() === true && found.size === size;
}

/** Paths of the files that a snapshot has, with forward slashes, in order; none where there is no snapshot. */
export async function snapshotFiles(snapshot: string): Promise<string[]> {
  const names = await readdir(snapshot, { recursive: true, withFileTypes: true }).catch(() => []);
  return names
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(snapshot, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .sort();
}

/** Makes a blob appear in a snapshot: a relative link; where there are none a hard link or a copy. */
export async function place(repo: RepoCache, commit: string, file: RepoFile): Promise<void> {
  const path = join(repo.snapshot(commit), file.path);
  const blob = repo.blob(file);
  await made(dirname(path));
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await rm(temporary, { force: true });
    await symlink(relative(dirname(path), blob), temporary).catch(() =>
      link(blob, temporary).catch(() => copyFile(blob, temporary)),
    );
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw saveError(error, path);
  }
}

/** The hash of a file on disk that its listing has: SHA-256, or that of a git object. */
export async function contentHash(path: string, { sha256, size }: RepoFile): Promise<string> {
  if (sha256 !== undefined) return (await hashFile(path)).sha256;
  const hash = createHash('sha1').update(`blob ${size}\0`);
  for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  return hash.digest('hex');
}

/** A directory with all above it. */
export async function made(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true }).catch((error: unknown) => {
    throw saveError(error, directory);
  });
  return directory;
}
