// Makes node_modules/onnxruntime-node ready to be bundled into the package (`npm run build` runs it; safe to repeat).
//
// Why: the postinstall of onnxruntime-node downloads CUDA libraries, which selfplay never loads, from outside the npm
// registry; without a network it fails, and with it the whole install. A dependent cannot be spared that by a setting of
// ours: npm reads `allowScripts` and `ignore-scripts` of the project that installs, not of the package it installs.
// So onnxruntime-node travels inside our tarball (`bundleDependencies`), and this script removes from its package.json
// - `scripts`: npm runs the install scripts of bundled packages like any other;
// - the dependencies that only its install script needs, so that npm pack leaves them out and nobody installs them.
// The binaries of all platforms stay. It is a step of the build, not a `prepack` hook: .npmrc sets ignore-scripts,
// which disables hooks. To undo it: npm ci.
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire, isBuiltin } from 'node:module';
import { dirname, join } from 'node:path';

const manifest = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
const folder = dirname(manifest);
const original = JSON.parse(readFileSync(manifest, 'utf8'));

/** Names of the packages that the library itself (dist/, not script/) loads. */
function packagesLoaded() {
  const names = new Set();
  for (const file of readdirSync(join(folder, 'dist'), { recursive: true })) {
    if (!String(file).endsWith('.js')) continue;
    for (const [, name] of readFileSync(join(folder, 'dist', String(file)), 'utf8').matchAll(
      /require\(["'`]([^"'`.][^"'`]*)/g,
    ))
      if (!isBuiltin(name)) names.add(name);
  }
  return names;
}

const loaded = packagesLoaded();
if (!loaded.has('onnxruntime-common'))
  throw new Error(
    `${folder}: cannot tell what onnxruntime-node loads; read its dist/ and adapt scripts/prepare-bundle.mjs`,
  );
const { scripts: _scripts, devDependencies: _devDependencies, ...kept } = original;
kept.dependencies = Object.fromEntries(Object.entries(original.dependencies).filter(([name]) => loaded.has(name)));

const wanted = `${JSON.stringify(kept, null, 2)}\n`;
if (readFileSync(manifest, 'utf8') !== wanted) {
  // By rename: npm trusts its cached tree (node_modules/.package-lock.json) unless the folder itself is newer.
  writeFileSync(`${manifest}.new`, wanted);
  renameSync(`${manifest}.new`, manifest);
}
