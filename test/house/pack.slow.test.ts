// The package as a user gets it: built, packed, installed into an empty project by a plain `npm install`, and run.
// onnxruntime-node's install script (see scripts/prepare-bundle.mjs) must have no way to run: here it would be made to
// download, through a proxy that does not answer, and so would fail the install even on a machine with a network.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
const project = mkdtempSync(join(tmpdir(), 'selfplay-pack-'));

/** A user's environment: without what `npm test` sets (ignore-scripts among it), and with downloads bound to fail. */
const environment: NodeJS.ProcessEnv = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|vitest|node_env$)/i.test(name))),
  ONNXRUNTIME_NODE_INSTALL: 'cuda12',
  GLOBAL_AGENT_HTTPS_PROXY: 'http://127.0.0.1:9',
  GLOBAL_AGENT_HTTP_PROXY: 'http://127.0.0.1:9',
};

function run(cwd: string, command: string, ...args: string[]): string {
  const shell = process.platform === 'win32'; // npm and npx are .cmd files there
  return execFileSync(command, args, { cwd, env: environment, encoding: 'utf8', maxBuffer: 1 << 26, shell });
}

beforeAll(() => {
  run(root, 'npm', 'run', 'build');
  run(root, 'npm', 'pack', '--silent', '--pack-destination', project);
  writeFileSync(join(project, 'package.json'), '{ "name": "empty", "version": "1.0.0", "private": true }\n');
}, 600_000);
afterAll(() => rmSync(project, { recursive: true, force: true }));

describe('the tarball', () => {
  it('installs into an empty project, and nothing but the check of koffi runs at install time', () => {
    const tarball = `selfplay-${version}.tgz`;
    console.info(`${tarball}: ${(statSync(join(project, tarball)).size / 1e6).toFixed(1)} MB`);
    const output = run(project, 'npm', 'install', `./${tarball}`, '--ignore-scripts=false', '--foreground-scripts');
    expect(output).toMatch(/added \d+ packages/);
    // npm's line before a script
    expect(output.match(/^> .*install$/gm) ?? []).toEqual([expect.stringMatching(/^> koffi@\S+ install$/)]);

    const folders = readdirSync(join(project, 'node_modules'), { recursive: true, encoding: 'utf8' })
      .filter((path) => /(^|[\\/])package\.json$/.test(path))
      .map((path) => join(project, 'node_modules', dirname(path)));
    expect(folders.length).toBeGreaterThan(8);
    const scripted = folders.filter((folder) => {
      const { scripts } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
        scripts?: Record<string, string>;
      };
      const hooks = ['preinstall', 'install', 'postinstall'].some((name) => scripts?.[name]);
      return hooks || existsSync(join(folder, 'binding.gyp'));
    });
    expect(scripted).toEqual([join(project, 'node_modules', 'koffi')]);
  });

  it('brings the engine for every platform that onnxruntime-node supports, and not the helpers of its installer', () => {
    const inside = join('node_modules', 'onnxruntime-node', 'bin', 'napi-v6');
    const binaries = (folder: string) =>
      readdirSync(join(folder, inside), { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.node'));
    const installed = join(project, 'node_modules', 'selfplay');
    expect(binaries(installed).length).toBeGreaterThanOrEqual(5);
    expect(binaries(installed).sort()).toEqual(binaries(root).sort());
    expect(
      readdirSync(join(installed, 'node_modules'))
        .filter((name) => !name.startsWith('.'))
        .sort(),
    ).toEqual(['onnxruntime-common', 'onnxruntime-node']);
    const load = `require('node:module').createRequire(${JSON.stringify(join(installed, 'package.json'))})('onnxruntime-node')`;
    expect(run(project, process.execPath, '-p', `typeof ${load}.InferenceSession.create`).trim()).toBe('function');
  });

  it('can be imported, without loading the engine', () => {
    const script = `import('selfplay').then((library) => {
      const loaded = process.report.getReport().sharedObjects.filter((path) => path.includes('onnxruntime'));
      console.log(JSON.stringify({ names: Object.keys(library), loaded, version: library.VERSION }));
    })`;
    const result = JSON.parse(run(project, process.execPath, '-e', script)) as Record<string, unknown>;
    expect(result).toMatchObject({ names: expect.arrayContaining(['spin', 'SelfplayError']), loaded: [], version });
  });

  it('has a command that knows its version, its schema and its machine', () => {
    expect(run(project, 'npx', '--no-install', 'selfplay', '--version').trim()).toContain(version);
    const doctor: unknown = JSON.parse(run(project, 'npx', '--no-install', 'selfplay', 'doctor', '--json'));
    expect(doctor).toBeTypeOf('object');
    const schema = `require(require.resolve('selfplay/config.schema.json')).$schema`;
    expect(run(project, process.execPath, '-p', schema)).toContain('json-schema.org');
  });

  it('installs again from the lockfile that the first install wrote', () => {
    run(project, 'npm', 'ci', '--ignore-scripts=false');
    expect(existsSync(join(project, 'node_modules/selfplay/dist/cli/main.js'))).toBe(true);
  });
});
