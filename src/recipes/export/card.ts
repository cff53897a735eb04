/**
 * The model card (README.md) of an exported model: front matter for the Hub, what the model is worth by the table of its run, where it
 * comes from, and how it was made. No path of this machine is in it: it is meant to be published.
 */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { ggufInPlaceOf, readModelGguf } from '../../formats/index.ts';
import { comparisonSentence, differenceText, markdownTable, pairedFigure, type Results } from '../../report/index.ts';
import { VERSION } from '../../util/index.ts';
import type { RunLock } from '../run/lock.ts';
import type { Manifest } from '../run/manifest.ts';
import type { ExportFormat } from '../settings/exportSettings.ts';
import { type Ancestor, nameOf } from './ancestry.ts';

/** What is known of the run that a model is from. */
export interface Origin {
  readonly manifest: Manifest;
  readonly lock: RunLock | null;
  /** Null as long as there is no table. */
  readonly results: Results | null;
}

export interface CardContent {
  readonly title: string;
  readonly to: ExportFormat;
  /** Row of the table. */
  readonly label: string;
  /** The oldest first, the model last. */
  readonly ancestry: readonly Ancestor[];
  readonly origin: Origin | null;
  readonly isAdapter: boolean;
  /** What a cast did; empty in f32. */
  readonly precision: readonly string[];
  readonly mix: { readonly share: number; readonly start: string } | null;
}

const LIBRARIES: Readonly<Record<ExportFormat, string>> = {
  hf: 'transformers',
  peft: 'peft',
  gguf: 'gguf',
  ollama: 'gguf',
};

/** The text of README.md. */
export async function modelCard(content: CardContent): Promise<string> {
  const { title, ancestry, origin, mix, precision } = content;
  const sections = [
    `# ${plain(title)}`,
    ...(mix === null ? [] : [mixSentence(content.label, mix)]),
    worth(content),
    ...(origin?.results && origin.results.rows.length > 0
      ? [`## Results\n\n${resultsText(origin.results, mix !== null)}`]
      : []),
    `## Lineage\n\n${ancestry.map(ancestorLine).join('\n')}`,
    ...(precision.length === 0 ? [] : [`## Precision\n\n${precision.join(' ')}`]),
    `## Use\n\n${useOf(content)}`,
    ...(origin === null ? [] : [`## How it was made\n\n${making(origin)}`]),
    `Written by selfplay ${VERSION}.`,
  ];
  return `---\n${stringify(await frontMatter(content))}---\n\n${sections.join('\n\n')}\n`;
}

/** What the Hub reads. */
async function frontMatter({ to, ancestry, origin, isAdapter }: CardContent): Promise<Record<string, unknown>> {
  const [base] = ancestry as [Ancestor, ...Ancestor[]];
  const command = origin?.manifest.command;
  const method = command === 'run' ? ['spin', 'self-play'] : command === 'sft' || command === 'dpo' ? [command] : [];
  const { data = [] } = origin?.manifest.sources ?? {};
  const datasets = [...new Set([data].flat().map((name) => name.split(/[@:]/)[0]!))];
  return {
    base_model: hubId(base.name),
    library_name: LIBRARIES[to],
    pipeline_tag: 'text-generation',
    tags: ['selfplay', ...method, ...(isAdapter ? ['lora'] : [])],
    ...(await licenseOf(base.dir)),
    ...(datasets.length === 0 ? {} : { datasets }),
  };
}

/** org/name of org/name@COMMIT. */
const hubId = (name: string) => name.replace(/@[0-9a-f]{40}$/, '');

/** The licence as the base states it: in the front matter of its README, or in its GGUF file; nothing where it states none. */
async function licenseOf(base: string): Promise<Record<string, unknown>> {
  const card = await readFile(join(base, 'README.md'), 'utf8').catch(() => '');
  const [, front] = /^---\r?\n([\s\S]*?)\r?\n---/.exec(card) ?? [];
  if (front !== undefined) {
    try {
      const stated = (parse(front) ?? {}) as Record<string, unknown>;
      const keys = ['license', 'license_name', 'license_link'].filter((key) => typeof stated[key] === 'string');
      if (keys.includes('license')) return Object.fromEntries(keys.map((key) => [key, stated[key]]));
    } catch {
      // A card that is no YAML states nothing.
    }
  }
  const gguf = await ggufInPlaceOf('config.json', base).catch(() => undefined);
  const license = gguf === undefined ? undefined : (await readModelGguf(gguf)).metadata.get('general.license');
  return typeof license === 'string' ? { license } : {};
}

/** Whether it is better than what the same effort gives otherwise, as far as the run knows, in one paragraph. */
function worth({ origin, label, ancestry, mix }: CardContent): string {
  if (origin === null)
    return `${code(ancestry.at(-1)!.name)}, as it was. No run of selfplay says anything of what it is worth.`;
  const { results } = origin;
  if (mix !== null) return 'The mixed weights themselves were not evaluated.';
  const own = results?.rows.find((row) => row.label === label);
  if (!results || !own) return 'The run has no figures of this model.';
  const [start] = results.rows;
  if (own === start) return `This is the model that the run began with (${label}).`;
  const comparisons = results.comparisons?.filter(({ of }) => of === label) ?? [];
  if (comparisons.length > 0) {
    const verdicts = comparisons.map(({ verdict }) => verdict);
    const claim = verdicts.includes('worse')
      ? 'It did worse than its best control.'
      : verdicts.includes('better')
        ? 'It did better than its best control.'
        : 'There is no evidence that it is better than its best control.';
    return `**${claim}** ${comparisons.map(comparisonSentence).join(' ')}`;
  }
  const against = Object.keys(own.metrics).flatMap((metric) => {
    const paired = pairedFigure(metric, start, own);
    return paired === null ? [] : [`${metric} ${differenceText(metric, paired)}`];
  });
  const figures =
    against.length === 0 ? '' : ` Differences from the ${start!.label}, with 95 % intervals: ${against.join('; ')}.`;
  return `**It was not compared with controls**, so nothing here says that it is better than longer fine-tuning would have made it.${figures}`;
}

const mixSentence = (label: string, { share, start }: { share: number; start: string }) =>
  `The weights are θ = ${1 - share}·(${start}) + ${share}·(${label}).`;

function resultsText(results: Results, isMixed: boolean): string {
  const { split } = results.settings as { split?: string };
  const rows = isMixed ? 'The table is about the models that were mixed, not about their mixture.\n\n' : '';
  return `${rows}On the ${split ?? 'held-out'} split, by which nothing was chosen:\n\n${markdownTable(results).trimEnd()}`;
}

const ancestorLine = ({ what, name, sha256 }: Ancestor, i: number) =>
  `${i + 1}. ${what}: ${code(name)}${sha256 === null ? ', not here any more' : `, sha256 \`${sha256}\``}`;

function useOf({ to, title }: CardContent): string {
  if (to === 'ollama' || to === 'gguf') {
    const name = title.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
    return `\`\`\`sh\nollama create ${name} -f Modelfile\nollama run ${name}\n\`\`\``;
  }
  const [module, loader] =
    to === 'peft' ? ['peft', 'AutoPeftModelForCausalLM'] : ['transformers', 'AutoModelForCausalLM'];
  return `\`\`\`python\nfrom ${module} import ${loader}\n\nmodel = ${loader}.from_pretrained("path/to/this/directory")\n\`\`\``;
}

function making({ manifest, lock }: Origin): string {
  const { command, version, sources, settings } = manifest;
  const data = [sources['data'] ?? (settings.data ?? []).map((path) => basename(path))].flat();
  const model = String(sources['model'] ?? nameOf(settings.model));
  const rows = data.length === 0 ? '' : ` --data ${data.map(word).join(' ')}`;
  const call = `selfplay ${command} --config settings.yaml --model ${word(model)}${rows}`;
  if (lock === null) return `By selfplay ${version}: ${code(call)}. The run has no lock.json with its settings.`;
  // Those that decide the outcome, by the lock, which names no paths; as a config file has them.
  const deciding = new Set(['seed', 'baselines', ...Object.keys(lock.settings), ...Object.keys(lock.sampler ?? {})]);
  const stated = Object.fromEntries(Object.entries(settings).filter(([key]) => deciding.has(key)));
  return [
    `By selfplay ${version}, with these settings:`,
    `\`\`\`yaml\n${stringify(stated)}\`\`\``,
    `\`\`\`sh\n${call}\n\`\`\``,
    'lock.json has what the bytes depend on besides: contents of model and data, engine, processor, versions. `--lock lock.json` refuses ' +
      'a run in which any of it differs.',
  ].join('\n\n');
}

/** A name as one word for a shell. */
const word = (name: string) =>
  /^[\w./:@%+=,-]+$/.test(name) ? name : `'${name.replaceAll(/[\r\n]/g, ' ').replaceAll("'", "'\\''")}'`;

/** Text on one line that Markdown shows as it is. */
const plain = (text: string) => text.replaceAll(/[\r\n]+/g, ' ').replaceAll(/[\\`*_<>[\]#|]/g, '\\$&');
const code = (text: string) => `\`${text.replaceAll(/[\r\n`]+/g, ' ')}\``;
