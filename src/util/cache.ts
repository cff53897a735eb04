// The folder for everything that can be made or fetched again.
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** Environment variables. */
export type Env = Readonly<Record<string, string | undefined>>;

/** $SELFPLAY_CACHE, $XDG_CACHE_HOME/selfplay or ~/.cache/selfplay. */
export function cacheFolder(env: Env): string {
  const set = (name: string) => (env[name] === undefined || env[name] === '' ? undefined : env[name]);
  const own = set('SELFPLAY_CACHE');
  return resolve(own ?? join(set('XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'selfplay'));
}
