// A conversation as data: what lines mean, what is kept, what fits; and the events that lines come to, with a model that is
// made up.
import { describe, expect, it } from 'vitest';
import type { Message } from '../../src/data/index.ts';
import type { Lineup } from '../../src/recipes/run/lineup.ts';
import {
  answered,
  ask,
  askAgain,
  type Conversation,
  fitted,
  type Input,
  messagesOf,
  readLine,
  type Unfinished,
} from '../../src/recipes/talk/conversation.ts';
import { converse, type TalkEvent } from '../../src/recipes/talk/converse.ts';
import type { Talk } from '../../src/recipes/talk/talk.ts';
import { failure } from '../../src/util/index.ts';

/** What lines come to, one after the other. */
function inputs(...lines: string[]): { given: Input[]; open: Unfinished } {
  let open: Unfinished = null;
  const given: Input[] = [];
  for (const line of lines) {
    const { unfinished, input } = readLine(open, line);
    open = unfinished;
    if (input) given.push(input);
  }
  return { given, open };
}
const question = (text: string): Input => ({ kind: 'question', text });

describe('a line', () => {
  it.each<[string, Input]>([
    ['  what is 2+2?  ', question('what is 2+2?')],
    ['//etc/hosts', question('/etc/hosts')],
    ['/help', { kind: 'help', argument: '' }],
    ['/ITERATION 1', { kind: 'iteration', argument: '1' }],
    ['/system  You are brief.  And kind.', { kind: 'system', argument: 'You are brief.  And kind.' }],
    ['/temperature', { kind: 'temperature', argument: '' }],
    ['/quit', { kind: 'unknown', command: '/quit' }],
    ['/', { kind: 'unknown', command: '/' }],
    ['""" one """', question(' one ')],
  ])('%j means %j', (line, expected) => {
    expect(inputs(line)).toEqual({ given: [expected], open: null });
  });

  it('of blanks means nothing between questions, and stays inside of a text', () => {
    expect(inputs('', '   ').given).toEqual([]);
    expect(inputs('"""a', '', '  b', '/help', 'c"""  ', 'd').given).toEqual([
      question('a\n\n  b\n/help\nc'),
      question('d'),
    ]);
    expect(inputs('"""', 'a', '"""').given).toEqual([question('a')]);
    expect(inputs('"""', ' ', '"""').given).toEqual([]);
    expect(inputs('"""a', 'b')).toEqual({ given: [], open: ['a', 'b'] });
  });
});

const talked = (...turns: [string, string][]): Conversation =>
  turns.reduce<Conversation>((so, [q, a]) => answered(ask(so, q), a), { system: undefined, turns: [] });
const contents = (conversation: Conversation) => messagesOf(conversation).map(({ content }) => content);

describe('a conversation', () => {
  it('puts the system message first, and the question that waits last', () => {
    const asked = ask({ ...talked(['1', 'one']), system: 'be brief' }, '2');
    expect(messagesOf(asked)).toEqual([
      { role: 'system', content: 'be brief' },
      { role: 'user', content: '1' },
      { role: 'assistant', content: 'one' },
      { role: 'user', content: '2' },
    ]);
  });

  it('asked again forgets the answer, not what was before', () => {
    const again = askAgain(talked(['1', 'one'], ['2', 'two']), true)!;
    expect(contents(again)).toEqual(['1', 'one', '2']);
    expect(again.asked).toEqual({ question: '2', sample: 1 });
    expect(askAgain(answered(again, 'deux'), false)!.asked).toEqual({ question: '2', sample: 1 });
    expect(askAgain(talked(), true)).toBeUndefined();
  });

  it('keeps no turn whose answer is empty, from which no model could go on', () => {
    const so = talked(['1', 'one'], ['2', ' \n']);
    expect(contents(ask(so, '3'))).toEqual(['1', 'one', '3']);
    expect(contents(askAgain(so, false)!)).toEqual(['1', 'one', '2']);
  });

  it('loses its oldest turns when it outgrows the context, and no more of them than it must', () => {
    // A token a character: 4 in each turn, 2 in the question; the room is min(8, 20 / 4) = 5.
    const lengthOf = (messages: readonly Message[]) => messages.reduce((sum, { content }) => sum + content.length, 0);
    const asking = ask(talked(['aa', 'AA'], ['bb', 'BB'], ['cc', 'CC'], ['dd', 'DD']), 'ee');
    const fitting = (context: number, maxNewTokens: number) => fitted(asking, lengthOf, { context, maxNewTokens });
    // 18 + 5 > 20; 14 + 5 fits
    expect(fitting(20, 8)).toMatchObject({ dropped: 1 });
    expect(contents(fitting(20, 8)!.conversation)).toEqual(['bb', 'BB', 'cc', 'CC', 'dd', 'DD', 'ee']);
    expect(fitting(20, 2)).toMatchObject({ dropped: 0 });
    expect(fitting(20, 3)).toMatchObject({ dropped: 1 });
    expect(fitting(3, 8)).toMatchObject({ dropped: 4 });
    expect(fitting(2, 8)).toBeUndefined();
    const system = { ...asking, system: 'x'.repeat(9) };
    expect(contents(fitted(system, lengthOf, { context: 20, maxNewTokens: 8 })!.conversation)).toEqual([
      'x'.repeat(9),
      'dd',
      'DD',
      'ee',
    ]);
  });
});

const lineup: Lineup = (() => {
  const partners = ['SFT model', 'iteration 0', 'iteration 1'].map((label, i) => ({
    label,
    iteration: i === 0 ? null : i - 1,
    dir: `/${i}`,
  }));
  return { run: '/run', partners, best: partners[2]!, templateTime: undefined };
})();

/** A model that says who it is, how it is asked and what; every word a piece. "hang" waits to be stopped, "bad" is refused. */
function madeUp(of: Lineup = lineup, contextLength = 100): Talk {
  let partner = of.best;
  return {
    lineup: of,
    partner: () => partner,
    switchTo: async (next) => {
      if (next.label === 'iteration 0') throw failure({ what: 'the weights are gone', where: next.dir });
      partner = next;
    },
    answer: async ({ messages, settings, sample, onText, signal }) => {
      const asked = messages.at(-1)!.content;
      if (asked === 'bad') throw failure({ what: 'refused', fix: 'leave the row out' });
      const said = messages.map(({ content }) => content).join('|');
      const words = asked === 'mute' ? [] : [partner.label, ` T${settings.temperature}#${sample}: `, said];
      for (const word of words) onText(word);
      if (asked === 'hang') {
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      }
      return { text: words.join(''), ids: new Int32Array(), finish: asked === 'long' ? 'length' : 'end' };
    },
    promptLength: (messages) => messages.reduce((sum, { content }) => sum + content.length, 0),
    contextLength: () => contextLength,
    close: async () => undefined,
  };
}

const how = { max_new_tokens: 8, temperature: 0, top_k: 0, top_p: 1, seed: 0, system: undefined };

/** Hears lines, and what has been emitted for each. */
function listening(talk = madeUp(), settings: Parameters<typeof converse>[1] = how) {
  const talking = converse(talk, settings);
  return async (line: string, signal = new AbortController().signal) => {
    const events: TalkEvent[] = [];
    const goesOn = await talking.hear(line, { emit: (event) => void events.push(event), signal });
    const answers = events.flatMap((event) => (event.type === 'answer' ? [event.answer] : []));
    const texts = (type: 'reply' | 'note' | 'problem') =>
      events.flatMap((event) => (event.type === type ? [event.text] : []));
    return {
      events,
      goesOn,
      answer: answers[0],
      reply: texts('reply')[0],
      note: texts('note')[0],
      problem: texts('problem')[0],
    };
  };
}

describe('lines and what comes of them', () => {
  it('a question: whose answer begins, its pieces, the whole', async () => {
    const { events, goesOn } = await listening()('hello');
    expect(events).toEqual([
      { type: 'begins', label: 'iteration 1' },
      { type: 'piece', text: 'iteration 1' },
      { type: 'piece', text: ' T0#0: ' },
      { type: 'piece', text: 'hello' },
      {
        type: 'answer',
        label: 'iteration 1',
        question: 'hello',
        answer: 'iteration 1 T0#0: hello',
        finish: 'end',
      },
    ]);
    expect(goesOn).toBe(true);
  });

  it('/iteration has another model answer the same, from the same conversation', async () => {
    const hear = listening();
    await hear('1');
    await hear('2');
    expect((await hear('/iteration SFT')).answer).toBe('SFT model T0#0: 1|iteration 1 T0#0: 1|2');
    // What it said is what the conversation goes on from.
    expect((await hear('3')).answer).toContain('|2|SFT model T0#0: 1|iteration 1 T0#0: 1|2|3');
    expect((await hear('/iteration')).reply).toBe('* SFT model\n  iteration 0\n  iteration 1 (best)');
    expect((await hear('/iteration 7')).problem).toBe(
      'there is no model "7" in this run, which has: SFT model, iteration 0, iteration 1',
    );
    expect((await hear('/iteration 0')).problem).toContain('the weights are gone\n  where: /1');
    expect((await hear('/iteration')).reply).toContain('* SFT model');
    expect((await hear('/iteration best')).events[0]).toEqual({ type: 'begins', label: 'iteration 1' });
    expect((await listening()('/iteration 1')).reply).toBe('Now iteration 1 answers.');
    const alone = madeUp({ ...lineup, run: null, partners: [lineup.best] });
    expect((await listening(alone)('/iteration 1')).problem).toContain('this is a model alone');
  });

  it('/again samples another answer, and says why a greedy one is the same', async () => {
    const hear = listening();
    expect((await hear('/again')).problem).toBe('Nothing has been asked yet.');
    await hear('1');
    expect((await hear('/temperature 0.5')).reply).toBe('The temperature is 0.5.');
    expect((await hear('/again')).answer).toBe('iteration 1 T0.5#1: 1');
    expect((await hear('/again')).answer).toBe('iteration 1 T0.5#2: 1');
    expect((await hear('/temperature')).reply).toBe('The temperature is 0.5.');
    for (const wrong of ['warm', '-1', 'Infinity']) {
      expect((await hear(`/temperature ${wrong}`)).problem).toContain('must be 0 or more');
    }
    const greedy = listening(madeUp());
    await greedy('mute');
    expect(await greedy('/again')).toMatchObject({
      answer: '',
      note: expect.stringContaining('/temperature 1 samples'),
    });
  });

  it('/system and /reset', async () => {
    const hear = listening(madeUp(), { ...how, system: 'S' });
    expect((await hear('1')).answer).toBe('iteration 1 T0#0: S|1');
    expect((await hear('/reset')).reply).toBe('The conversation is forgotten.');
    expect((await hear('/again')).problem).toBe('Nothing has been asked yet.');
    expect((await hear('2')).answer).toBe('iteration 1 T0#0: S|2');
    expect((await hear('/system')).reply).toBe('System: S');
    await hear('/system off');
    await hear('/reset');
    expect((await hear('3')).answer).toBe('iteration 1 T0#0: 3');
    expect((await hear('/system')).reply).toBe('There is no system message.');
  });

  it('/help names every command, an unknown one leads there, /exit ends it', async () => {
    const hear = listening();
    const { reply } = await hear('/help');
    for (const name of ['iteration', 'again', 'reset', 'system', 'temperature', 'help', 'exit']) {
      expect(reply).toContain(`/${name} `);
    }
    expect((await hear('/bye')).problem).toBe('There is no /bye; /help lists what there is.');
    expect((await hear('/exit')).goesOn).toBe(false);
  });

  it('a stopped answer stays as far as it came', async () => {
    const hear = listening();
    const stopping = new AbortController();
    const hearing = hear('hang', stopping.signal);
    stopping.abort();
    expect((await hearing).events.at(-1)).toMatchObject({ finish: 'stopped', answer: 'iteration 1 T0#0: hang' });
    expect((await hear('2')).answer).toContain('hang|iteration 1 T0#0: hang|2');
  });

  it('what goes wrong with one question leaves the conversation as it was', async () => {
    const hear = listening();
    await hear('1');
    expect((await hear('bad')).problem).toBe('refused');
    expect((await hear('2')).answer).toBe('iteration 1 T0#0: 1|iteration 1 T0#0: 1|2');
    expect((await hear('x'.repeat(100))).problem).toBe('That does not fit into the context of 100 tokens.');
    expect((await hear('3')).answer).toContain('|2|');
  });

  it('says once that it has forgotten the oldest turns, and when an answer was cut', async () => {
    const hear = listening(madeUp(lineup, 60));
    await hear('1'.repeat(20));
    // 20 + 38 + 1 + 8 > 60
    const { note, answer } = await hear('2');
    expect(note).toBe('The conversation has outgrown the context of 60 tokens: its oldest turn is forgotten.');
    expect(answer).toBe('iteration 1 T0#0: 2');
    expect((await hear('3')).note).toBeUndefined();
    expect((await listening()('long')).note).toBe('Cut after 8 tokens, or at the end of the context.');
  });

  it('a text that is not closed at the end of the input is asked', async () => {
    const talking = converse(madeUp(), how);
    const events: TalkEvent[] = [];
    const ear = { emit: (event: TalkEvent) => void events.push(event), signal: new AbortController().signal };
    await talking.hear('"""a', ear);
    expect([talking.isOpen(), events]).toEqual([true, []]);
    talking.drop();
    await talking.hear('"""b', ear);
    await talking.hear('c', ear);
    await talking.end(ear);
    expect(events.at(-1)).toMatchObject({ question: 'b\nc' });
  });
});
