/** The models that one can talk with: a model directory alone, or those in the table of a run. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { readResults } from '../report/index.ts';
import { linkedDirectory } from '../util/index.ts';
import { MANIFEST, readManifest } from './manifest.ts';

export interface Partner {
  /** As the table has it: "SFT model", "iteration 0" …; of a model alone its directory. */
  readonly label: string;
  readonly iteration: number | null;
  readonly dir: string;
}

export interface Lineup {
  /** The run directory, absolute; null where there is a model alone. */
  readonly run: string | null;
  /** In the order of the table; at least one. */
  readonly partners: readonly Partner[];
  /** The best on the dev split as far as the run is; of a model alone that. */
  readonly best: Partner;
  /** What the chat template wrote as the time in this run, if it wrote any. */
  readonly templateTime: string | undefined;
}

/** @param target a model directory, a link to one, or a run directory. Throws an error that names a damaged file of a run. */
export async function lineupOf(target: string): Promise<Lineup> {
  const directory = resolve(target);
  if (!existsSync(join(directory, MANIFEST))) {
    const alone = { label: target, iteration: null, dir: await linkedDirectory(directory) };
    return { run: null, partners: [alone], best: alone, templateTime: undefined };
  }
  const { settings, template_time } = await readManifest(directory);
  const table = join(directory, 'results.json');
  const results = existsSync(table) ? await readResults(table) : null;
  const given = { label: 'given model', iteration: null, model: settings.model };
  const partners: Partner[] = [];
  for (const { label, iteration, model } of results?.rows ?? [given]) {
    const dir = resolve(directory, model);
    // A control may be a model that stands in the table already, sampled otherwise.
    if (!partners.some((other) => other.dir === dir)) partners.push({ label, iteration, dir });
  }
  const best = partners.find(({ label }) => label === results?.best?.label) ?? partners[0]!;
  return { run: directory, partners, best, templateTime: template_time ?? undefined };
}

/** The partner that a user means: by "best", the number of an iteration, or how its label begins ("sft"). */
export function partnerNamed({ partners, best }: Lineup, name: string): Partner | undefined {
  const wanted = name.trim().toLowerCase();
  if (wanted === '') return undefined;
  if (wanted === 'best') return best;
  if (/^\d+$/.test(wanted)) return partners.find(({ iteration }) => iteration === Number(wanted));
  return partners.find(({ label }) => label.toLowerCase().startsWith(wanted));
}

/** A line for each partner, the one that answers marked. */
export function lineupText({ partners, best }: Lineup, current: Partner): string {
  return partners
    .map((partner) => `${partner === current ? '*' : ' '} ${partner.label}${partner === best ? ' (best)' : ''}`)
    .join('\n');
}
