/**
 * `selfplay export`: a model, or one of a run's, for other programs. What a cast does is measured and said before anything is written;
 * what is written takes its name when it is complete.
 */
import { readFile, rm } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import {
  baseDirectory,
  type Cast,
  castAll,
  castGguf,
  companionDirectory,
  copyAdapterDirectory,
  demandBase,
  isAdapterDirectory,
  mergeAdapter,
  mixedModel,
  openWholeModel,
  parameterTensor,
  saveModelDirectory,
  type WholeModel,
  writeGgufModel,
} from '../../checkpoint/index.ts';
import { filesInWords, readExamples, take } from '../../data/index.ts';
import { openEngine } from '../../engine/index.ts';
import { isGgufFile, type WritableType } from '../../formats/index.ts';
import { readResults } from '../../report/index.ts';
import { loadTokenizer, modelfile, ollamaChat } from '../../tokens/index.ts';
import {
  besides,
  checkWritable,
  diskIo,
  exists,
  linkedDirectory,
  publishDirectory,
  SelfplayError,
  usageError,
  writeFileAtomic,
} from '../../util/index.ts';
import { type RecipeContext, stopIfAsked } from '../run/context.ts';
import { engineSentence, frozen, type OpenedEngine, openRequested } from '../run/engines.ts';
import { localInputs } from '../run/inputs.ts';
import { LOCK } from '../run/layout.ts';
import { lineupOf, type Partner, partnerNamed } from '../run/lineup.ts';
import { readLock } from '../run/lock.ts';
import { MANIFEST, readManifest } from '../run/manifest.ts';
import { columnsOf, encodeRows, readDevRows, refuseUnusable } from '../run/rows.ts';
import type { ExportSettings } from '../settings/exportSettings.ts';
import { type Ancestor, ancestryOf, ancestryOfModel, nameOf } from './ancestry.ts';
import { modelCard, type Origin } from './card.ts';
import { type CastReport, castReport, type Measured } from './cast.ts';
import { mergedSentence } from './merge.ts';

export interface ExportOutcome {
  /** Row of the run's table, or the name of the model. */
  readonly model: string;
  readonly out: string;
  readonly to: ExportSettings['to'];
  /** Bytes. */
  readonly size: number;
  /** Null in f32, which changes nothing. */
  readonly cast: CastReport | null;
}

/** A model that is to be exported. */
interface Target {
  readonly label: string;
  readonly dir: string;
  readonly title: string;
  readonly ancestry: readonly Ancestor[];
  /** Of a run's model. */
  readonly run: { readonly directory: string; readonly start: Partner; readonly origin: Origin } | null;
  readonly templateTime: string | undefined;
}

/** Whole models, made from adapters where they are some, and the engine, opened when it is first needed. */
interface Bench {
  readonly engine: () => Promise<OpenedEngine['engine']>;
  readonly whole: (dir: string) => Promise<WholeModel>;
}

const CARD = 'README.md';
const GGUF = 'model.gguf';

/** @throws usage error for a model that cannot be written so, and failures; then there is nothing at `out` */
export async function exportModel(settings: ExportSettings, context: RecipeContext): Promise<ExportOutcome> {
  const { to, out, dtype, mix } = settings;
  if (await exists(out)) {
    throw usageError({ what: 'there is something in this place already', where: out, fix: 'give another --out' });
  }
  await checkWritable(out);
  const target = await targetOf(settings, context);
  await demandBase(target.dir);
  if (to === 'peft') return exportAdapter(target, settings, context);
  const start = target.run?.start;
  if (mix !== undefined && (start === undefined || start.dir === target.dir)) {
    throw usageError({
      what: `mix is between a model that a run made and the one it began with, and this is ${start === undefined ? 'a model alone' : `the ${start.label}`}`,
      where: '--mix',
      fix: 'give RUN@ITERATION, or leave --mix out',
    });
  }
  // What keeps the model from being written so is found out before anything is computed.
  const chat =
    to === 'ollama' ? await ollamaChat(await companionDirectory(target.dir), target.templateTime) : undefined;
  for (const note of chat?.notes ?? []) context.say(note);
  return withBench(settings, context, async (bench) => {
    const type = dtype.toUpperCase() as WritableType;
    const own = await bench.whole(target.dir);
    const isCompared = start !== undefined && start.dir !== target.dir && (mix !== undefined || dtype !== 'f32');
    const first = isCompared ? await bench.whole(start.dir) : undefined;
    const whole = mix === undefined || first === undefined ? own : mixedModel(first, own, mix);
    const cast = dtype === 'f32' ? null : await measureCast(target, whole, first, settings, context, bench);
    stopIfAsked(context.signal);
    const files = await publishedFiles(target, settings, cast, await isAdapterDirectory(target.dir));
    if (to === 'hf') {
      await saveModelDirectory(out, {
        sourceDir: whole.dir,
        config: whole.config,
        tensors: whole.model.parameters.map((parameter) =>
          parameterTensor(parameter, () => whole.weights.read(parameter.name), type as 'F32' | 'F16' | 'BF16'),
        ),
        files,
      });
    } else if (to === 'gguf') {
      await writeGguf(whole, out, type, { name: target.title }, context);
    } else {
      await publishDirectory(out, async (temporary) => {
        const options = { name: target.title, addBos: chat!.addBos };
        await writeGguf(whole, join(temporary, GGUF), type, options, context);
        for (const [name, text] of [...files, ['Modelfile', modelfile(GGUF, chat!)] as const]) {
          await writeFileAtomic(join(temporary, name), text);
        }
      });
    }
    return { model: target.label, out, to, size: await sizeOf(out), cast };
  });
}

/** The adapter of a run as PEFT has it. */
async function exportAdapter(target: Target, settings: ExportSettings, context: RecipeContext): Promise<ExportOutcome> {
  const { out, to } = settings;
  const { dir, label, run } = target;
  if (!(await isAdapterDirectory(dir))) {
    throw usageError({
      what: `${label} is a whole model, no adapter`,
      where: dir,
      fix: 'export it with --to hf; runs with --lora-rank have adapters',
    });
  }
  const base = await baseDirectory(dir);
  const manifest = run?.origin.manifest;
  const source = manifest?.settings.model === base ? manifest.sources['model'] : undefined;
  const [, id, revision] = /^(.+)@([^@]+)$/.exec(String(source)) ?? [];
  if (id === undefined) {
    context.say(
      `The adapter names its base by its place here, ${base}: elsewhere write the new place into adapter_config.json.`,
    );
  }
  if (await isGgufFile(base)) {
    context.say(
      'That base is a GGUF file, on which PEFT cannot put an adapter: export the model that the run began with as well (--to hf).',
    );
  }
  const files = await publishedFiles(target, settings, null, true);
  await copyAdapterDirectory(dir, out, { base: id ?? resolve(base), revision, files });
  return { model: label, out, to, size: await sizeOf(out), cast: null };
}

async function writeGguf(
  whole: WholeModel,
  file: string,
  type: WritableType,
  options: Parameters<typeof writeGgufModel>[3],
  { say }: RecipeContext,
): Promise<void> {
  const { tensors, unblocked } = await writeGgufModel(whole, file, type, options);
  if (unblocked === 0) return;
  say(
    `${unblocked} of ${tensors} tensors stay f32: their rows are not whole ${type.toLowerCase()} blocks of 32 weights.`,
  );
}

/** RUN and RUN@ITERATION by the names that `selfplay chat` has, or else a model. */
async function targetOf({ model: given }: ExportSettings, context: RecipeContext): Promise<Target> {
  const [, before, named] = (await exists(given)) ? [] : (/^(.+)@([^@/]+)$/.exec(given) ?? []);
  const place = before ?? given;
  if (!(await exists(place))) return modelAlone(given, context);
  if (!(await exists(join(place, MANIFEST)))) {
    if (named === undefined) return modelAlone(given, context);
    partnerNamed(await lineupOf(place), named);
  }
  const lineup = await lineupOf(place);
  const { partners, best, templateTime } = lineup;
  const directory = lineup.run!;
  const partner = named === undefined ? best : partnerNamed(lineup, named);
  const [lock, results] = [join(directory, LOCK), join(directory, 'results.json')];
  const origin: Origin = {
    manifest: await readManifest(directory),
    lock: (await exists(lock)) ? await readLock(lock) : null,
    results: (await exists(results)) ? await readResults(results) : null,
  };
  return {
    label: partner.label,
    dir: partner.dir,
    title: `${nameOf(directory)}, ${partner.label}`,
    ancestry: await ancestryOf(directory, partner),
    run: { directory, start: partners[0]!, origin },
    templateTime,
  };
}

async function modelAlone(given: string, context: RecipeContext): Promise<Target> {
  const { settings, sources } = await localInputs({ model: given }, context);
  const dir = await linkedDirectory(settings.model);
  const source = typeof sources['model'] === 'string' ? sources['model'] : undefined;
  const name = source ?? nameOf(dir);
  const ancestry = await ancestryOfModel(dir, source);
  return { label: name, dir, title: name, ancestry, run: null, templateTime: undefined };
}

/** Lends whole models and an engine; what they took on the disk is gone afterwards. */
async function withBench<T>(
  { out, engine, device, threads }: ExportSettings,
  context: RecipeContext,
  body: (bench: Bench) => Promise<T>,
): Promise<T> {
  const merged: string[] = [];
  let opened: OpenedEngine | undefined;
  const open = async () => {
    if (opened === undefined) {
      const request = { engine, device, threads, dtype: 'f32', deterministic: false } as const;
      opened = await openRequested(context.openEngine ?? openEngine, request);
      context.say(engineSentence(frozen(opened)));
    }
    return opened.engine;
  };
  try {
    return await body({
      engine: open,
      whole: async (dir) => {
        if (!(await isAdapterDirectory(dir))) return openWholeModel(dir);
        const place = besides(resolve(out), 'tmp');
        merged.push(place);
        context.say(mergedSentence(await mergeAdapter(await open(), dir, place)));
        return openWholeModel(place);
      },
    });
  } finally {
    await opened?.engine.dispose();
    for (const place of merged) await rm(place, { recursive: true, force: true });
  }
}

/** Measures what the cast does, and says it. @param first the model that the run began with, unless that is exported */
async function measureCast(
  target: Target,
  whole: WholeModel,
  first: WholeModel | undefined,
  settings: ExportSettings,
  context: RecipeContext,
  bench: Bench,
): Promise<CastReport> {
  const { to, dtype, micro_batch_tokens: budget } = settings;
  const type = dtype.toUpperCase() as WritableType;
  const cast: Cast = to === 'hf' ? castAll(type) : castGguf(type);
  const measured = await heldOut(
    target,
    whole,
    (await localInputs({ ...settings, model: undefined }, context)).settings,
  );
  const report = await castReport(
    dtype,
    cast,
    whole,
    measured,
    first && { model: first, label: target.run!.start.label },
    { engine: bench.engine, budget, context },
  );
  for (const sentence of report.sentences) context.say(sentence);
  return report;
}

/** The rows of --data, or the dev split of the run. That they cannot be had keeps nobody from exporting, unless they were asked for. */
async function heldOut(
  target: Target,
  { dir, model }: WholeModel,
  settings: Omit<ExportSettings, 'model'>,
): Promise<Measured> {
  const { data, limit, seed } = settings;
  const tokenizer = await loadTokenizer(dir, target.templateTime);
  if (data !== undefined) {
    const { examples } = await readExamples(data, columnsOf(settings));
    const encoded = await encodeRows(
      take(examples, { seed, ...(limit === undefined ? {} : { limit }) }),
      tokenizer,
      model,
    );
    refuseUnusable([encoded], filesInWords(data));
    return { rows: encoded.rows, of: `rows of ${data.map((file) => basename(file)).join(', ')}` };
  }
  const fix = '--data FILE gives rows to measure it on';
  if (target.run === null) return { problem: `a model alone has no held-out rows; ${fix}` };
  const { command, settings: played } = target.run.origin.manifest;
  if (command === 'dpo' || played.data === undefined) return { problem: `the run has no dev split; ${fix}` };
  try {
    const rows = await readDevRows(
      { ...played, data: played.data } as Parameters<typeof readDevRows>[0],
      tokenizer,
      model,
    );
    const some = limit === undefined ? rows : rows.slice(0, limit);
    return some.length === 0
      ? { problem: `the dev split of the run is empty; ${fix}` }
      : { rows: some, of: 'dev rows' };
  } catch (error) {
    if (!(error instanceof SelfplayError)) throw error;
    return { problem: `the rows of the run cannot be read (${error.what.split('\n')[0]}); ${fix}` };
  }
}

/** What stands beside the weights: the card, and the lock of the run. */
async function publishedFiles(
  { title, label, ancestry, run }: Target,
  { to, mix }: ExportSettings,
  cast: CastReport | null,
  isAdapter: boolean,
): Promise<ReadonlyMap<string, string>> {
  const origin = run?.origin ?? null;
  const card = await modelCard({
    title,
    to,
    label,
    ancestry,
    origin,
    isAdapter,
    precision: cast?.sentences ?? [],
    mix: mix === undefined ? null : { share: mix, start: run!.start.label },
  });
  const files = new Map([[CARD, card]]);
  if (run !== null && origin!.lock !== null) files.set(LOCK, await readFile(join(run.directory, LOCK), 'utf8'));
  return files;
}

async function sizeOf(path: string): Promise<number> {
  const { size, type } = (await diskIo.stat(path))!;
  if (type !== 'directory') return size;
  const sizes = await Promise.all((await diskIo.readdir(path)).map(({ name }) => sizeOf(join(path, name))));
  return sizes.reduce((sum, one) => sum + one, 0);
}
