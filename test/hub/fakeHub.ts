// A Hub on this machine: its API, files, redirects to another origin for those in LFS, and misbehaviour as a test says.
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import type { HubOptions } from '../../src/hub/index.ts';
import { tempDir } from '../util/temp.ts';

export const COMMIT = 'c0ffee'.padEnd(40, '0');
export const OTHER_COMMIT = 'beef'.padEnd(40, '1');

/** Files of a repository by path; those of a Buffer are in LFS, texts in git. */
export type Files = Readonly<Record<string, string | Buffer>>;

export interface FakeRepo {
  readonly files: Files;
  /** Revisions besides main, with their commits and files. */
  readonly revisions?: Readonly<Record<string, { readonly commit: string; readonly files: Files }>>;
  /** Only for a token of this text. */
  readonly token?: string;
  readonly gated?: boolean;
}

export interface Asked {
  readonly method: string;
  /** On which of the two servers. */
  readonly server: 'hub' | 'cdn';
  readonly path: string;
  readonly range: number | undefined;
  readonly authorization: string | undefined;
}

/** How one request is answered; undefined: as it should be. */
export interface Answer {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
  /** The connection breaks after so many bytes; with `hang` it stays open and silent. */
  readonly cutAfter?: number;
  readonly hang?: boolean;
  /** Bytes are turned over. */
  readonly corrupt?: boolean;
  /** The whole file, whatever part is asked for. */
  readonly whole?: boolean;
}

export interface FakeHub {
  readonly url: string;
  readonly cdn: string;
  readonly asked: Asked[];
  /** Bytes of contents that were sent. */
  sent(): number;
}

export const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest('hex');
export const gitSha1 = (data: string | Buffer) =>
  createHash('sha1')
    .update(`blob ${Buffer.byteLength(data)}\0`)
    .update(data)
    .digest('hex');

/** Bytes that look like nothing else. */
export function noise(length: number, seed = ''): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / 32) }, (_, i) =>
    createHash('sha256').update(`${seed}${i}`).digest(),
  );
  return Buffer.concat(blocks).subarray(0, length);
}

/** Starts it. `repos`: by "models/org/name" or "datasets/org/name". `answer` is asked at each request. */
export async function fakeHub(
  repos: Readonly<Record<string, FakeRepo>>,
  answer: (asked: Asked, number: number) => Answer | undefined = () => undefined,
  { page = 1000 }: { page?: number } = {},
): Promise<FakeHub> {
  const asked: Asked[] = [];
  let sent = 0;

  function serve(
    server: Asked['server'],
    handle: (url: URL, response: ServerResponse, request: IncomingMessage) => void,
  ) {
    return createServer((request, response) => {
      const { authorization, range } = request.headers;
      const from = /^bytes=(\d+)-/.exec(range ?? '')?.[1];
      const one: Asked = {
        method: request.method!,
        server,
        path: request.url!,
        range: from === undefined ? undefined : Number(from),
        authorization,
      };
      asked.push(one);
      const change = answer(one, asked.length - 1);
      if (change?.status !== undefined) {
        return void response.writeHead(change.status, change.headers).end(change.body);
      }
      changes.set(request, change ?? {});
      handle(new URL(request.url!, `http://${request.headers.host}`), response, request);
    });
  }
  const changes = new WeakMap<IncomingMessage, Answer>();

  function content(request: IncomingMessage, response: ServerResponse, data: Buffer, headers: Record<string, string>) {
    const { cutAfter, hang, corrupt, whole, headers: more = {} } = changes.get(request)!;
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
    const isPart = from !== undefined && whole !== true;
    const start = isPart ? Number(from) : 0;
    const end = isPart && to !== '' ? Number(to) + 1 : data.length;
    const body = Buffer.from(data.subarray(start, end));
    if (corrupt) body[body.length >> 1]! ^= 0xff;
    const part = isPart ? { 'content-range': `bytes ${start}-${end - 1}/${data.length}` } : {};
    response.writeHead(isPart ? 206 : 200, { 'content-length': body.length, ...headers, ...part, ...more });
    if (request.method === 'HEAD') return void response.end();
    const piece = body.subarray(0, cutAfter);
    sent += piece.length;
    response.write(piece, () => {
      if (hang) return;
      if (cutAfter === undefined) response.end();
      else setTimeout(() => response.destroy(), 30);
    });
  }

  const cdnServer = serve('cdn', (url, response, request) => {
    const wanted = url.pathname.slice(1);
    const found = Object.values(repos)
      .flatMap(({ files, revisions = {} }) => [files, ...Object.values(revisions).map((one) => one.files)])
      .flatMap((files) => Object.values(files))
      .find((data) => sha256(data) === wanted);
    if (found === undefined) return void response.writeHead(404).end();
    content(request, response, Buffer.from(found), {});
  });
  const cdn = await started(cdnServer);

  const hubServer = serve('hub', (url, response, request) => {
    const path = decodeURIComponent(url.pathname);
    const [, kind, id, rest] = /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/(.*)$/.exec(path) ?? [];
    const [, set, named, at, inner] = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.*)$/.exec(path) ?? [];
    const repo = repos[kind !== undefined ? `${kind}/${id}` : `${set === undefined ? 'models' : 'datasets'}/${named}`];
    const no = (status: number, code: string, message: string) =>
      void response
        .writeHead(status, { 'x-error-code': code, 'x-error-message': message })
        .end(`{"error":"${message}"}`);
    const token = request.headers.authorization?.replace('Bearer ', '');
    if (repo === undefined) return no(token === undefined ? 401 : 404, 'RepoNotFound', 'Repository not found');
    if (repo.token !== undefined && repo.token !== token) {
      return repo.gated
        ? no(token === undefined ? 401 : 403, 'GatedRepo', 'Access to it is restricted.')
        : no(401, 'RepoNotFound', 'Repository not found');
    }
    const commits: Record<string, { commit: string; files: Files }> = {
      main: { commit: COMMIT, files: repo.files },
      ...repo.revisions,
    };
    const commitOf = (revision: string) =>
      commits[revision] ?? Object.values(commits).find(({ commit }) => commit === revision);
    const json = (value: unknown, headers = {}) => {
      response.writeHead(200, { 'content-type': 'application/json', ...headers, ...changes.get(request)!.headers });
      response.end(changes.get(request)!.body ?? JSON.stringify(value));
    };
    const [what, ...behind] = (rest ?? '').split('/');
    if (kind !== undefined) {
      const found = commitOf(behind.join('/'));
      if (found === undefined) return no(404, 'RevisionNotFound', 'Invalid rev id');
      const siblings = Object.keys(found.files).map((rfilename) => ({ rfilename }));
      if (what === 'revision') return json({ _id: '0', id, sha: found.commit, siblings, tags: [], private: false });
      const entries = Object.entries(found.files).map(([path, data]) => ({
        type: 'file',
        path,
        size: Buffer.byteLength(data),
        oid: gitSha1(typeof data === 'string' ? data : `pointer to ${sha256(data)}`),
        ...(typeof data === 'string' ? {} : { lfs: { oid: sha256(data), size: data.length, pointerSize: 130 } }),
      }));
      const start = Number(url.searchParams.get('cursor') ?? 0);
      const next = new URL(url);
      next.searchParams.set('cursor', String(start + page));
      const more = start + page < entries.length ? { link: `<${next.href}>; rel="next"` } : {};
      return json(
        [{ type: 'directory', path: 'data', oid: '0', size: 0 }, ...entries.slice(start, start + page)],
        more,
      );
    }
    const found = commitOf(at!);
    const data = found?.files[inner!];
    if (data === undefined) return no(404, 'EntryNotFound', 'Entry not found');
    const headers = { 'x-repo-commit': found!.commit, 'access-control-expose-headers': '*' };
    if (typeof data === 'string') {
      return content(request, response, Buffer.from(data), { ...headers, etag: `"${gitSha1(data)}"` });
    }
    const linked = { 'x-linked-etag': `"${sha256(data)}"`, 'x-linked-size': String(data.length) };
    response.writeHead(302, { ...headers, ...linked, location: `${cdn}/${sha256(data)}` }).end();
  });
  return { url: await started(hubServer), cdn, asked, sent: () => sent };
}

async function started(server: ReturnType<typeof createServer>): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Options with a cache of the test's own; nothing is waited for. */
export async function hubOptions(url: string, env: Readonly<Record<string, string>> = {}) {
  const home = await tempDir();
  const said: string[] = [];
  const pauses: number[] = [];
  const options: HubOptions = {
    env: { HF_HOME: home, HF_ENDPOINT: url, ...env },
    say: (sentence) => said.push(sentence),
    pause: async (ms) => void pauses.push(ms),
  };
  return { home, cache: `${home}/hub`, said, pauses, options };
}

/** A model whose weights are two shards. */
export const model: Files = {
  'config.json': '{"model_type":"llama"}',
  'tokenizer.json': '{"model":{}}',
  'tokenizer_config.json': '{}',
  'model.safetensors.index.json': JSON.stringify({
    weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' },
  }),
  'model-00001-of-00002.safetensors': noise(300_000, 'one'),
  'model-00002-of-00002.safetensors': noise(5_000, 'two'),
  'pytorch_model.bin': noise(1000, 'pickle'),
  'onnx/model.onnx': noise(1000, 'onnx'),
  'README.md': '# A model',
};
