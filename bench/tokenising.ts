// Tokenising and masking a large chat file, seconds of one core: as it is done for the first time, and found again. Beside it the
// native package tokenizers, which is given the rendered texts and makes no masks.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Tokenizer } from 'tokenizers';
import { encodeExamples, loadTokenizer } from '../src/tokens/index.ts';
import { uniforms } from '../src/util/index.ts';

const ROWS = 50_000;
const BATCH = 1000;
/** Words of a prompt and of an answer, about those of UltraChat's first rounds; each row has from half to half more. */
const WORDS = { prompt: 60, answer: 220 };
const VOCABULARY = 30_000;

/** Rows of made-up words, of which few are frequent and many rare, as in texts. */
function chatRows() {
  const letters = uniforms(VOCABULARY * 12, 0, 'letters');
  const vocabulary = Array.from({ length: VOCABULARY }, (_, word) => {
    const at = word * 12;
    const length = 2 + Math.floor(letters[at]! * 9);
    return Array.from(
      { length },
      (_, i) => 'etaoinshrdlucmfwypvbgkjqxz'[Math.floor(26 * letters[at + i + 1]! ** 2)],
    ).join('');
  });
  const draws = uniforms(1 << 20, 0, 'words');
  let drawn = 0;
  const next = () => draws[drawn++ & (draws.length - 1)]!;
  const text = (mean: number) => {
    const length = Math.round(mean * (0.5 + next()));
    const words = Array.from({ length }, (_, i) => {
      // A share of 1/log(V) for each power of e: Zipf's law.
      const word = vocabulary[Math.floor(VOCABULARY ** next()) - 1]!;
      return i % 13 === 12 ? `${word}, ${Math.floor(1000 * next())}.\n` : word;
    });
    return words.join(' ');
  };
  return Array.from({ length: ROWS }, () => ({
    prompt: [{ role: 'user' as const, content: text(WORDS.prompt) }],
    response: text(WORDS.answer),
  }));
}

/** Prints a line; where there is no real tokenizer (SELFPLAY_DATA), that it is left out. */
export async function benchTokenising(): Promise<void> {
  const model = join(
    process.env['SELFPLAY_DATA'] ?? resolve(import.meta.dirname, '../../shared/data'),
    'smollm2-135m-instruct',
  );
  if (!existsSync(model)) {
    console.log('left out: tokenising with a real vocabulary (set SELFPLAY_DATA)');
    return;
  }
  const rows = chatRows();
  const folder = mkdtempSync(join(tmpdir(), 'selfplay-tokens-'));
  const seconds = async <T>(body: () => Promise<T>): Promise<[number, T]> => {
    const start = process.cpuUsage();
    const result = await body();
    const { user, system } = process.cpuUsage(start);
    return [(user + system) / 1e6, result];
  };
  try {
    const tokenizer = await loadTokenizer(model);
    const [cold, encoded] = await seconds(() => encodeExamples(rows, tokenizer, folder));
    const [cached] = await seconds(() => encodeExamples(rows, tokenizer, folder));
    const tokens = encoded.reduce(
      (sum, one) => ('refused' in one ? sum : sum + one.promptIds.length + one.responseIds.length),
      0,
    );
    const texts = rows.map(({ prompt, response }) =>
      tokenizer.render([...prompt, { role: 'assistant', content: response }], false),
    );
    const native = Tokenizer.fromFile(join(model, 'tokenizer.json'));
    const [theirs] = await seconds(async () => {
      for (let at = 0; at < ROWS; at += BATCH) {
        for (const encoding of await native.encodeBatch(texts.slice(at, at + BATCH))) encoding.getIds();
      }
    });
    console.log(
      `tokenising and masking ${ROWS} chat rows (${(tokens / 1e6).toFixed(1)} million tokens): ${cold.toFixed(1)} s of a core, ` +
        `found again ${cached.toFixed(1)} s; the native package tokenizers ${theirs.toFixed(1)} s for the texts alone: ` +
        `${(theirs / cold).toFixed(1)} and ${(theirs / cached).toFixed(0)} times as long`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}
