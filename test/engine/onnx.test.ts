// The ONNX engine passes the suite that every engine passes, and its version is the one that is installed.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { onnxEngine } from '../../src/engine/index.ts';
import { conformance } from './conformance.ts';

conformance('onnx', () => onnxEngine({ threads: 2 }));

it('names the version of onnxruntime that package.json pins', async () => {
  const { dependencies } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  const engine = await onnxEngine({ threads: 1 });
  expect(engine.info.version).toBe(dependencies['onnxruntime-node']);
  await engine.dispose();
});
