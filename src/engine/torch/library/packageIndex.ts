// The address of a wheel: asks a package index (PyPI or a mirror of it) in JSON (PEP 691), or HTML where it knows only that.
import { type Env, failure, type SelfplayError, type Web, type WebOptions, webClient } from '../../../util/index.ts';

const PYPI = 'https://pypi.org/simple';
const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';
const ACCEPT = `${JSON_TYPE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1`;

/** The index that pip would ask: PIP_INDEX_URL, or PyPI. Without a slash at its end. */
export function indexUrl(env: Env): string {
  const set = env['PIP_INDEX_URL'];
  return (set === undefined || set === '' ? PYPI : set).replace(/\/+$/, '');
}

/** Asks package indexes. */
export function indexClient(options: WebOptions): Web {
  return webClient(options, {
    refused,
    unreachable:
      'when the network is back run the same command again, it continues; without a network use a torch that is there: ' +
      '`selfplay engine use DIR`',
  });
}

function refused(where: string, status: number): SelfplayError {
  const fix =
    status === 401 || status === 403
      ? 'PIP_INDEX_URL may carry the name and password: https://NAME:PASSWORD@HOST/simple'
      : 'is PIP_INDEX_URL right? Or use a torch that is there: `selfplay engine use DIR`';
  return failure({ what: `the server refuses the file with status ${status}`, where, fix });
}

/** The address of a file of a project, absolute. Throws a failure when the index does not list it. */
export async function wheelUrl(web: Web, index: string, project: string, filename: string): Promise<string> {
  const page = `${index}/${project}/`;
  const { text, headers, url } = await web.text(page, ACCEPT);
  const type = headers.get('content-type') ?? '';
  const found = type.startsWith(JSON_TYPE) ? fromJson(text, filename) : fromHtml(text, filename);
  if (found !== undefined) return withCredentialsOf(new URL(found, url), page);
  throw failure({
    what: `the package index does not list ${filename}`,
    where: new URL(url).origin + new URL(url).pathname,
    fix: 'set PIP_INDEX_URL to an index that has it (PyPI has), or use a torch that is there: `selfplay engine use DIR`',
  });
}

function fromJson(text: string, filename: string): string | undefined {
  try {
    const { files } = JSON.parse(text) as { files?: { filename?: string; url?: string }[] };
    return files?.find((file) => file.filename === filename)?.url;
  } catch {
    return undefined;
  }
}

/** Links of the page whose last part is the file's name. */
function fromHtml(text: string, filename: string): string | undefined {
  for (const [, quoted, single] of text.matchAll(/<a\b[^>]*?\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')/gi)) {
    const href = (quoted ?? single ?? '').replaceAll('&amp;', '&');
    const path = href.replace(/[?#].*$/s, '');
    if (decodeURIComponent(path.slice(path.lastIndexOf('/') + 1)) === filename) return href.replace(/#.*$/s, '');
  }
  return undefined;
}

/** Files on the index's own host need its name and password too. */
function withCredentialsOf(file: URL, index: string): string {
  const { host, username, password } = new URL(index);
  if (file.host === host && file.username === '') {
    file.username = username;
    file.password = password;
  }
  return file.href;
}
