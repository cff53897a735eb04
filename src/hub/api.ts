// What the Hub is asked: which commit a revision is, and which files a commit has, with sizes and hashes.
import { failure, type SelfplayError, usageError, type Web, type WebOptions, webClient } from '../util/index.ts';
import type { HubEnvironment } from './environment.ts';
import { COMMIT, type HubName } from './names.ts';

/** A file of a commit. */
export interface RepoFile {
  /** From the root of the repository, with forward slashes; as the server says it, so perhaps not inside any directory. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** SHA-1 of its git object (of a file in LFS: of the pointer), in hex. */
  readonly blobId: string;
  /** SHA-256 in hex; only of files in LFS. */
  readonly sha256?: string | undefined;
}

/** Pages of a listing that are read: a thousand files each. */
const MAX_PAGES = 200;
const SHA1 = /^[0-9a-f]{40}$/;
const SHA256 = /^[0-9a-f]{64}$/;

export interface HubApi {
  /** @throws usage error when there is no such repository or revision, or no right to see it */
  readonly commitOf: () => Promise<string>;
  readonly filesOf: (commit: string) => Promise<RepoFile[]>;
  readonly addressOf: (commit: string, path: string) => string;
  readonly web: Web;
}

/** Asks about one repository. `given`: the name as it was typed. */
export function hubApi(
  { endpoint, token }: Pick<HubEnvironment, 'endpoint' | 'token'>,
  name: HubName,
  given: string,
  options: WebOptions,
): HubApi {
  const { kind, id, revision } = name;
  const { host, origin } = new URL(endpoint);
  const api = `${endpoint}/api/${kind}s/${id}`;
  const web = webClient(options, {
    // Addresses come from the server's own listings too: the token is for the endpoint alone.
    secrets: (address) =>
      token !== undefined && new URL(address).origin === origin ? { authorization: `Bearer ${token}` } : {},
    refused: (where, status, headers) => refusal({ name, given, endpoint, token }, where, status, headers),
    unreachable:
      'when the network is back run the same command again, it continues; HF_ENDPOINT may name a mirror; what is in the cache ' +
      'can be used without a network',
  });
  const strange = (what: string, where: string) =>
    failure({ what: `${host} answers what the Hub does not: ${what}`, where, fix: 'is HF_ENDPOINT right?' });

  async function json(url: string): Promise<{ value: unknown; headers: Headers; at: string }> {
    const { text, headers, url: at } = await web.text(url, 'application/json');
    try {
      return { value: JSON.parse(text), headers, at };
    } catch {
      throw strange('no JSON', url);
    }
  }

  return {
    web,
    commitOf: async () => {
      const url = `${api}/revision/${encodeURIComponent(revision)}`;
      const { sha } = ((await json(url)).value ?? {}) as { sha?: unknown };
      if (typeof sha !== 'string' || !COMMIT.test(sha)) throw strange('no commit', url);
      return sha;
    },
    filesOf: async (commit) => {
      const files: RepoFile[] = [];
      let url: string | undefined = `${api}/tree/${commit}?recursive=true&expand=false`;
      for (let page = 0; url !== undefined; page++) {
        if (page === MAX_PAGES) throw strange(`a listing of more than ${MAX_PAGES} pages`, api);
        const { value, headers, at }: Awaited<ReturnType<typeof json>> = await json(url);
        if (!Array.isArray(value)) throw strange('no list of files', url);
        for (const entry of value) {
          const file = fileOf(entry);
          if (file === 'wrong')
            throw strange(`a file without a size or a hash: ${JSON.stringify(entry).slice(0, 200)}`, url);
          if (file !== undefined) files.push(file);
        }
        const [, next] = /<([^>]+)>\s*;[^,]*\brel="?next"?/.exec(headers.get('link') ?? '') ?? [];
        url = next === undefined ? undefined : new URL(next, at).href;
      }
      return files;
    },
    addressOf: (commit, path) => {
      const inner = path.split('/').map(encodeURIComponent).join('/');
      return `${endpoint}/${kind === 'dataset' ? 'datasets/' : ''}${id}/resolve/${commit}/${inner}`;
    },
  };
}

/** An entry of a listing; undefined for a folder. */
function fileOf(entry: unknown): RepoFile | 'wrong' | undefined {
  const { type, path, size, oid, lfs } = (entry ?? {}) as Record<string, unknown>;
  if (type === 'directory') return undefined;
  const { oid: sha256, size: full } = (lfs ?? {}) as Record<string, unknown>;
  return checkedFile({ path, size: full ?? size, blobId: oid, sha256 }) ?? 'wrong';
}

/** A file of a listing; undefined when it has not what a file needs. Sizes and hashes become parts of paths and of sums. */
export function checkedFile(file: { readonly [Key in keyof RepoFile]?: unknown }): RepoFile | undefined {
  const { path, size, blobId, sha256 } = file;
  if (typeof path !== 'string' || !Number.isSafeInteger(size) || (size as number) < 0) return undefined;
  if (typeof blobId !== 'string' || !SHA1.test(blobId)) return undefined;
  if (sha256 !== undefined && (typeof sha256 !== 'string' || !SHA256.test(sha256))) return undefined;
  return { path, size: size as number, blobId, ...(sha256 === undefined ? {} : { sha256 }) };
}

/** What is wrong when the Hub says no; the Hub says the same of what is private and of what is not there. */
function refusal(
  { name, given, endpoint, token }: { name: HubName; given: string; endpoint: string; token: string | undefined },
  where: string,
  status: number,
  headers: Headers,
): SelfplayError {
  const { kind, id, revision } = name;
  const what = kind === 'model' ? 'model' : 'data set';
  const code = headers.get('x-error-code');
  const message =
    headers
      .get('x-error-message')
      ?.replace(/[^\x20-\x7e]/g, '?')
      .slice(0, 300) ?? '';
  const { host } = new URL(endpoint);
  const page = `${endpoint}/${kind === 'dataset' ? 'datasets/' : ''}${id}`;
  if (code === 'GatedRepo') {
    return usageError({
      what: `the ${what} ${id} on ${host} is for those who accepted its terms`,
      where,
      fix:
        `accept them on ${page}, then set HF_TOKEN to a token of that account` +
        (token === undefined ? '' : ' (the one that is set has no access)'),
    });
  }
  if (code === 'RevisionNotFound') {
    return usageError({
      what: `the ${what} ${id} on ${host} has no revision "${revision}"`,
      where,
      fix: `name a branch, a tag or a commit of it: ${page}/tree/main`,
    });
  }
  if (code === 'EntryNotFound') {
    return failure({
      what: `the file is in the listing of ${id} and is not there`,
      where,
      fix: 'try again later, or name an older commit: org/name@COMMIT',
    });
  }
  if (status === 401 && token !== undefined && /credentials|token/i.test(message)) {
    return usageError({
      what: `${host} does not accept the token`,
      where,
      fix: 'set HF_TOKEN to a valid token, or unset it (and see `hf auth whoami`)',
    });
  }
  if (status === 401 || status === 403 || status === 404) {
    return usageError({
      what:
        `there is no "${given}" here, and no ${what} ${id} on ${host}` +
        `${status === 404 && token !== undefined ? '' : ' that may be seen'}${message === '' ? '' : ` (${message})`}`,
      where,
      fix:
        'check the name or the path; for a private or gated one ' +
        (token === undefined ? 'set HF_TOKEN' : 'use a token that has access (HF_TOKEN)'),
    });
  }
  return failure({
    what: `${host} refuses with status ${status}${message === '' ? '' : `: ${message}`}`,
    where,
    fix: 'is HF_ENDPOINT right?',
  });
}
