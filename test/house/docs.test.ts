// Documents that are written from the code agree with it.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { settingsDoc } from '../../scripts/write-settings-doc.ts';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

it('docs/settings.md is what the schemas say', () => {
  expect(read('docs/settings.md')).toBe(settingsDoc());
});

it('.ci/run and the README name the same test command', () => {
  expect(read('README.md')).toContain('npm ci && npm test');
  expect(read('.ci/run')).toMatch(/^run npm test$/m);
});

it('the README names only documents that exist', () => {
  for (const [, path] of read('README.md').matchAll(/\]\(((?:docs\/)?[\w-]+\.md)\)/g)) {
    expect(read(path!).length, path).toBeGreaterThan(100);
  }
});
