// `selfplay preflight` as a command: the settings of run, what is printed where, colours, the exit status.
import { describe, expect, it } from 'vitest';
import type { PreflightReport } from '../../src/recipes/index.ts';
import { cli, type Options } from './fakes.ts';

const report = (result: 'ok' | 'failure'): PreflightReport => ({
  v: 1,
  checks: [
    { name: 'disk', result, found: 'what was found', figures: {}, fix: result === 'ok' ? null : 'what to change' },
  ],
  masks: [
    {
      id: 'a',
      pieces: [
        { part: 'prompt', text: 'two?' },
        { part: 'response', text: '2' },
        { part: 'end', text: '<end>' },
      ],
    },
  ],
  estimate: null,
  leftOut: null,
  seconds: 2,
});
const run = (result: 'ok' | 'failure', options: Options = {}, ...more: string[]) =>
  cli(['preflight', '--model', 'm', '--data', 'd', ...more], {
    ...options,
    recipes: { preflightGame: async () => report(result) },
  });

describe('selfplay preflight', () => {
  it('exits with 0, or with 1 where something fails, and says what to change', async () => {
    const fine = await run('ok');
    expect(fine.status).toBe(0);
    expect(fine.stdout).toContain('disk  ok  what was found\n');
    expect(fine.stdout).toContain('Nothing speaks against the game. (2.0 s)\n');
    const bad = await run('failure');
    expect(bad.status).toBe(1);
    expect(bad.stdout).toMatch(/^disk {2}FAILURE {2}what was found\n +to change: what to change$/m);
  });

  it('shows what is trained on in colour on a terminal, in brackets elsewhere and with NO_COLOR', async () => {
    const plain = 'two?[[2]][[END <end>]]\n';
    expect((await run('ok')).stdout).toContain(plain);
    expect((await run('ok', { stdoutTty: true, env: { NO_COLOR: '1' } })).stdout).toContain(plain);
    expect((await run('ok', { stdoutTty: true })).stdout).toContain(
      '\u001b[2mtwo?\u001b[22m\u001b[32m2\u001b[39m\u001b[30m\u001b[43m<end>\u001b[49m\u001b[39m\n',
    );
  });

  it('prints the report as JSON, and takes the settings of run alone', async () => {
    expect(JSON.parse((await run('ok', {}, '--json')).stdout)).toEqual(report('ok'));
    const wrong = await run('ok', {}, '--beta', '0');
    expect(wrong.status).toBe(2);
    expect(wrong.stderr).toContain('beta must be a number of more than 0, or a list of such, got 0\n  where: --beta');
  });
});
