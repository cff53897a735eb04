/**
 * Whether two run directories hold the same game, file by file in the order of the game, bit for bit. Left out is what
 * may differ: times, where the runs lie, the marks of resumes in the log and the sentences in it.
 */
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { LINEAGE_FILE } from '../../checkpoint/index.ts';
import { readJsonLines, readSafetensorsHeader, readTensorF32, type SafetensorsHeader } from '../../formats/index.ts';
import { type RunEvent, readRunLog } from '../../report/index.ts';
import { hashFile, linkedDirectory, MANIFEST_NAME } from '../../util/index.ts';
import { BEST, TALLY } from '../run/layout.ts';
import { differences, shownValue } from '../run/lock.ts';

/** The first place at which two files differ, with what stands there in either. */
interface Deviation {
  readonly where: string;
  readonly a: string;
  readonly b: string;
}

/** A file of either run. `part` is the stage that it comes from: see `partOf`. */
export interface ComparedFile {
  readonly part: string;
  /** Below the run directory. */
  readonly file: string;
  /** Null for equal files. */
  readonly deviation: Deviation | null;
}

/** What belongs to no stage. */
const WHOLE = 'table, lock, settings';

/** A stage in words, over all attempts at it. */
export function partOf({ iteration, stage, baseline }: Pick<RunEvent, 'iteration' | 'stage' | 'baseline'>): string {
  if (stage === null) return WHOLE;
  if (baseline !== undefined) return `baseline ${baseline}: ${stage}`;
  return iteration === null ? `given model: ${stage}` : `iteration ${iteration}: ${stage}`;
}

/** Compares everything in two run directories. Files in the order of the game, the log (by stages) first. */
export async function compareGames(a: string, b: string): Promise<ComparedFile[]> {
  const [inA, inB] = [await namesIn(a), await namesIn(b)];
  const names = [...new Set([...inA, ...inB])].sort();
  const compared = await compareLogs(a, b);
  const parts = new Set(compared.map(({ part }) => part));
  // Pairs that were given were prepared, and not generated.
  const partOfPairs = (part: string) => {
    const prepared = part.replace(/: generate$/, ': prepare');
    return parts.has(prepared) ? prepared : part;
  };
  for (const file of names) {
    const there = (names: readonly string[]) => (names.includes(file) ? 'there' : 'not there');
    const deviation =
      inA.includes(file) && inB.includes(file)
        ? await (file === BEST ? compareBest(a, b) : compareFiles(join(a, file), join(b, file)))
        : { where: 'the file itself', a: there(inA), b: there(inB) };
    compared.push({ part: partOfPairs(partOfFile(file)), file, deviation });
  }
  return compared.sort((x, y) => rank(x.part) - rank(y.part));
}

const ORDER = ['prepare', 'generate', 'reference', 'train', 'evaluate'];

/** The order of parts in time; controls come behind the game, and what belongs to no stage is last. */
function rank(part: string): number {
  if (part.startsWith('baseline ')) return Number.MAX_VALUE;
  const [, iteration = '-1', stage] = /^(?:iteration (\d+)|given model): (\w+)$/.exec(part) ?? [];
  return stage === undefined ? Number.POSITIVE_INFINITY : Number(iteration) * ORDER.length + ORDER.indexOf(stage);
}

/**
 * Names below a run directory, folders included; not the log, claims of processes, lists of the files beside them, what the
 * link to the best model leads to, and a person's guesses.
 */
async function namesIn(directory: string): Promise<string[]> {
  const names = await readdir(directory, { recursive: true });
  const isLeftOut = (name: string) =>
    name === 'events.jsonl' ||
    name === TALLY ||
    name.startsWith('lock-') ||
    name.startsWith(`${BEST}/`) ||
    name.split('/').at(-1) === MANIFEST_NAME;
  return names.map((name) => name.replaceAll('\\', '/')).filter((name) => !isLeftOut(name));
}

/** Files by the stage that writes them; the first that fits. */
const WRITTEN: readonly (readonly [pattern: RegExp, stage: NonNullable<RunEvent['stage']>])[] = [
  [/^(pairs|flagged)\.jsonl$|^logprobs\/sampler/, 'generate'],
  [/^logprobs/, 'reference'],
  [/^(evaluation|decision|temperatures)\.json$/, 'evaluate'],
  [/./, 'train'],
];

function partOfFile(file: string): string {
  const [, baseline, inBaseline] = /^baselines\/([^/]+)\/(?:iteration-\d+\/)?(.+)$/.exec(file) ?? [];
  const [, t, inIteration] = /^(?:rejected\/)?iteration-(\d+)(?:-attempt-\d+)?\/(.+)$/.exec(file) ?? [];
  const name = inBaseline ?? inIteration ?? /^(?:baseline|model)\/(.+)$/.exec(file)?.[1];
  if (name === undefined) return WHOLE;
  const [, stage] = WRITTEN.find(([pattern]) => pattern.test(name))!;
  return partOf({ iteration: t === undefined ? null : Number(t), stage, baseline });
}

/** The best models must be the same iteration, or the same model outside of both runs. */
async function compareBest(a: string, b: string): Promise<Deviation | null> {
  const [inA, inB] = await Promise.all(
    [a, b].map(async (run) => {
      const best = await linkedDirectory(join(run, BEST));
      const inside = relative(await realpath(run), best);
      return inside.startsWith('..') ? best : inside;
    }),
  );
  return inA === inB ? null : { where: 'where it leads', ...shown(inA, inB) };
}

async function compareFiles(a: string, b: string): Promise<Deviation | null> {
  if ((await stat(a)).isDirectory() || (await hashFile(a)).sha256 === (await hashFile(b)).sha256) return null;
  if (a.endsWith('.safetensors')) return compareTensors(await readSafetensorsHeader(a), await readSafetensorsHeader(b));
  if (/\.jsonl?$/.test(a)) {
    const [valuesA, valuesB] = [await valuesOf(a), await valuesOf(b)];
    return firstDifference(valuesA, valuesB, (line) => (valuesA.length > 1 ? `line ${line + 1}, ` : ''));
  }
  const [bytesA, bytesB] = [await readFile(a), await readFile(b)];
  const at = bytesA.findIndex((byte, i) => byte !== bytesB[i]);
  return { where: `byte ${at < 0 ? bytesA.length : at}`, ...shown(bytesA[at], bytesB[at]) };
}

/** The values of a JSON or JSON lines file, without when and where the run was written. */
async function valuesOf(file: string): Promise<object[]> {
  if (file.endsWith('.jsonl')) {
    const lines: object[] = [];
    for await (const { value } of readJsonLines(file)) lines.push(value as object);
    return lines;
  }
  // An adapter's ancestors are what they are wherever they lie.
  const withoutPath = (key: string, value: unknown) => (key === 'path' && isLineage ? undefined : value);
  const isLineage = file.endsWith(LINEAGE_FILE);
  const text = await readFile(file, 'utf8');
  const { created: _, ...value } = JSON.parse(text, withoutPath) as Record<string, unknown>;
  const { settings } = value;
  const elsewhere = { out: undefined, lock: undefined };
  return [settings === undefined ? value : { ...value, settings: { ...(settings as object), ...elsewhere } }];
}

function firstDifference(
  a: readonly object[],
  b: readonly object[],
  placeOf: (index: number) => string,
): Deviation | null {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const [left, right] = [a[i], b[i]];
    if (left === undefined || right === undefined) {
      return { where: `${placeOf(i)}all of it`, ...shown(left && 'there', right && 'there') };
    }
    const [first] = differences(left, right);
    if (first) return { where: `${placeOf(i)}${first.key}`, ...shown(first.a, first.b) };
  }
  return null;
}

function shown(a: Parameters<typeof shownValue>[0], b: typeof a): Pick<Deviation, 'a' | 'b'> {
  const short = (text: string) => (text.length > 60 ? `${text.slice(0, 57)}...` : text);
  return { a: short(shownValue(a)), b: short(shownValue(b)) };
}

async function compareTensors(a: SafetensorsHeader, b: SafetensorsHeader): Promise<Deviation> {
  for (const name of new Set([...a.tensors.keys(), ...b.tensors.keys()])) {
    const [left, right] = [a.tensors.get(name), b.tensors.get(name)];
    const form = (info: typeof left) => info && `${info.dtype} [${info.shape.join(', ')}]`;
    if (left === undefined || right === undefined || form(left) !== form(right)) {
      return { where: name, ...shown(form(left), form(right)) };
    }
    const [valuesA, valuesB] = [await readTensorF32(left), await readTensorF32(right)];
    const at = valuesA.findIndex((value, i) => !Object.is(value, valuesB[i]));
    if (at >= 0) return { where: `${name}, element ${at}`, ...shown(valuesA[at], valuesB[at]) };
  }
  return { where: 'the header', a: 'as it is', b: 'another' };
}

/** Events that say what was computed. */
const COMPUTED: ReadonlySet<RunEvent['type']> = new Set([
  ...(['pairs', 'shard.finished', 'train.step', 'evaluation', 'governor.decided'] as const),
  ...(['stage.finished', 'run.finished'] as const),
]);

/** Both logs, stage by stage: every step, shard and figure must be there once, and the same. */
async function compareLogs(a: string, b: string): Promise<ComparedFile[]> {
  const [logA, logB] = [await computedIn(a), await computedIn(b)];
  const parts = [...new Set([...logA, ...logB].map(partOf))];
  return parts.map((part) => {
    const [eventsA, eventsB] = [logA, logB].map((log) => log.filter((event) => partOf(event) === part)) as [
      RunEvent[],
      RunEvent[],
    ];
    const placeOf = (i: number) => {
      const event = (eventsA[i] ?? eventsB[i])!;
      return `${event.type}${numberOf(event)}, `;
    };
    const deviation = firstDifference(eventsA.map(withoutTimes), eventsB.map(withoutTimes), placeOf);
    return { part, file: 'events.jsonl', deviation };
  });
}

async function computedIn(directory: string): Promise<RunEvent[]> {
  return (await readRunLog(directory)).filter(({ type }) => COMPUTED.has(type));
}

function withoutTimes(event: RunEvent): object {
  return { ...event, seq: 0, time: '', ...('seconds' in event ? { seconds: 0 } : {}) };
}

/** Which step, shard or split an event is about: " 3". */
export function numberOf(event: RunEvent): string {
  if (event.type === 'train.step') return ` ${event.step}`;
  if (event.type === 'shard.finished') return ` ${event.shard}`;
  return event.type === 'evaluation' ? ` ${event.split} ${event.model}` : '';
}
