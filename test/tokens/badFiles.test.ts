// Malformed tokenizer files and hostile templates: one clear error that names file and key.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadTokenizer } from '../../src/tokens/index.ts';
import { compileTemplate, readsClock, wallClock } from '../../src/tokens/template.ts';
import { SelfplayError } from '../../src/util/index.ts';
import { type DirectoryParts, tokenizerDirectory } from './support.ts';

type Json = Record<string, never> & { model: { vocab: Record<string, unknown>; merges: unknown[]; type: unknown } };
const change = (apply: (json: Json) => void): DirectoryParts => ({ change: (json) => apply(json as Json) });
const withFile = (name: string, content: string | Uint8Array): DirectoryParts => ({ files: { [name]: content } });
const splitBy = (pattern: string) =>
  change(
    (json) =>
      void Object.assign(json, {
        pre_tokenizer: { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
      }),
  );

async function loadingError(parts: DirectoryParts): Promise<SelfplayError> {
  const dir = await tokenizerDirectory(parts);
  const error: unknown = await loadTokenizer(dir).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SelfplayError);
  return error as SelfplayError;
}

describe('tokenizer files', () => {
  it.each<[string, DirectoryParts, RegExp, string]>([
    ['truncated', withFile('tokenizer.json', '{"model": {"type"'), /not valid JSON/, 'tokenizer.json'],
    ['a list', withFile('tokenizer.json', '[]'), /not a JSON object/, 'tokenizer.json'],
    ['not UTF-8', withFile('tokenizer.json', new Uint8Array([0xff, 0xfe, 0x7b])), /not UTF-8/, 'tokenizer.json'],
    ['nested deeply', withFile('tokenizer.json', '{"a":'.repeat(200_000)), /not valid JSON/, 'tokenizer.json'],
    [
      'no model',
      change((json) => delete (json as { model?: unknown }).model),
      /no tokenizer model/,
      'tokenizer.json:model',
    ],
    ['unknown model', change((json) => void (json.model.type = 'Magic')), /"Magic" is not supported/, 'model.type'],
    [
      'no vocabulary',
      change((json) => void Object.assign(json.model, { vocab: null })),
      /no vocabulary/,
      'model.vocab',
    ],
    ['duplicate id', change((json) => void (json.model.vocab['zz'] = 7)), /id 7 belongs to two tokens/, 'model.vocab'],
    ['fractional id', change((json) => void (json.model.vocab['zz'] = 1.5)), /"zz" has id 1.5/, 'model.vocab'],
    ['negative id', change((json) => void (json.model.vocab['zz'] = -1)), /"zz" has id -1/, 'model.vocab'],
    ['huge id', change((json) => void (json.model.vocab['zz'] = 1e308)), /"zz" has id/, 'model.vocab'],
    ['string id', change((json) => void (json.model.vocab['zz'] = '9')), /"zz" has id "9"/, 'model.vocab'],
    [
      'absent merge',
      change((json) => void json.model.merges.push(['qqq', 'a'])),
      /names the token "qqq"/,
      'model.merges[',
    ],
    [
      'absent merge result',
      change((json) => void json.model.merges.push(['Q', 'Z'])),
      /names the token "QZ"/,
      'model.merges[',
    ],
    ['bad merge', change((json) => void json.model.merges.push([1, 2])), /not a pair/, 'model.merges['],
    [
      'two ids for one added token',
      change((json) => void Object.assign(json, { added_tokens: [{ id: 9, content: '<s>' }] })),
      /two tokens|two ids/,
      'added_tokens[0]',
    ],
    [
      'empty added token',
      change((json) => void Object.assign(json, { added_tokens: [{ id: 999, content: '' }] })),
      /empty/,
      'added_tokens[0]',
    ],
    [
      'unknown normalizer',
      change((json) => void Object.assign(json, { normalizer: { type: 'Nonsense' } })),
      /Nonsense/,
      'tokenizer.json',
    ],
    [
      'unknown pre-tokenizer',
      change((json) => void Object.assign(json, { pre_tokenizer: { type: 'Nonsense' } })),
      /not supported/,
      'tokenizer.json',
    ],
    ['invalid pattern', splitBy('(a'), /not supported|not usable/, 'tokenizer.json'],
    [
      'config.json too small',
      withFile('config.json', '{"vocab_size": 299}'),
      /knows 299 tokens, its tokenizer needs 300/,
      'config.json:vocab_size',
    ],
    ['end id outside', withFile('generation_config.json', '{"eos_token_id": 999}'), /end id 999/, 'eos_token_id'],
    [
      'unknown eos token',
      withFile('tokenizer_config.json', '{"eos_token": "</none>"}'),
      /"<\/none>" is not in/,
      'tokenizer_config.json:eos_token',
    ],
    ['no end at all', withFile('tokenizer_config.json', '{}'), /no end token/, ''],
    [
      'template of another type',
      withFile('tokenizer_config.json', '{"eos_token":"<s>","chat_template":5}'),
      /neither a text nor a list/,
      'chat_template',
    ],
  ])('%s', async (_, parts, what, where) => {
    const error = await loadingError(parts);
    expect(error.kind).toBe('usage');
    expect(error.what).toMatch(what);
    expect(error.where).toContain(where);
  });

  it('missing: says what to do', async () => {
    const dir = await tokenizerDirectory();
    await rm(join(dir, 'tokenizer.json'));
    await expect(loadTokenizer(dir)).rejects.toThrowError(/no tokenizer.json[\s\S]*fix:/);
    await expect(loadTokenizer(join(dir, 'nowhere'))).rejects.toThrowError(/there is no such model/);
  });

  it('a pattern that takes exponential time is interrupted', async () => {
    const error = await loadingError(splitBy('(a+)+$'));
    expect(error.what).toMatch(/take more than/);
  });

  it('a byte order mark is no error, and a named default template is found', async () => {
    const config = {
      eos_token: '<|im_end|>',
      chat_template: [
        { name: 'tool', template: 'x' },
        { name: 'default', template: '{{ messages[0].content }}{{ messages[1].content if messages[1] }}' },
      ],
    };
    const dir = await tokenizerDirectory(withFile('tokenizer_config.json', `\ufeff${JSON.stringify(config)}`));
    expect((await loadTokenizer(dir)).render([{ role: 'user', content: 'hi' }], true)).toBe('hi');
  });

  it('chat_template.jinja wins over tokenizer_config.json', async () => {
    const dir = await tokenizerDirectory(
      withFile('chat_template.jinja', '{{ messages[0].content }}!{{ messages[1].content if messages[1] }}'),
    );
    expect((await loadTokenizer(dir)).render([{ role: 'user', content: 'hi' }], true)).toBe('hi!');
  });
});

describe('templates', () => {
  it.each([
    ['{% for x %}', /not valid Jinja/],
    ['{{ messages', /not valid Jinja/],
    [`${'('.repeat(100_000)}`.replace(/^/, '{{ '), /not valid Jinja/],
    ['{{ messages.constructor }}', /object internals/],
    ["{{ ''['__class__'] }}", /object internals/],
    ["{{ messages[0]['content'].__proto__ }}", /object internals/],
  ])('hostile or broken template %# is refused when compiled', (source, what) => {
    expect(() => compileTemplate(source, 'some/chat_template.jinja')).toThrowError(what);
  });

  it.each([
    ['{% for i in range(1000000000) %}x{% endfor %}', /range\(\) of 1000000000/],
    ['{% for i in range(0, 10, 0) %}x{% endfor %}', /range\(\) needs integers/],
    ['{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}x{% endfor %}', /takes more than/],
    [
      "{% set ns = namespace(s='0123456789') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
      /more than 16000000 characters/,
    ],
    ['{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}', /nested too deeply|takes more than|not a function/],
    ["{{ raise_exception('only for tools') }}", /refuses this conversation: only for tools/],
    ["{{ messages | attr('constructor') }}", /filter/i],
    [
      '{% set ns = namespace(a=[1, 2]) %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}',
      /list of more than/,
    ],
    ['{% set r = range(9999) %}{% for i in r if i %}{% for j in r %}{% endfor %}{% endfor %}', /takes more than/],
    ['{{ process.exit() }}', /chat template/],
  ])('hostile template %# fails when rendered, naming the file', (source, what) => {
    const render = compileTemplate(source, 'some/chat_template.jinja');
    const attempt = () => render({ messages: [{ role: 'user', content: 'x' }] });
    expect(attempt).toThrowError(what);
    expect(attempt).toThrowError(/some\/chat_template\.jinja/);
  });

  it('knows what transformers gives to templates', () => {
    const render = compileTemplate(
      "{%- if tools is none %}no tools {% endif -%}\n{{ bos_token }}{{ strftime_now('%Y') | length }}{% for i in range(3) %}{{ i }}{% endfor %}{{ range(4, 0, -2) | list | tojson }}",
      'x',
    );
    expect(render({ messages: [], tools: null, bos_token: '<s>' })).toBe('no tools <s>4012[4, 2]');
  });

  it('gives strftime_now the time that it is told, whatever the clock and the zone here', () => {
    const source = "{{ strftime_now('%d %b %Y, %A %H:%M:%S, %B %y %m %a 100%%') }}";
    const text = '02 Mar 2025, Sunday 23:05:09, March 25 03 Sun 100%';
    expect(compileTemplate(source, 'x', '2025-03-02T23:05:09')({})).toBe(text);
    // An hour that summer time leaves out in some zones.
    expect(compileTemplate("{{ strftime_now('%H:%M') }}", 'x', '2025-03-30T02:30:00')({})).toBe('02:30');
    expect(wallClock(new Date(2026, 10, 28, 9, 5, 7))).toBe('2026-11-28T09:05:07');
    expect([source, "{{ messages[0]['content'] }}"].map(readsClock)).toEqual([true, false]);
  });

  it('does not look for message fields in the prototype', () => {
    const render = compileTemplate(
      "{{ messages[0]['toString'] is defined }}{{ messages[0].hasOwnProperty is defined }}",
      'x',
    );
    expect(render({ messages: [{ role: 'user', content: 'x' }] })).toBe('falsefalse');
  });

  it('a template that refuses or drops a plain question and answer is refused when loaded', async () => {
    expect((await loadingError({ template: "{{ raise_exception('never') }}" })).what).toMatch(
      /cannot be rendered.*never/,
    );
    expect((await loadingError({ template: '{{ messages[0].content }}' })).what).toMatch(/leaves out/);
  });
});
