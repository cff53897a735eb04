/** Two runs side by side: what was set differently, what they stood on, and what came out. Reads, and changes nothing. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { alignedText, type ComparedFigure, compareResults, comparisonTable, readResults } from '../../report/index.ts';
import { usageError } from '../../util/index.ts';
import { engineSequence } from '../run/engines.ts';
import { LOCK } from '../run/layout.ts';
import { type Difference, differences, lockDifferences, readLock, shownValue } from '../run/lock.ts';
import { readManifest } from '../run/manifest.ts';

/** What differs between runs `a` and `b`; directories are absolute. */
export interface RunComparison {
  readonly a: string;
  readonly b: string;
  /** Settings as they were given, paths and defaults included; where a run was written to is none. */
  readonly settings: Difference[];
  /** What they stood on: contents, engine, processor, versions; of a run without a lock only its engines are known. */
  readonly lock: Difference[];
  readonly figures: ComparedFigure[];
  /** What to mind when reading the figures. */
  readonly notes: string[];
}

/** Parts of a lock that the settings of the manifest say already. */
const SAID = /^(settings|sampler)\.|^(sampler|seed|command)$/;

/** @throws SelfplayError naming the directory that holds no run, or a run without results */
export async function compareRuns(runA: string, runB: string): Promise<RunComparison> {
  const [a, b] = [await openForReading(runA), await openForReading(runB)];
  const locked = a.lock !== null && b.lock !== null ? lockDifferences(a.lock, b.lock) : null;
  const engines = differences({ engines: engineSequence(a.manifest) }, { engines: engineSequence(b.manifest) });
  // A lock has the engine that the run began with, and no other.
  const resumed = [a, b].some(({ manifest }) => manifest.earlier_engines.length > 0);
  const lock = locked?.filter(({ key }) => !SAID.test(key)) ?? [];
  return {
    a: a.directory,
    b: b.directory,
    settings: differences(settingsOf(a), settingsOf(b)),
    lock: locked === null || resumed ? [...lock, ...engines] : lock,
    figures: compareResults(a.results, b.results),
    notes: notesOn(a, b),
  };
}

/** The comparison as text for a terminal, ending in a line break. */
export function comparisonText({ a, b, settings, lock, figures, notes }: RunComparison): string {
  const list = (title: string, found: readonly Difference[]) =>
    found.length === 0
      ? `${title}: no difference\n`
      : `${alignedText([[title, 'A', 'B'], ...found.map((one) => [one.key, shownValue(one.a), shownValue(one.b)])])}\n`;
  return [
    `A: ${a}\nB: ${b}\n`,
    list('Settings', settings),
    list('Stood on', lock),
    comparisonTable(figures),
    ...notes.map((note) => `${note}\n`),
  ].join('\n');
}

type Opened = Awaited<ReturnType<typeof openForReading>>;

async function openForReading(run: string) {
  const directory = resolve(run);
  const manifest = await readManifest(directory);
  const [lock, results] = [join(directory, LOCK), join(directory, 'results.json')];
  if (!existsSync(results)) {
    throw usageError({
      what: 'this run has no results yet',
      where: directory,
      fix: `let it get further: selfplay resume ${directory}`,
    });
  }
  return {
    directory,
    manifest,
    lock: existsSync(lock) ? await readLock(lock) : null,
    results: await readResults(results),
  };
}

function settingsOf({ manifest: { command, settings } }: Opened): object {
  const { out: _, lock: __, ...others } = settings;
  // One file is shown under the setting's own name, as it was given.
  const entries = Object.entries(others).map(([key, value]) => [
    key,
    Array.isArray(value) && value.length === 1 ? value[0] : value,
  ]);
  return { command, ...Object.fromEntries(entries) };
}

function notesOn(a: Opened, b: Opened): string[] {
  const notes: string[] = [];
  for (const { lock, directory } of [a, b]) {
    if (lock === null) notes.push(`${directory} has no ${LOCK}: it was begun by an older selfplay.`);
  }
  if (a.lock !== null && b.lock !== null && a.lock.model.tokenizer !== b.lock.model.tokenizer) {
    notes.push('The tokenizers differ, and with them what a token is: nats/token cannot be compared.');
  }
  return notes;
}
