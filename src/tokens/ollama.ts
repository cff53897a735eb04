// What Ollama must be told of a model beside its GGUF file: a Modelfile with a template in the language of Go's text/template and with
// stop texts. Ollama does not run the Jinja template of a GGUF file: it compares it with a list of those that it knows, and where none
// is near enough it sends the question without any turns (https://github.com/ollama/ollama/blob/main/template/template.go). So the
// template is always written out, or the export refused.
// Notable choice: control tokens, BOS included, are written by the template, as everywhere here; the GGUF file adds none.

import { usageError } from '../util/index.ts';
import { loadTokenizer } from './chatTokenizer.ts';
import { type Around, type ChatTurns, turnsOf } from './chatTurns.ts';
import { openCompanions } from './companions.ts';
import { buildEncoder } from './encoder.ts';
import { readSettings } from './settings.ts';
import { readsClock } from './template.ts';
import { readTokenizerJson } from './tokenizerJson.ts';

export interface OllamaChat {
  /** A Go template over .System and .Messages. */
  readonly template: string;
  /** Texts that end an answer. */
  readonly stops: readonly string[];
  /** Whether the GGUF file must put a BOS before the text. */
  readonly addBos: boolean;
  /** What the template cannot say, in sentences. */
  readonly notes: readonly string[];
}

/** Of a model without a chat template: contents joined by a newline, as `loadTokenizer` has it. */
const PLAIN = '{{ range $i, $m := .Messages }}{{ if $i }}\n{{ end }}{{ $m.Content }}{{ end }}';

/**
 * @param time for templates that write the date, as `loadTokenizer`
 * @throws usage error for a chat template that is more than text around messages, besides those of `loadTokenizer`
 */
export async function ollamaChat(model: string, time?: string): Promise<OllamaChat> {
  const companions = await openCompanions(model);
  const settings = await readSettings(companions, (await readTokenizerJson(companions)).definition);
  const { definition, template } = settings;
  const { endId, endIds, render } = await loadTokenizer(model, time);
  const stops = [...new Set([endId, ...endIds])].map((id) => definition.tokenOf.get(id)!);
  if (template === undefined) {
    const addBos = buildEncoder(definition, companions.where('tokenizer.json')).prefix.length > 0;
    return { template: PLAIN, stops, addBos, notes: [] };
  }
  const controls = definition.added.filter(({ special }) => special).map(({ content }) => content);
  const turns = turnsOf(render, controls);
  if ('problem' in turns) {
    throw usageError({
      what: `Ollama has no way to say what this chat template does: ${turns.problem}`,
      where: template.where,
      fix: 'export with --to gguf for llama.cpp, which runs the template itself; or write a Modelfile of your own for that file',
    });
  }
  const notes = [
    ...(turns.system === null ? ['The chat template takes no system message: Ollama will leave one out.'] : []),
    ...(readsClock(template.source)
      ? ['The chat template writes the date: in the Modelfile it is always the same one.']
      : []),
  ];
  return { template: goTemplate(turns), stops, addBos: false, notes };
}

/** The pieces as a Go template that writes what `renderTurns` does. */
export function goTemplate({ head, system, user, assistant, opening }: ChatTurns): string {
  const said = ({ before, after }: Around) => `${literal(before)}{{ $.System }}${literal(after)}`;
  const first = literal(head);
  const before = literal(user.before);
  const condition = { first: 'and $.System (not $asked)', last: 'and $.System $last' };
  const isTurn = system?.place === 'turn';
  const start = isTurn ? `{{ if .System }}${said(system)}{{ else }}${first}{{ end }}` : first;
  const ask =
    system === null || isTurn
      ? before
      : `{{ if ${condition[system.place as 'first' | 'last']} }}${said(system)}{{ else }}${before}{{ end }}`;
  const asks = system?.place === 'first';
  return [
    start,
    asks ? '{{ $asked := false }}' : '',
    '{{ range $i, $m := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}',
    `{{ if eq $m.Role "user" }}${ask}{{ $m.Content }}${literal(user.after)}{{ if $last }}${literal(opening)}{{ end }}`,
    asks ? '{{ $asked = true }}' : '',
    `{{ else if eq $m.Role "assistant" }}${literal(assistant.before)}{{ $m.Content }}`,
    `{{ if not $last }}${literal(assistant.after)}{{ end }}{{ end }}{{ end }}`,
  ].join('');
}

/** Text that stands for itself in a template inside a Modelfile, whose parser drops what does not print and ends at three quotes. */
function literal(text: string): string {
  if (!/["{}]/.test(text) && !UNPRINTABLE.test(text.replaceAll(/[ \n\t]/g, ''))) return text;
  const escaped = JSON.stringify(text).replaceAll(/[^ \P{Z}]|\p{C}/gu, (char) => {
    return `\\U${char.codePointAt(0)!.toString(16).padStart(8, '0')}`;
  });
  return `{{ ${escaped} }}`;
}

const UNPRINTABLE = /[\p{C}\p{Z}]/u;

/** The text of a Modelfile. @param gguf name of the file beside it */
export function modelfile(gguf: string, { template, stops }: OllamaChat): string {
  return [
    `FROM ./${gguf}`,
    `TEMPLATE """${template}"""`,
    // A text that a Modelfile cannot hold needs no stop: the end tokens are in the GGUF file as well.
    ...stops
      .filter((stop) => !stop.includes('"') && !UNPRINTABLE.test(stop.replaceAll(' ', '')))
      .map((stop) => `PARAMETER stop "${stop}"`),
    '',
  ].join('\n');
}
