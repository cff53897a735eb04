// The command line in a process of its own, with a recipe that waits for a signal and takes a while to save.
import { setTimeout as sleep } from 'node:timers/promises';
import { runCli } from '../../src/cli/program.ts';
import * as recipes from '../../src/recipes/index.ts';

process.exitCode = await runCli(
  process.argv.slice(2),
  {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    directory: process.cwd(),
    command: [process.execPath, ...process.execArgv, process.argv[1]!],
    signals: process,
    exit: (code) => process.exit(code),
  },
  async () => ({
    ...recipes,
    playSpin: async (_, { say, signal }) => {
      say('playing');
      while (!signal!.aborted) await sleep(5);
      if (process.env['SELFPLAY_TEST_HANG'] !== undefined) await sleep(60_000);
      throw new recipes.Interrupted('runs/one');
    },
  }),
);
