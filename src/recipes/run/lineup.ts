/** The models that one can talk with: a model directory alone, or those in the table of a run. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { readResults } from '../../report/index.ts';
import { linkedDirectory, usageError } from '../../util/index.ts';
import { MANIFEST, readManifest } from './manifest.ts';

export interface Partner {
  /** As the table has it: "SFT model", "iteration 0" …; of a model alone its name. */
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

/**
 * @param target a model directory, a link to one, or a run directory
 * @param name what a model alone is called; its path, unless given
 * @throws an error that names a damaged file of a run
 */
export async function lineupOf(target: string, name = target): Promise<Lineup> {
  const directory = resolve(target);
  if (!existsSync(join(directory, MANIFEST))) {
    const dir = await linkedDirectory(directory);
    if (!existsSync(dir)) {
      throw usageError({ what: 'there is no such directory', where: dir, fix: 'give that of a model or of a run' });
    }
    const alone = { label: name, iteration: null, dir };
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

/**
 * The partner that a user means: by "best", the number of an iteration, or how its label begins ("sft").
 * @throws usage error that names those that there are
 */
export function partnerNamed({ run, partners, best }: Lineup, name: string): Partner {
  if (run === null) throw usageError({ what: 'this is a model alone: give a run, to hear its iterations' });
  const wanted = name.trim().toLowerCase();
  const found = /^\d+$/.test(wanted)
    ? partners.find(({ iteration }) => iteration === Number(wanted))
    : partners.find(({ label }) => wanted !== '' && label.toLowerCase().startsWith(wanted));
  if (found) return found;
  if (wanted === 'best') return best;
  const labels = partners.map(({ label }) => label).join(', ');
  throw usageError({ what: `there is no model "${name}" in this run, which has: ${labels}`, fix: 'name one of these' });
}

/** A line for each partner, the one that answers marked. */
export function lineupText({ partners, best }: Lineup, current: Partner): string {
  return partners
    .map((partner) => `${partner === current ? '*' : ' '} ${partner.label}${partner === best ? ' (best)' : ''}`)
    .join('\n');
}
