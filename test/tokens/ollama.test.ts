// Chat templates as pieces for Ollama: the usual shapes, what cannot be said in pieces, and a Modelfile that keeps every character.
import { describe, expect, it } from 'vitest';
import type { Message } from '../../src/data/index.ts';
import { type ChatTurns, renderTurns, turnsOf } from '../../src/tokens/chatTurns.ts';
import { ggufTokenizer, modelfile, ollamaChat } from '../../src/tokens/index.ts';
import { goTemplate } from '../../src/tokens/ollama.ts';
import { compileTemplate } from '../../src/tokens/template.ts';
import { SHAPES } from './ollama-templates.ts';
import { CHATML, tokenizerDirectory } from './support.ts';

const TOKENS = { bos_token: '<s>', eos_token: '</s>' };

function rendererOf(template: string) {
  const compiled = compileTemplate(template, 'template');
  return (messages: readonly Message[], add_generation_prompt: boolean) =>
    compiled({ ...TOKENS, messages, add_generation_prompt });
}

const turnsFor = (template: string, controls: readonly string[]) => turnsOf(rendererOf(template), controls);
const asked = (content: string): Message => ({ role: 'user', content });

describe('chat templates as pieces', () => {
  it.each(SHAPES)('$name', ({ template, controls, system }) => {
    const turns = turnsFor(template, controls) as ChatTurns;
    expect(turns).not.toHaveProperty('problem');
    expect(turns.system?.place ?? null).toBe(system);
    const render = rendererOf(template);
    const told: Message[] = system === null ? [] : [{ role: 'system', content: 'Be kind.' }];
    const messages: Message[] = [asked('a'), { role: 'assistant', content: 'b' }, asked('c')];
    for (const conversation of [messages, messages.slice(0, 1), [...told, ...messages], [...told, asked('x')]]) {
      expect(renderTurns(turns, conversation)).toBe(render(conversation, true));
    }
    // Pieces end where control tokens do.
    const texts = [turns.head, turns.user.after, turns.assistant.before, turns.assistant.after, turns.opening];
    for (const text of texts)
      expect(controls.reduce((rest, token) => rest.replaceAll(token, ''), text)).not.toMatch(/<\||\|>/);
  });

  it('are those of ChatML', () => {
    expect(turnsFor(SHAPES[0]!.template, SHAPES[0]!.controls)).toEqual({
      head: '',
      system: { place: 'turn', before: '<|im_start|>system\n', after: '<|im_end|>\n' },
      user: { before: '<|im_start|>user\n', after: '<|im_end|>\n' },
      assistant: { before: '<|im_start|>assistant\n', after: '<|im_end|>\n' },
      opening: '<|im_start|>assistant\n',
    });
  });

  it.each([
    ['numbers the turns', '{% for m in messages %}{{ loop.index }}: {{ m.content }}\n{% endfor %}'],
    [
      'leaves out old answers',
      "{% for m in messages %}{% if m.role == 'user' or loop.last %}{{ m.content }}{% endif %}{% endfor %}",
    ],
    ['looks into messages', "{% for m in messages %}{{ m.content | replace('2', 'two') }}\n{% endfor %}"],
    ['writes a message twice', '{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}'],
    [
      'counts its rounds',
      '{% for m in messages %}{{ m.role }}{% if messages | length > 4 %}!{% endif %}{{ m.content }}\n{% endfor %}',
    ],
  ])('that %s are refused', (_, template) => {
    expect(turnsFor(template, [])).toHaveProperty('problem');
  });
});

describe('what Ollama is told', () => {
  it('is a template, stops, and no BOS of the file', async () => {
    const chat = await ollamaChat(await tokenizerDirectory());
    expect(chat).toMatchObject({ stops: ['<|im_end|>'], addBos: false, notes: [] });
    expect(modelfile('m.gguf', chat)).toBe(
      'FROM ./m.gguf\nTEMPLATE """{{ if .System }}<|im_start|>system\n{{ $.System }}<|im_end|>\n{{ else }}{{ end }}' +
        '{{ range $i, $m := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}{{ if eq $m.Role "user" }}<|im_start|>user\n' +
        '{{ $m.Content }}<|im_end|>\n{{ if $last }}<|im_start|>assistant\n{{ end }}{{ else if eq $m.Role "assistant" }}' +
        '<|im_start|>assistant\n{{ $m.Content }}{{ if not $last }}<|im_end|>\n{{ end }}{{ end }}{{ end }}"""\n' +
        'PARAMETER stop "<|im_end|>"\n',
    );
  });

  it('has the file add no BOS, though the tokenizer would', async () => {
    const bos = { SpecialToken: { id: '<s>', type_id: 0 } };
    const text = { Sequence: { id: 'A', type_id: 0 } };
    const model = await tokenizerDirectory({
      change: (json) => {
        const special_tokens = { '<s>': { id: '<s>', ids: [3], tokens: ['<s>'] } };
        json['post_processor'] = {
          type: 'TemplateProcessing',
          single: [bos, text],
          pair: [bos, text, text],
          special_tokens,
        };
      },
    });
    const adds = async (addBos?: boolean) =>
      (await ggufTokenizer(model, 320, { architecture: 'llama', addBos })).get('tokenizer.ggml.add_bos_token');
    expect([await adds(), await adds(false)]).toEqual([true, false].map((value) => ({ type: 'bool', value })));
    expect((await ollamaChat(model)).addBos).toBe(false);
  });

  it('says what gets lost, and refuses what cannot be said', async () => {
    const gemma = await tokenizerDirectory({ template: SHAPES.find(({ name }) => name === 'Gemma')!.template });
    expect((await ollamaChat(gemma)).notes).toEqual([expect.stringContaining('takes no system message')]);
    const dated = await tokenizerDirectory({ template: `{{ strftime_now('%Y') }}${CHATML}` });
    const { notes, template } = await ollamaChat(dated, '2026-11-28T09:30:00');
    expect([notes, template.includes('2026')]).toEqual([[expect.stringContaining('writes the date')], true]);
    const odd = await tokenizerDirectory({ template: `{% if messages | length > 4 %}!{% endif %}${CHATML}` });
    await expect(ollamaChat(odd)).rejects.toThrow(
      /more than put text around[\s\S]+where: [\s\S]+fix: export with --to gguf/,
    );
  });

  it('of a model without a chat template is its plain rule', async () => {
    const files = { 'tokenizer_config.json': '{"eos_token": "<|im_end|>"}' };
    expect(await ollamaChat(await tokenizerDirectory({ files }))).toEqual({
      template: '{{ range $i, $m := .Messages }}{{ if $i }}\n{{ end }}{{ $m.Content }}{{ end }}',
      stops: ['<|im_end|>'],
      addBos: false,
      notes: [],
    });
  });

  it('holds quotes, braces and unprintable characters as literals of Go', () => {
    const turns: ChatTurns = {
      head: 'a "quoted""" {{ x }}\u00a0\u0007\r\n',
      system: null,
      user: { before: '｜ü▁', after: '\n\t' },
      assistant: { before: '', after: '' },
      opening: '',
    };
    const template = goTemplate(turns);
    expect(template).not.toContain('"""');
    expect(template.startsWith('{{ "a \\"quoted\\"\\"\\" {{ x }}\\U000000a0\\u0007\\r\\n" }}{{ range')).toBe(true);
    expect(template).toContain('"user" }}｜ü▁{{ $m.Content }}\n\t{{');
  });
});
