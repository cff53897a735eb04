// The programs of examples/library as a user has them: compiled against the declarations that the package ships, and run
// with the package, on a tiny model. And what an import of the package loads.
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeTinyGame, type TinyGame } from '../recipes/tiny-game.ts';

const root = join(import.meta.dirname, '../..');

/** What each program must print, and what it is given besides model, data and a place to write to. */
const programs: Record<string, { argv?: string[]; prints: RegExp }> = {
  follow: { prints: /^step 3 of 3: loss \d\.\d{4}$[\s\S]*^SFT model .*[\s\S]*^The best model is/m },
  'pause-and-chat': {
    argv: ['3+4'],
    prints: /^The game rests in iteration 0, after step [2-6]\.\n> 3\+4\n[\s\S]*^The game is over: .*pause-and-chat/m,
  },
  'stop-and-resume': { prints: /^Stopped after a step\.\nStopped by a signal\.\nPlayed to its end in [\d.]+ s: the/m },
  'whole-path': { prints: /^Merged: the logits differ by [\d.]+e-\d+ at most\.\nexact-match: [\s\S]*^\d\+\d -> /m },
};

/** Each line must be an error of the compiler. */
const wrong = `import { spin } from 'selfplay';
// @ts-expect-error a model is a path
spin({ model: 1, data: 'd' });
// @ts-expect-error there is no such setting
spin({ model: 'm', data: 'd', learnin_rate: 1 });
for await (const event of spin({ model: 'm', data: 'd' })) {
  // @ts-expect-error there is no such event
  if (event.type === 'step') break;
}
`;

let home: string;
let game: TinyGame;
/** What the compiler says of the programs. */
let said: string;

/** Runs node, with no torch to be found; returns what it printed, rejects with that and its errors. */
async function node(...argv: string[]): Promise<string> {
  const env = { ...process.env, SELFPLAY_CACHE: home, SELFPLAY_TORCH: '', VIRTUAL_ENV: '', CONDA_PREFIX: '' };
  const { stdout } = await promisify(execFile)(process.execPath, argv, { cwd: home, env });
  return stdout;
}
const compile = (...argv: string[]) => node(join(root, 'node_modules/typescript/bin/tsc'), ...argv);

/** A project with the package in it, as the build makes that (without the checks of `npm run lint`), and the programs. */
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-examples-'));
  game = await makeTinyGame(home);
  const installed = join(home, 'node_modules/selfplay');
  await mkdir(installed, { recursive: true });
  await cp(join(root, 'package.json'), join(installed, 'package.json'));
  await symlink(join(root, 'node_modules'), join(installed, 'node_modules'), 'junction');
  await compile('-p', join(root, 'tsconfig.build.json'), '--noCheck', '--outDir', join(installed, 'dist'));

  await cp(join(root, 'examples/library'), join(home, 'programs'), { recursive: true });
  await writeFile(join(home, 'programs/wrong.ts'), wrong);
  await writeFile(join(home, 'package.json'), '{ "type": "module" }\n');
  const typeRoots = [join(root, 'node_modules/@types')];
  const compilerOptions = { paths: {}, noEmit: false, rootDir: 'programs', outDir: 'built', typeRoots };
  const project = { extends: join(root, 'tsconfig.json'), compilerOptions, include: ['programs'] };
  await writeFile(join(home, 'tsconfig.json'), JSON.stringify(project));
  said = await compile('-p', home).catch((error: { stdout: string }) => error.stdout);
});
afterAll(() => rm(home, { recursive: true, force: true }));

describe('examples/library', () => {
  it('has no other programs', async () => {
    const names = await readdir(join(root, 'examples/library'));
    expect(names.sort()).toEqual(Object.keys(programs).map((name) => `${name}.ts`));
  });

  it('compiles against the declarations of the package, which know what is wrong', () => {
    expect(said).toBe('');
  });

  it.each(Object.entries(programs))('%s runs', async (name, { argv = [], prints }) => {
    const out = join(home, `out-${name}`);
    expect(await node(join(home, 'built', `${name}.js`), game.model, game.data, out, ...argv)).toMatch(prints);
  });
});

describe('the package', () => {
  it('loads no engine when it is imported', async () => {
    const script = join(home, 'import.js');
    await writeFile(
      script,
      `import { createRequire } from 'node:module';
const library = await import('selfplay');
const { sharedObjects, workers } = process.report.getReport();
const loaded = [...sharedObjects, ...Object.keys(createRequire(import.meta.url).cache)];
const engines = loaded.filter((path) => /onnxruntime|koffi|libtorch/.test(path));
console.log(JSON.stringify({ names: Object.keys(library), engines, workers: workers.length, loaded: loaded.length }));
`,
    );
    const { loaded, ...found } = JSON.parse(await node(script)) as Record<string, unknown>;
    expect(found).toEqual({ names: expect.arrayContaining(['spin', 'doctor']), engines: [], workers: 0 });
    expect(loaded).toBeGreaterThan(3);
  });

  it('keeps a program alive that has paused a game and waits for nothing else', async () => {
    const script = join(home, 'paused.js');
    const settings = {
      model: game.model,
      data: game.data,
      out: join(home, 'paused'),
      limit: 8,
      max_new_tokens: 4,
      preflight: false,
    };
    await writeFile(
      script,
      `import { spin } from 'selfplay';
const game = spin(${JSON.stringify(settings)});
await game.pause();
setTimeout(() => game.continue(), 300).unref();
console.log(typeof (await game.outcome).directory);
`,
    );
    expect(await node(script)).toBe('string\n');
  });
});
