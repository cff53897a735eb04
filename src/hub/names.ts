// Names of repositories, as they are typed: org/name@revision for models, org/name@revision:config:split for data sets.
// Notable choice: what looks like a path (begins with "." or "/", has a file's ending or another number of parts) is never
// taken for a repository, so that a misspelt path asks no server.

/** A repository of the Hub at a revision: a branch, a tag or a commit. */
export interface HubName {
  readonly kind: 'model' | 'dataset';
  /** org/name */
  readonly id: string;
  readonly revision: string;
  /** What stands behind the colons: config, then split; each may be empty. */
  readonly parts: readonly string[];
}

const MAIN = 'main';
/** 40 hex digits. */
export const COMMIT = /^[0-9a-f]{40}$/;

const PART = '[A-Za-z0-9](?:[\\w.-]{0,94}[\\w-])?';
const NAME = new RegExp(`^(${PART}/${PART})(?:@([^:@\\s]+))?((?::[^:@/\\s]*){0,2})$`);
const FILE = /\.(jsonl?|ndjson|csv|tsv|parquet|gz|txt|gguf|safetensors|ya?ml)$/i;

/** The repository that a name means, if it can mean one; whether something lies at that path is not looked at. */
export function hubName(kind: HubName['kind'], given: string): HubName | undefined {
  const [, id, revision = MAIN, behind = ''] = NAME.exec(given) ?? [];
  if (id === undefined || FILE.test(id) || /\.\.|--/.test(id)) return undefined;
  if (!isRevision(revision) || (kind === 'model' && behind !== '')) return undefined;
  return { kind, id, revision, parts: behind.split(':').slice(1) };
}

/** A revision becomes part of addresses and of paths in the cache. */
function isRevision(revision: string): boolean {
  return /^[\w][\w.+/-]*$/.test(revision) && !/\.\.|\/\/|\/$|\.lock$/.test(revision);
}

/** Whether a path of a repository stays inside the directory that it is joined to, on every system. */
export function isInnerPath(path: string): boolean {
  const parts = path.split('/');
  return parts.every((part) => !['', '.', '..'].includes(part) && !/[\\\0:]/.test(part)) && path.length < 1000;
}
