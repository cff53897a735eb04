// A model directory that selfplay wrote loads in Python transformers, with the same log-probs. Needs a Python with torch
// and transformers: SELFPLAY_PYTHON, else python3; without them it skips, loudly.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { makeGame } from '../../examples/demo/game.ts';
import { loadModel } from '../../src/checkpoint/index.ts';
import { onnxEngine } from '../../src/engine/index.ts';
import { loadTokenizer } from '../../src/tokens/index.ts';
import { openScorer } from '../../src/training/index.ts';

const python = process.env['SELFPLAY_PYTHON'] ?? 'python3';
const script = fileURLToPath(new URL('../../scripts/check-model-directory.py', import.meta.url));

it('loads in transformers with the same log-probs', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'selfplay-python-'));
  try {
    const { model } = await makeGame(dir, 0, { train: 200, dev: 10, test: 10 });
    const tokenizer = await loadTokenizer(model);
    const { promptIds, responseIds } = tokenizer.encodePair({
      prompt: [{ role: 'user', content: 'What is 12 + 30?' }],
      response: 'It is 42.',
    });
    const engine = await onnxEngine({ threads: 1 });
    const loaded = await loadModel(engine, model);
    const scorer = await openScorer(engine, loaded.model);
    const [[scores]] = (await scorer.score([{ promptIds, responses: [{ ids: responseIds }] }], 1000)) as [
      [Float32Array],
    ];
    await engine.dispose();
    const expected = join(dir, 'expected.json');
    writeFileSync(expected, JSON.stringify({ ids: [...promptIds, ...responseIds], logprobs: [...scores] }));
    const { status, stdout, stderr } = spawnSync(python, [script, model, expected], { encoding: 'utf8' });
    if (status === 3 || status === null) {
      console.warn(`SKIPPED: ${python} has no torch and transformers; set SELFPLAY_PYTHON`);
      return;
    }
    expect(status, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ architecture: 'LlamaForCausalLM', unexpected: [], missing: [] });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
