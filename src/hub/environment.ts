// Where the Hub and its cache are, by the variables that Python's huggingface_hub reads.
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Env, usageError } from '../util/index.ts';

export interface HubEnvironment {
  /** HF_ENDPOINT, without a slash at its end. */
  readonly endpoint: string;
  /** HF_HUB_CACHE, or HF_HOME/hub: absolute. */
  readonly cache: string;
  /** HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE: no server is asked. */
  readonly offline: boolean;
  /** HF_TOKEN, or what `hf auth login` left; never part of a message. */
  readonly token: string | undefined;
}

const ENDPOINT = 'https://huggingface.co';
const YES = /^(1|on|yes|true)$/i;

/** @throws usage error for a variable that cannot be what it should be */
export async function hubEnvironment(env: Env): Promise<HubEnvironment> {
  const set = (...names: string[]) =>
    names.map((name) => env[name]).find((value) => value !== undefined && value !== '');
  const path = (text: string) => resolve(text.replace(/^~(?=$|[/\\])/, homedir()));
  const home = path(set('HF_HOME') ?? join(set('XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'huggingface'));
  const endpoint = (set('HF_ENDPOINT') ?? ENDPOINT).replace(/\/+$/, '');
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol)) {
    throw usageError({ what: 'not a web address', where: `HF_ENDPOINT=${endpoint}`, fix: `unset it for ${ENDPOINT}` });
  }
  return {
    endpoint,
    cache: path(set('HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE') ?? join(home, 'hub')),
    offline: YES.test(set('HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE') ?? ''),
    token: checkedToken(
      set('HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN') ?? (await tokenOf(path(set('HF_TOKEN_PATH') ?? join(home, 'token')))),
    ),
  };
}

const tokenOf = (file: string) => readFile(file, 'utf8').catch(() => undefined);

function checkedToken(given: string | undefined): string | undefined {
  const token = given?.trim();
  if (token === undefined || token === '') return undefined;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw usageError({
    what: 'the token for the Hub has characters that no token has',
    where: 'HF_TOKEN, or the file that `hf auth login` writes',
    fix: 'set HF_TOKEN to the token as the settings of your account show it',
  });
}
