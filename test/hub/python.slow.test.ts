// Python's huggingface_hub finds what was fetched here, and the reverse. Needs SELFPLAY_PYTHON with huggingface_hub.
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { localData, localModel } from '../../src/hub/index.ts';
import { COMMIT, fakeHub, hubOptions, model, noise } from './fakeHub.ts';

const python = process.env['SELFPLAY_PYTHON'];
if (python === undefined) console.warn('SKIPPED: SELFPLAY_PYTHON names no Python with huggingface_hub');

/** What a Python program prints, as JSON. */
async function run(code: string, env: Readonly<Record<string, string | undefined>>): Promise<unknown> {
  const program = `import json\nfrom huggingface_hub import snapshot_download, hf_hub_download, scan_cache_dir\n${code}`;
  const { stdout } = await promisify(execFile)(python!, ['-c', program], {
    env: { ...process.env, HF_HUB_DISABLE_XET: '1', ...env },
  });
  return JSON.parse(stdout.trim().split('\n').at(-1)!);
}

describe.skipIf(python === undefined)('huggingface_hub', () => {
  it('finds offline what was fetched here', async () => {
    const hub = await fakeHub({
      'models/org/tiny': { files: model },
      'datasets/org/set': { files: { 'train.jsonl': noise(99), 'README.md': '# Data' } },
    });
    const { options, cache } = await hubOptions(hub.url);
    const { directory } = await localModel('org/tiny', options);
    await localData('org/set', options);
    const offline = { ...options.env, HF_HUB_OFFLINE: '1' };
    const wanted = ['config.json', 'tokenizer.json', '*.safetensors'];
    expect(
      await run(`print(json.dumps(snapshot_download("org/tiny", allow_patterns=${JSON.stringify(wanted)})))`, offline),
    ).toBe(directory);
    const file = await run(
      'print(json.dumps(hf_hub_download("org/set", "train.jsonl", repo_type="dataset")))',
      offline,
    );
    expect(await readFile(file as string)).toEqual(noise(99));
    const scanned = await run(
      `i = scan_cache_dir(${JSON.stringify(cache)})
print(json.dumps([sorted(r.repo_id for r in i.repos), [str(w) for w in i.warnings]]))`,
      offline,
    );
    expect(scanned).toEqual([['org/set', 'org/tiny'], []]);
  });

  it('fetches what is then found here without a network', async () => {
    const hub = await fakeHub({ 'models/org/tiny': { files: model } });
    const { options } = await hubOptions(hub.url);
    const path = await run('print(json.dumps(snapshot_download("org/tiny")))', options.env!);
    const offline = { ...options, env: { ...options.env, HF_HUB_OFFLINE: '1' } };
    expect(await localModel('org/tiny', offline)).toEqual({ directory: path, source: `org/tiny@${COMMIT}` });
    expect(await readFile(join(path as string, 'config.json'), 'utf8')).toBe(model['config.json']);
  });
});
