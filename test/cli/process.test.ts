// The command as a process: what a shell sees.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const SLOW = fileURLToPath(new URL('./slow-command.ts', import.meta.url));
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Runs a script to its end; `onStderr` sees what has come so far. */
async function run(
  script: string,
  argv: string[],
  {
    env = {},
    onStderr,
  }: { env?: Record<string, string>; onStderr?: (text: string, child: ReturnType<typeof spawn>) => void } = {},
) {
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...argv], {
    cwd: ROOT,
    env: { ...process.env, ...env },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    onStderr?.(stderr, child);
  });
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { status, stdout, stderr };
}

describe('selfplay as a process', () => {
  it('--version prints the version', async () => {
    expect(await run(MAIN, ['--version'])).toEqual({
      status: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
      stderr: '',
    });
  });

  it('--help exits with 0 and prints to stdout', async () => {
    const { status, stdout, stderr } = await run(MAIN, ['--help']);
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toContain('Usage: selfplay');
  });

  it('a reader that leaves early ends it without a word', async () => {
    const child = spawn(process.execPath, ['--import', 'tsx', MAIN, 'config', 'schema'], { cwd: ROOT });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdout.destroy();
    const status = await new Promise((resolve) => child.on('close', resolve));
    expect([status, stderr]).toEqual([0, '']);
  });

  it('wrong settings exit with 2', async () => {
    const { status, stdout, stderr } = await run(MAIN, ['run', '--model', 'm', '--data', 'd', '--beta', '0']);
    expect(stderr).toContain(
      'error: beta must be a number of more than 0, or a list of such, got 0\n  where: --beta\n',
    );
    expect([status, stdout]).toEqual([2, '']);
  });

  it('SIGINT stops after saving with 130', async () => {
    let sent = false;
    const { status, stderr } = await run(SLOW, ['run', '--model', 'm', '--data', 'd'], {
      onStderr: (text, child) => {
        if (text.includes('playing') && !sent) sent = child.kill('SIGINT');
      },
    });
    expect(stderr).toContain('finishing the step and saving (Ctrl-C again to stop at once)\n');
    expect(stderr).toContain('selfplay resume runs/one');
    expect(status).toBe(130);
  });

  it('a second SIGTERM ends a command that hangs', async () => {
    let sent = 0;
    const { status } = await run(SLOW, ['run', '--model', 'm', '--data', 'd'], {
      env: { SELFPLAY_TEST_HANG: '1' },
      onStderr: (text, child) => {
        if (text.includes('playing') && sent === 0) sent += Number(child.kill('SIGTERM'));
        if (text.includes('finishing') && sent === 1) sent += Number(child.kill('SIGTERM'));
      },
    });
    expect([status, sent]).toEqual([143, 2]);
  });
});
