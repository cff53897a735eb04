/** Where a model comes from, as far as runs tell: base model → SFT model → iteration 0 → iteration 1 … */
import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { hashModelDirectory } from '../../checkpoint/index.ts';
import { lineupOf, type Partner } from '../run/lineup.ts';
import { MANIFEST, readManifest } from '../run/manifest.ts';

export interface Ancestor {
  /** "base model", "SFT model", "iteration 0" … */
  readonly what: string;
  readonly dir: string;
  /** org/name@COMMIT of the Hub, or the name of its directory: no path of this machine. */
  readonly name: string;
  /** Identity of its files; null where they are not here any more. */
  readonly sha256: string | null;
}

/** A model that a run made or began with, with all before it, the oldest first. */
export async function ancestryOf(run: string, partner: Partner): Promise<Ancestor[]> {
  const { settings, sources, hashes } = await readManifest(run);
  const { partners } = await lineupOf(run);
  const given = partners[0]!;
  const source = typeof sources['model'] === 'string' ? sources['model'] : undefined;
  const before = await ancestryOfModel(settings.model, source, hashes.model);
  const own = before.at(-1)!;
  const base = before.length === 1 && given.label === 'given model' ? 'base model' : given.label;
  const start = [...before.slice(0, -1), { ...own, what: base }];
  if (partner.dir === given.dir) return start;
  const isBetween = ({ iteration }: Partner) =>
    iteration !== null && partner.iteration !== null && iteration < partner.iteration;
  const later = [...partners.slice(1).filter(isBetween), partner];
  return [...start, ...(await Promise.all(later.map(({ label, dir }) => ancestor(label, dir))))];
}

/** The same of a model that may be part of another run: a game begins with what `selfplay sft` made. */
export async function ancestryOfModel(dir: string, source?: string, sha256?: string): Promise<Ancestor[]> {
  const run = [dirname(dir), dirname(dirname(dir)), dirname(dirname(dirname(dir)))].find((one) =>
    existsSync(join(one, MANIFEST)),
  );
  if (run !== undefined && source === undefined) {
    const { partners } = await lineupOf(run);
    const partner = partners.find((one) => one.dir === resolve(dir));
    // The model that a run began with lies outside of it.
    if (partner !== undefined && partner !== partners[0]) return ancestryOf(run, partner);
  }
  return [await ancestor('model', dir, source, sha256)];
}

async function ancestor(what: string, dir: string, source?: string, sha256?: string): Promise<Ancestor> {
  return {
    what,
    dir,
    name: source ?? nameOf(dir),
    sha256: sha256 ?? (await hashModelDirectory(dir).catch(() => null)),
  };
}

/** "sft" of runs/sft/model, "spin/iteration-1" of runs/spin/iteration-1/model, else the last part. */
export function nameOf(dir: string): string {
  const folder = basename(dir) === 'model' ? dirname(resolve(dir)) : dir;
  const name = basename(resolve(folder));
  return /^iteration-\d+$/.test(name) ? `${basename(dirname(resolve(folder)))}/${name}` : name.replace(/\.gguf$/, '');
}
