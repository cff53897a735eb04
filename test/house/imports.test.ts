// The order of the folders, read from the imports: data flows one way through src/, and this test is what keeps it so.
// `problems` is a function over a map of path -> source, so that each rule is shown to fail on a made-up tree first.
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const FOLDERS = [
  ...['util', 'formats', 'hub', 'data', 'tokens', 'graph', 'autodiff', 'engine', 'models', 'checkpoint'],
  ...['generation', 'pairs', 'training', 'evaluation', 'report', 'recipes', 'library', 'dashboard', 'cli'],
];

/** Folders within a folder, in their order; '' are its own files. Its index.ts may import all of them. */
const INNER: Readonly<Record<string, readonly string[]>> = {
  recipes: ['settings', 'run', 'game', 'preflight', 'baselines', 'export', '', 'proof', 'talk'],
};

/** The folder of a path below src/; '' for a file that lies in src/ itself (index.ts, the library's entry). */
const folderOf = (path: string): string => (path.includes('/') ? (path.split('/')[0] ?? '') : '');

/** Every module a source names: import, export … from, import(), require(), and `new URL('./x.ts', import.meta.url)`. */
function importsOf(source: string): string[] {
  const found = ts.preProcessFile(source, true, true).importedFiles.map((file) => file.fileName);
  for (const match of source.matchAll(/new URL\(\s*['"`](\.[^'"`]+\.ts)['"`],\s*import\.meta\.url/g))
    found.push(match[1] ?? '');
  return found;
}

/** The first cycle that a walk of the files meets, as a list of paths that ends where it began. */
function firstCycle(edges: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const finished = new Set<string>();
  const visit = (path: string, trail: readonly string[]): string[] | undefined => {
    const from = trail.indexOf(path);
    if (from >= 0) return [...trail.slice(from), path];
    if (finished.has(path)) return undefined;
    for (const next of edges.get(path) ?? []) {
      const cycle = visit(next, [...trail, path]);
      if (cycle) return cycle;
    }
    finished.add(path);
    return undefined;
  };
  for (const path of edges.keys()) {
    const cycle = visit(path, []);
    if (cycle) return cycle;
  }
  return undefined;
}

/** What is wrong with an import between files of one folder; undefined where its inner folders have no order. */
function wrongWithin(path: string, target: string): string | undefined {
  const order = INNER[folderOf(path)];
  if (!order || path === `${folderOf(path)}/index.ts`) return undefined;
  const inner = (file: string) => folderOf(file.slice(file.indexOf('/') + 1));
  const [from, to] = [inner(path), inner(target)];
  const unknown = [from, to].find((name) => !order.includes(name));
  if (unknown !== undefined) return `${unknown} is not a known folder of ${folderOf(path)}`;
  return order.indexOf(to) > order.indexOf(from) ? `${to || 'the outer folder'} comes after ${from}` : undefined;
}

/** What is wrong with one import of `path` that leads to the file `target`; undefined when nothing is. */
function wrongEdge(path: string, target: string, exists: boolean): string | undefined {
  const [from, to] = [folderOf(path), folderOf(target)];
  if (!exists) return 'no such file';
  if (from === to)
    return target === `${from}/index.ts` ? "a file may not import its own folder's index" : wrongWithin(path, target);
  if (to === '') return "nothing may import the library's entry";
  if (from !== '' && FOLDERS.indexOf(to) > FOLDERS.indexOf(from)) return `${to} comes after ${from}`;
  return target === `${to}/index.ts` ? undefined : `import ${to}/index.ts instead`;
}

/** All breaches of the rules in a tree: path below src/ (with forward slashes) -> source. Empty means none. */
function problems(tree: ReadonlyMap<string, string>): string[] {
  const found: string[] = [];
  const edges = new Map<string, string[]>();
  for (const [path, source] of tree) {
    const folder = folderOf(path);
    if (folder === '' ? path !== 'index.ts' : !FOLDERS.includes(folder)) found.push(`${path}: not a known folder`);
    const targets: string[] = [];
    for (const name of importsOf(source)) {
      if (folder !== 'engine' && /onnx/i.test(name)) found.push(`${path} -> ${name}: only engine/ knows of ONNX`);
      if (name.startsWith('onnxruntime') && folder === 'engine' && !path.startsWith('engine/onnx/'))
        found.push(`${path} -> ${name}: onnxruntime belongs to engine/onnx/`);
      if (!name.startsWith('.')) continue;
      const target = posix.join(posix.dirname(path), name);
      const wrong = wrongEdge(path, target, tree.has(target));
      if (wrong) found.push(`${path} -> ${target}: ${wrong}`);
      targets.push(target);
    }
    edges.set(path, targets);
  }
  const cycle = firstCycle(edges);
  if (cycle) found.push(`cycle: ${cycle.join(' -> ')}`);
  return found;
}

const tree = (files: Record<string, string>) => new Map(Object.entries(files));

describe('the checker of imports', () => {
  const good = {
    'util/index.ts': "export { a } from './a.ts';",
    'util/a.ts': 'export const a = 1;',
    'engine/index.ts': "export { e } from './onnx/engine.ts';",
    'engine/onnx/engine.ts': "new Worker(new URL('./worker.ts', import.meta.url)); export const e = 1;",
    'engine/onnx/worker.ts': "import ort from 'onnxruntime-node'; import { a } from '../../util/index.ts';",
    'cli/main.ts': "import { readFileSync } from 'node:fs'; import { e } from '../engine/index.ts';",
    'index.ts': "export { a } from './util/index.ts';",
  };

  it('passes a tree that obeys', () => {
    expect(problems(tree(good))).toEqual([]);
  });

  it.each<[string, Record<string, string>, RegExp]>([
    [
      'a reversed edge',
      { 'util/a.ts': "import { m } from '../cli/index.ts';", 'cli/index.ts': '' },
      /cli comes after util/,
    ],
    [
      'a reversed type edge',
      { 'util/a.ts': "import type { M } from '../cli/index.ts';", 'cli/index.ts': '' },
      /cli comes/,
    ],
    ['a reversed dynamic edge', { 'util/a.ts': "await import('../cli/index.ts');", 'cli/index.ts': '' }, /cli comes/],
    ['a reversed re-export', { 'util/a.ts': "export * from '../cli/index.ts';", 'cli/index.ts': '' }, /cli comes/],
    [
      'an import past the index',
      { 'cli/main.ts': "import { a } from '../util/a.ts';" },
      /import util\/index\.ts instead/,
    ],
    ['the entry past an index', { 'index.ts': "export { a } from './util/a.ts';" }, /import util\/index\.ts instead/],
    ["an import of one's own index", { 'util/b.ts': "import { a } from './index.ts';" }, /its own folder's index/],
    [
      'an own index from below',
      { 'engine/onnx/worker.ts': "import { e } from '../index.ts';" },
      /its own folder's index/,
    ],
    ['an import of the entry', { 'cli/main.ts': "import { a } from '../index.ts';" }, /the library's entry/],
    [
      'a reversed edge within a folder',
      { 'recipes/run/a.ts': "import { g } from '../game/g.ts';", 'recipes/game/g.ts': '' },
      /game comes after run/,
    ],
    [
      'an outer file from within',
      { 'recipes/run/a.ts': "import { g } from '../g.ts';", 'recipes/g.ts': '' },
      /the outer folder comes after run/,
    ],
    [
      'an inner folder unheard of',
      { 'recipes/a.ts': "import { g } from './helpers/g.ts';", 'recipes/helpers/g.ts': '' },
      /helpers is not a known folder of recipes/,
    ],
    ['a folder unheard of', { 'helpers/a.ts': '' }, /helpers\/a\.ts: not a known folder/],
    ['a stray file', { 'types.ts': '' }, /types\.ts: not a known folder/],
    ['a file that is not there', { 'cli/main.ts': "import './gone.ts';" }, /cli\/gone\.ts: no such file/],
    [
      'a worker that is not there',
      { 'engine/onnx/engine.ts': "new URL('./gone.ts', import.meta.url)" },
      /no such file/,
    ],
    ['onnxruntime outside engine/onnx', { 'engine/run.ts': "import 'onnxruntime-node';" }, /belongs to engine\/onnx/],
    ['onnxruntime above engine', { 'cli/main.ts': "import 'onnxruntime-common';" }, /only engine\/ knows of ONNX/],
    ['onnx above engine', { 'cli/main.ts': "import '../engine/onnx/engine.ts';" }, /only engine\/ knows of ONNX/],
    ['onnx below engine', { 'graph/a.ts': "await import('onnxruntime-node');" }, /only engine\/ knows of ONNX/],
  ])('reports %s', (_name, files, expected) => {
    const found = problems(tree({ ...good, ...files }));
    expect(found.join('\n')).toMatch(expected);
  });

  it('reports a cycle between files, types included', () => {
    const files = {
      'util/a.ts': "import { b } from './b.ts';",
      'util/b.ts': "import { c } from './c.ts';",
      'util/c.ts': "import type { A } from './a.ts';",
    };
    expect(problems(tree({ ...good, ...files }))).toEqual(['cycle: util/a.ts -> util/b.ts -> util/c.ts -> util/a.ts']);
  });
});

describe('src/', () => {
  it('imports in one direction, through index.ts, without a cycle', () => {
    const root = join(import.meta.dirname, '../../src');
    const paths = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'));
    const sources = new Map(paths.map((path) => [path.replaceAll('\\', '/'), readFileSync(join(root, path), 'utf8')]));
    expect(sources.size).toBeGreaterThan(50);
    expect(problems(sources)).toEqual([]);
  });
});
