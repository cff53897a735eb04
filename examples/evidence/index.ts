// npm run evidence: does SPIN help? Every game of an experiment (demo.ts, gsm8k.ts), seed by seed, with its controls; then
// docs/results.md from the figures of all of them. Hours; what is there already is not played again, and Ctrl-C loses
// nothing: the same command goes on.
//   npm run evidence -- demo [--seeds 21,22] [--arms main,IPO] [--threads 2] [--out DIR]
//   npm run evidence -- gsm8k --out DIR      (SELFPLAY_DATA: the directory with the model and the data)
//   npm run evidence -- page                 (only docs/results.md, from docs/results/)

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { demo } from './demo.ts';
import { type Family, MAIN } from './family.ts';
import { type Figures, figuresOf } from './figures.ts';
import { gsm8k } from './gsm8k.ts';
import { type Evidence, page } from './page.ts';
import { playArm } from './play.ts';

const families: Readonly<Record<string, Family>> = { demo, gsm8k };
const docs = fileURLToPath(new URL('../../docs/', import.meta.url));
const figuresFile = (name: string) => join(docs, 'results', `${name}.json`);
const figuresIn = (name: string): Figures[] =>
  existsSync(figuresFile(name)) ? (JSON.parse(readFileSync(figuresFile(name), 'utf8')) as Figures[]) : [];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: 'string' },
    arms: { type: 'string' },
    threads: { type: 'string', default: '2' },
    out: { type: 'string', default: 'runs/evidence' },
  },
});
const [name = 'demo'] = positionals;
const family = families[name];
if (family) {
  const seeds = values.seeds?.split(',').map(Number) ?? family.seeds;
  const arms = values.arms?.split(',') ?? [MAIN, ...Object.keys(family.arms)];
  for (const arm of arms) {
    for (const seed of seeds) await play(family, arm, seed);
  }
} else if (name !== 'page') {
  throw new Error(`${name} is neither ${Object.keys(families).join(' nor ')} nor page`);
}
const evidence = Object.entries(families).map(([key, family]): Evidence => ({ family, figures: figuresIn(key) }));
writeFileSync(join(docs, 'results.md'), page(evidence.filter(({ figures }) => figures.length > 0)));

async function play(family: Family, arm: string, seed: number): Promise<void> {
  if (figuresIn(name).some((known) => known.arm === arm && known.seed === seed)) return;
  const where = { seed, threads: Number(values.threads), directory: join(resolve(values.out), name, `seed-${seed}`) };
  const directory = await playArm(family, arm, where);
  const start = await family.start(where.directory, seed, where.threads);
  const figures = await figuresOf(family, start, { arm, seed, directory });
  mkdirSync(join(docs, 'results'), { recursive: true });
  // Read again: another process may play other seeds.
  const all = [...figuresIn(name), figures].sort((a, b) => a.seed - b.seed || order(a.arm) - order(b.arm));
  writeFileSync(figuresFile(name), `[\n${all.map((one) => JSON.stringify(one, rounded)).join(',\n')}\n]\n`);
  function order(arm: string): number {
    return Object.keys(family.arms).indexOf(arm);
  }
}

/** Six decimals: a page needs fewer. */
function rounded(_: string, value: unknown): unknown {
  return typeof value === 'number' ? Number(value.toFixed(6)) : value;
}
