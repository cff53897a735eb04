// Errors carry what, where and fix, and map to exit codes.

import { describe, expect, it } from 'vitest';
import { describeError, exitCode, failure, SelfplayError, usageError } from '../../src/util/index.ts';

describe('errors', () => {
  it('carries what, where and fix in its message', () => {
    const error = usageError({ what: 'beta is -1', where: 'run.yaml:3:beta', fix: 'give a positive number' });
    expect(error).toBeInstanceOf(SelfplayError);
    expect(error).toMatchObject({ kind: 'usage', where: 'run.yaml:3:beta', fix: 'give a positive number' });
    expect(error.message).toBe('beta is -1\n  where: run.yaml:3:beta\n  fix: give a positive number');
    expect(describeError(error)).toBe(error.message);
  });

  it('maps usage errors to 2 and everything else to 1', () => {
    expect(exitCode(usageError({ what: 'x' }))).toBe(2);
    expect(exitCode(failure({ what: 'x' }))).toBe(1);
    expect(exitCode(new TypeError('x'))).toBe(1);
    expect(exitCode('x')).toBe(1);
  });

  it('describes a cause once and never shows a stack', () => {
    const cause = new Error('disk on fire');
    expect(describeError(failure({ what: 'cannot save', cause }))).toBe('cannot save\n  cause: disk on fire');
    expect(describeError(failure({ what: 'cannot save: disk on fire', cause }))).toBe('cannot save: disk on fire');
    expect(describeError(new Error('plain'))).toBe('plain');
    expect(describeError(42)).toBe('42');
  });
});
