// Names of repositories, as they are typed: org/name@revision for models, with :FILE.gguf or a part of such a name behind it
// where there are several; org/name@revision:config:split for data sets.
// Notable choice: what looks like a path (begins with "." or "/", has a file's ending or another number of parts) is never
// taken for a repository, so that a misspelt path asks no server.

/** A repository of the Hub at a revision: a branch, a tag or a commit. */
export interface HubName {
  readonly kind: 'model' | 'dataset';
  /** org/name */
  readonly id: string;
  readonly revision: string;
  /** What stands behind the colons: of a data set config, then split, each of which may be empty; of a model one GGUF file. */
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
  const parts = behind.split(':').slice(1);
  if (!isRevision(revision) || (kind === 'model' && (parts.length > 1 || parts[0] === ''))) return undefined;
  return { kind, id, revision, parts };
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

const IN_CACHE = /(?:^|[\\/])(models|datasets)--([^\\/]+)[\\/]snapshots[\\/]([0-9a-f]{40})(?:[\\/](.+))?$/;

/**
 * A path as a person would name it: what lies in the Hub's cache by its repository, anything else as it is.
 * @returns of a model org/name@COMMIT or org/name@COMMIT:FILE, which can be given as --model; of a file of data org/name/PATH
 */
export function shownPath(path: string): string {
  const [, kind, name, commit, inner] = IN_CACHE.exec(path) ?? [];
  if (name === undefined) return path;
  const id = name.replace('--', '/');
  if (kind === 'datasets') return inner === undefined ? id : `${id}/${inner.replaceAll('\\', '/')}`;
  return `${id}@${commit}${inner === undefined ? '' : `:${inner}`}`;
}
