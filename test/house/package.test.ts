// The policy of the package, as tests: what is pinned, what may run at install time, what is exported, how long files get.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

interface Manifest {
  type: string;
  license: string;
  engines: Record<string, string>;
  bin: Record<string, string>;
  exports: Record<string, string | Record<string, string>>;
  files: string[];
  scripts: Record<string, string>;
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
  optionalDependencies: Record<string, string>;
  bundleDependencies: string[];
}

/** An entry of package-lock.json's `packages`, by its path (`node_modules/zod`); the project itself is at ''. */
interface Locked {
  version?: string;
  integrity?: string;
  dev?: boolean;
  optional?: boolean;
  hasInstallScript?: boolean;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

const root = join(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const manifest = JSON.parse(read('package.json')) as Manifest;
const locked = (JSON.parse(read('package-lock.json')) as { packages: Record<string, Locked> }).packages;
const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .map((path) => `src/${path.replaceAll('\\', '/')}`)
  .filter((path) => path.endsWith('.ts') && !path.startsWith('src/engine/onnx/proto/')); // generated

describe('package.json', () => {
  it('is an ES module package under Apache-2.0 for Node 20.19 and later', () => {
    expect(manifest.type).toBe('module');
    expect(manifest.license).toBe('Apache-2.0');
    expect(manifest.engines).toEqual({ node: '>=20.19' });
    expect(read('LICENSE')).toMatch(/Apache License\s+Version 2\.0[\s\S]+Copyright 2026 the selfplay authors/);
  });

  it('pins every dependency to one version', () => {
    const { dependencies, devDependencies, optionalDependencies } = manifest;
    const all = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies });
    expect(all.filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))).toEqual([]);
    expect(read('.npmrc')).toMatch(/^save-exact=true$/m);
  });

  it('has no script that runs by itself', () => {
    const hook = /^(pre|post)|^(install|prepare|dependencies)$/; // .npmrc disables them: a hook would be a trap
    expect(Object.keys(manifest.scripts).filter((name) => hook.test(name))).toEqual([]);
  });

  it('exports and runs files that the build makes', () => {
    const paths = [...Object.values(manifest.exports), manifest.bin].flatMap((entry) =>
      typeof entry === 'string' ? [entry] : Object.values(entry),
    );
    for (const path of paths.filter((path) => /\.js$|\.d\.ts$/.test(path)))
      expect(sources).toContain(path.replace('./dist/', 'src/').replace(/(\.d\.ts|\.js)$/, '.ts'));
    const rest = paths.filter((path) => !/\.js$|\.d\.ts$/.test(path));
    expect(rest.sort()).toEqual(['./dist/config.schema.json', './package.json']);
    expect(manifest.scripts.build).toContain('node dist/cli/writeSchema.js'); // makes config.schema.json
    expect(sources).toContain('src/cli/writeSchema.ts');
    expect(read('src/cli/main.ts')).toMatch(/^#!\/usr\/bin\/env node\n/);
    expect(manifest.files).toEqual(expect.arrayContaining(['dist', 'README.md', 'LICENSE']));
  });
});

describe('what is installed', () => {
  it('downloads nothing at install time: the one package that would is bundled, and stripped by the build', () => {
    const withScript = Object.entries(locked).filter(([, entry]) => entry.hasInstallScript && !entry.dev);
    expect(withScript.map(([path]) => path)).toEqual(['node_modules/koffi', 'node_modules/onnxruntime-node']);
    // koffi's looks for its binary, which npm brings as a package of its own, and knows no address to fetch one from.
    expect(read('node_modules/koffi/cnoke.cjs')).not.toMatch(/https?:|node:https?|require\(['"]https?['"]\)/);
    expect(locked['node_modules/koffi']?.optional).toBe(true);
    expect(manifest.bundleDependencies).toEqual(['onnxruntime-node']);
    expect(manifest.scripts.build).toContain('node scripts/prepare-bundle.mjs');
    expect(read('.npmrc')).toMatch(/^ignore-scripts=true$/m);
  });

  it('is what package-lock.json says, with a checksum, for every platform', () => {
    expect(locked['']?.dependencies).toEqual(manifest.dependencies);
    expect(locked['']?.devDependencies).toEqual(manifest.devDependencies);
    const packages = Object.entries(locked).filter(([path]) => path !== '');
    expect(packages.filter(([, entry]) => !entry.version || !entry.integrity).map(([path]) => path)).toEqual([]);
    // npm ci refuses a lockfile made where a platform's package could not be had.
    const missing = packages.flatMap(([path, entry]) =>
      Object.keys(entry.optionalDependencies ?? {}).filter(
        (name) => !locked[`node_modules/${name}`] && !locked[`${path}/node_modules/${name}`],
      ),
    );
    expect(missing).toEqual([]);
  });
});

describe('src/', () => {
  it('has no file longer than 600 lines, and warns from 400 on', () => {
    const lengths = sources.map((path) => ({ path, lines: read(path).trimEnd().split('\n').length }));
    for (const { path, lines } of lengths)
      if (lines > 400 && lines <= 600) console.warn(`${path} has ${lines} lines: over 400, split it when you can`);
    expect(lengths.filter(({ lines }) => lines > 600)).toEqual([]);
  });

  it('opens every file with a comment on its purpose', () => {
    const silent = sources.filter((path) => !/^(#!.*\n)?\s*(\/\/\s*\S|\/\*)/.test(read(path)));
    expect(silent).toEqual([]);
  });
});
