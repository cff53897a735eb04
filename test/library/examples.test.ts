// The programs of examples/library as a user runs them, on a tiny model; their types against the declarations that the
// package ships; and what an import of the package loads.
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeTinyGame, type TinyGame } from '../recipes/tiny-game.ts';

const root = join(import.meta.dirname, '../..');
const folder = join(root, 'examples/library');

let home: string;
let game: TinyGame;

/** Runs a script in a process of its own, with no torch to be found, and returns what it printed. */
async function run(script: string, ...argv: string[]): Promise<string> {
  const env = { ...process.env, SELFPLAY_CACHE: home, SELFPLAY_TORCH: undefined, VIRTUAL_ENV: undefined };
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', script, ...argv], { cwd: root, env });
  return stdout;
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-examples-'));
  game = await makeTinyGame(home);
});
afterAll(() => rm(home, { recursive: true, force: true }));

describe('examples/library', () => {
  /** What each must print. */
  const printed: Record<string, { argv?: string[]; shows: RegExp }> = {
    'follow.ts': { shows: /^step 6 of 6: loss \d\.\d{4}$[\s\S]*^SFT model .*[\s\S]*^The best model is/m },
    'pause-and-chat.ts': {
      argv: ['3+4'],
      shows: /^The game rests in iteration 0, after step [2-6]\.\n> 3\+4\n[\s\S]*^The game is over: .*pause-and-chat/m,
    },
    'stop-and-resume.ts': { shows: /^Stopped after a step\.\nStopped by a signal\.\nPlayed to its end in [\d.]+ s: the/m },
    'whole-path.ts': { shows: /^Merged: the logits differ by [\d.]+e-\d+ at most\.\nexact-match: [\s\S]*^\d\+\d -> /m },
  };

  it('has no other programs', async () => {
    expect((await readdir(folder)).sort()).toEqual(Object.keys(printed).sort());
  });

  it.each(Object.entries(printed))('%s runs', async (name, { argv = [], shows }) => {
    expect(await run(join(folder, name), game.model, game.data, join(home, `out-${name}`), ...argv)).toMatch(shows);
  });

  it('compiles against the declarations that are built', () => {
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const types = join(home, 'types');
    // What the build emits; that the sources are sound is what `npm run lint` says.
    const emit = ['-p', join(root, 'tsconfig.build.json'), '--emitDeclarationOnly', '--noCheck', '--outDir', types];
    execFileSync(process.execPath, [tsc, ...emit]);
    expect(existsSync(join(types, 'index.d.ts'))).toBe(true);
  });
});
