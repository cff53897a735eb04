#!/usr/bin/env node
// The `selfplay` command. Everything is in program.ts; this file only gives it the process.
import { describeError } from '../util/index.ts';
import { runCli } from './program.ts';

// A reader that has left (`selfplay generate … | head`) ends the command without a word; a lost stderr only mutes it.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(`error: standard output cannot be written: ${error.message}\n`);
  process.exit(1);
});
process.stderr.on('error', () => undefined);

try {
  process.exitCode = await runCli(process.argv.slice(2), {
    get stdin() {
      return process.stdin;
    },
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    directory: process.cwd(),
    command: [process.execPath, ...process.execArgv, process.argv[1]!],
    signals: process,
    exit: (code) => process.exit(code),
  });
} catch (error) {
  process.stderr.write(`error: ${describeError(error)}\n`);
  process.exitCode = 1;
}
