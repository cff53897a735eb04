// `selfplay chat` and `selfplay play` through the command line: with pipes and at a terminal that is made up, a tiny game behind
// them or a model that is made up as well.
import { createHash } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, openEngine } from '../../src/engine/index.ts';
import { chat, play } from '../../src/index.ts';
import { readJudgement } from '../../src/recipes/game/judge.ts';
import {
  generateAnswers,
  generateSchema,
  type OpenEngine,
  type Partner,
  playSpin,
  type Talk,
  type TalkSettings,
} from '../../src/recipes/index.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings } from '../recipes/tiny-game.ts';
import { cli, type Options } from './fakes.ts';

let home: string;
let game: TinyGame;
let run: string;
const HOW = ['--engine', 'onnx', '--threads', '1', '--max-new-tokens', '8'];

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-talk-'));
  game = await makeTinyGame(home);
  run = join(home, 'run');
  // Steps that move the weights far enough for other answers.
  const settings = tinySettings(game, run, { learning_rate: 0.02, optimizer: 'adamw', test_size: 12 });
  await playSpin(settings, listener().context);
});
afterAll(() => rm(home, { recursive: true, force: true }));

const piped = (argv: string[], lines: string[], options: Options = {}) =>
  cli(argv, { stdin: Readable.from(lines.map((line) => `${line}\n`)), ...options });

/** A terminal: what is typed when its screen ends with a text; each once, in this order. */
function terminal(keys: readonly (readonly [when: string, typed: string | (() => void)])[], options: Options = {}) {
  const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => undefined });
  const waiting = [...keys];
  const onStdout = (text: string) => {
    const [next] = waiting;
    if (next === undefined || !text.endsWith(next[0])) return;
    waiting.shift();
    const [, typed] = next;
    setImmediate(() => (typeof typed === 'string' ? stdin.write(typed) : typed()));
  };
  return { stdin, stdoutTty: true, onStdout, env: { NO_COLOR: '1' }, ...options };
}
const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
/** Where the cursor stands behind the prompt: readline puts it there after drawing. */
const PROMPTED = '> \u001b[3G';

/** The screen without the movements of the cursor. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
const plain = (text: string) => text.replaceAll(/\u001b\[\d*[A-LN-Z]/g, '').replaceAll('\r', '');

const known = new Map<string, Promise<string>>();
/** What `selfplay generate` answers to 3+4. */
function generated(model: string): Promise<string> {
  const answer = known.get(model) ?? answerOf(model, '3+4');
  known.set(model, answer);
  return answer;
}
async function answerOf(model: string, question: string): Promise<string> {
  const data = join(home, 'asked.jsonl');
  await writeFile(data, `${JSON.stringify({ question, answer: 'x' })}\n`);
  const settings = generateSchema.parse({ model, data, max_new_tokens: 8, engine: 'onnx', threads: 1 });
  return (await generateAnswers(settings, listener().context)).answers[0]!.answer;
}

/** A model that is made up: it says what it was told to, and waits to be stopped where that is "hang". */
function madeUp(...says: string[]): NonNullable<Options['recipes']> {
  const alone: Partner = { label: 'made up', iteration: null, dir: '/m' };
  const openTalk = async (_: TalkSettings): Promise<Talk> => ({
    lineup: { run: null, partners: [alone], best: alone, templateTime: undefined },
    partner: () => alone,
    switchTo: async () => undefined,
    answer: async ({ onText, signal }) => {
      const text = says.shift()!;
      onText(text);
      if (text === 'hang') await new Promise((_, reject) => signal.addEventListener('abort', () => reject('stop')));
      return { text, ids: new Int32Array(), finish: 'end' };
    },
    promptLength: () => 1,
    contextLength: () => 64,
    close: async () => undefined,
  });
  return { openTalk };
}

describe('the models of a run', () => {
  it('answer one after the other, whole ones and adapters; one that cannot be loaded leaves the one before', async () => {
    const lora = join(home, 'lora');
    const changes = { iterations: 1, lora_rank: 2, learning_rate: 0.2, optimizer: 'adamw' } as const;
    await playSpin(tinySettings(game, lora, changes), listener().context);
    const adapter = join(lora, 'iteration-0/model');
    const [sft, tuned] = [await generated(game.model), await generated(adapter)];
    expect(tuned).not.toBe(sft);
    let engine: Engine | undefined;
    const openHere: OpenEngine = async (options) => {
      const opened = await openEngine(options);
      engine = opened.engine;
      return opened;
    };
    const settings = { model: lora, iteration: 'sft', max_new_tokens: 8, engine: 'onnx', threads: 1 } as const;
    const talk = await chat(settings, { openEngine: openHere });
    const ofAdapter = async () => [...(await engine!.states()).keys()].filter((name) => name.includes('lora')).length;
    const answer = async () => (await talk.ask([{ role: 'user', content: '3+4' }]).answer).text;
    expect(await answer()).toBe(sft);
    await talk.switchTo(0);
    expect(await answer()).toBe(tuned);
    expect(await ofAdapter()).toBeGreaterThan(0);
    await talk.switchTo('sft');
    expect(await answer()).toBe(sft);
    expect(await ofAdapter()).toBe(0);
    await rm(join(adapter, 'adapter_model.safetensors'));
    await expect(talk.switchTo(0)).rejects.toThrow('adapter_model.safetensors');
    expect(talk.partner().label).toBe('SFT model');
    expect(await answer()).toBe(sft);
    await talk.close();
  });
});

describe('selfplay chat with pipes', () => {
  it('answers line by line with the best model of a run, and with the others', async () => {
    const best = await readFile(join(run, 'results.json'), 'utf8').then(
      (text) => (JSON.parse(text) as { best: { label: string } }).best.label,
    );
    const { status, stdout, stderr } = await piped(
      ['chat', run, ...HOW],
      ['3+4', '', '/iteration SFT', '/iteration 1'],
    );
    expect(status).toBe(0);
    const expected = [
      await generated(join(run, 'best')),
      await generated(game.model),
      await generated(join(run, 'iteration-1/model')),
    ];
    expect(stdout).toBe(expected.map((answer) => `${answer}\n`).join(''));
    // Otherwise the weights might not have changed.
    expect(expected[1]).not.toBe(expected[2]);
    expect(stderr).toContain(`${best} answers (llama, `);
    expect(stderr).toContain('SFT model answers (llama, ');
    expect(stderr).not.toContain('\u001b');
  });

  it('keeps the conversation, as the library does with messages', async () => {
    const { stdout } = await piped(['chat', run, ...HOW, '--iteration', '0', '--json'], ['3+4', '5+1']);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { label: string; question: string; answer: string; finish: string });
    expect(lines.map(({ label, question }) => [label, question])).toEqual([
      ['iteration 0', '3+4'],
      ['iteration 0', '5+1'],
    ]);
    const talk = await chat({ model: run, iteration: '0', max_new_tokens: 8, engine: 'onnx', threads: 1 });
    const first = { role: 'user' as const, content: '3+4' };
    const reply = talk.ask([first]);
    let text = '';
    for await (const piece of reply) text += piece;
    expect([text, (await reply.answer).text]).toEqual([lines[0]!.answer, lines[0]!.answer]);
    const second = [first, { role: 'assistant' as const, content: text }, { role: 'user' as const, content: '5+1' }];
    expect(await talk.ask(second).answer).toMatchObject({ text: lines[1]!.answer, finish: lines[1]!.finish });

    expect((await talk.switchTo('sft')).dir).toBe(game.model);
    expect((await talk.ask([first]).answer).text).toBe(await generated(game.model));
    await expect(talk.switchTo(7)).rejects.toThrow('no model "7" in this run, which has: SFT model, iteration 0');
    const asked = { temperature: 1, seed: 3 };
    const sampled = (await talk.ask([first], asked).answer).ids;
    expect((await talk.ask([first], asked).answer).ids).toEqual(sampled);
    await talk.close();
  });

  it('says what it cannot answer, goes on, and ends with 1', async () => {
    const { status, stdout, stderr } = await piped(
      ['chat', game.model, ...HOW],
      ['<|end|>', '/iteration 1', '/nonsense', '3+4'],
    );
    expect(status).toBe(1);
    expect(stdout).toBe(`${await generated(game.model)}\n`);
    expect(stderr).toContain('the user text contains the control token <|end|>\n');
    expect(stderr).toContain('this is a model alone: give a run');
    expect(stderr).toContain('There is no /nonsense; /help lists what there is.\n');
  });

  it('forgets what has outgrown the context', async () => {
    const { stderr, status } = await piped(['chat', game.model, ...HOW], Array(12).fill('3+4'));
    expect(status).toBe(0);
    expect(stderr).toContain('has outgrown the context of 64 tokens: its oldest ');
  });

  it('asks a text of several lines that the input ends in', async () => {
    const { stdout } = await piped(['chat', 'm', '--json'], ['"""a', 'b'], { recipes: madeUp('yes') });
    expect(JSON.parse(stdout)).toEqual({ label: 'made up', question: 'a\nb', answer: 'yes', finish: 'end' });
  });

  it.each([
    [['chat', 'nowhere'], 'there is no such directory'],
    [['chat'], "missing required argument 'model|run'"],
    [['chat', 'm', '--temperature', '-1'], 'temperature must be a number of at least 0, got -1'],
    [['chat', 'm', '--iteration', ''], 'iteration must be one of N, best, sft, got ""'],
  ])('%j is wrong', async (argv, expected) => {
    const { status, stderr } = await piped(argv, []);
    expect([status, stderr]).toEqual([2, expect.stringContaining(expected)]);
  });

  it('an iteration that is not there is wrong, and the others are named', async () => {
    const { status, stderr } = await piped(['chat', run, ...HOW, '--iteration', '7'], []);
    expect(status).toBe(2);
    expect(stderr).toContain('there is no model "7" in this run, which has: SFT model, iteration 0, iteration 1\n');
  });
});

describe('selfplay chat at a terminal', () => {
  it('prompts, answers and names the model that does; Ctrl-D leaves', async () => {
    const { status, stdout, stderr } = await cli(
      ['chat', run, ...HOW],
      terminal([
        [PROMPTED, '3+4\r'],
        [PROMPTED, '/iteration sft\r'],
        [PROMPTED, CTRL_D],
      ]),
    );
    expect(status).toBe(0);
    const [best, sft] = [await generated(join(run, 'best')), await generated(game.model)];
    expect(plain(stdout)).toMatch(/^> 3\+4\niteration [01]: |^> 3\+4\nSFT model: /);
    expect(plain(stdout)).toContain(`: ${best}\n> /iteration sft\nSFT model: ${sft}\n> \n`);
    expect(stderr).toContain('/iteration lists the models of the run and switches; /help');
  });

  it('takes a text of several lines; Ctrl-C drops it', async () => {
    const open = '. \u001b[3G';
    const { stdout, stderr } = await cli(
      ['chat', 'm'],
      terminal(
        [
          [PROMPTED, '"""one\r'],
          [open, CTRL_C],
          [PROMPTED, '"""one\r'],
          [open, 'two"""\r'],
          [PROMPTED, '/exit\r'],
        ],
        { recipes: madeUp('three') },
      ),
    );
    expect(plain(stdout)).toBe('> """one\n. \n(the text is dropped)\n> """one\n. two"""\nthree\n> /exit\n');
    expect(stderr).toBe('/help says what else there is, Ctrl-D leaves.\n');
  });

  it('Ctrl-C stops an answer, a second one leaves', async () => {
    const ended: number[] = [];
    const { status, stdout, stderr } = await cli(
      ['chat', 'm'],
      terminal(
        [
          [PROMPTED, 'one\r'],
          ['hang', CTRL_C],
          [PROMPTED, CTRL_C],
        ],
        { recipes: madeUp('hang'), exit: (code) => ended.push(code) },
      ),
    );
    expect([status, ended]).toEqual([130, []]);
    expect(plain(stdout)).toBe('> one\nhang\n> \n');
    expect(stderr).toContain('(stopped)\n');
  });

  it('Ctrl-C without an answer says how to leave; what is typed in between counts anew', async () => {
    const { status, stdout } = await cli(
      ['chat', 'm'],
      terminal(
        [
          [PROMPTED, CTRL_C],
          [PROMPTED, 'one\r'],
          [PROMPTED, CTRL_C],
          [PROMPTED, CTRL_D],
        ],
        { recipes: madeUp('two') },
      ),
    );
    const hint = '\n(Ctrl-C again, Ctrl-D or /exit leaves)\n';
    expect(plain(stdout)).toBe(`> ${hint}> one\ntwo\n> ${hint}> \n`);
    expect(status).toBe(0);
  });

  it('a signal that comes twice ends what does not stop', async () => {
    const signals = new EventEmitter();
    const ended: number[] = [];
    const recipes = madeUp('hang');
    const twice = () => {
      signals.emit('SIGINT');
      signals.emit('SIGINT');
    };
    const options = { recipes, signals, exit: (code: number) => void ended.push(code) };
    const { status } = await cli(
      ['chat', 'm'],
      terminal(
        [
          [PROMPTED, 'one\r'],
          ['hang', twice],
        ],
        options,
      ),
    );
    expect([status, ended]).toEqual([130, [130]]);
    expect(signals.listenerCount('SIGINT')).toBe(0);
  });

  it('does not echo into an answer what is typed meanwhile, and shows it at the next prompt', async () => {
    const recipes = madeUp('hang', 'second');
    const fake = terminal(
      [
        [PROMPTED, 'one\r'],
        ['hang', `two${CTRL_C}`],
        ['two\u001b[6G', '\r'],
        [PROMPTED, CTRL_D],
      ],
      { recipes },
    );
    const { stdout } = await cli(['chat', 'm'], fake);
    expect(plain(stdout)).toBe('> one\nhang\n> two\nsecond\n> \n');
  });

  it('shows control characters of an answer, and obeys none', async () => {
    const { stdout } = await piped(['chat', 'm'], ['one'], {
      recipes: madeUp('a\u001b[2Jb\rc\u0007\td\u009be\u202ef é 👍'),
    });
    expect(stdout).toBe('a\u241b[2Jb\u240dc\u2407\td\\u009be\\u202ef é 👍\n');
  });

  it('has colour on a terminal only, and not with NO_COLOR', async () => {
    const keys = [['> \u001b[22m\u001b[3G', CTRL_D]] as const;
    const bold = '\u001b[1m> \u001b[22m';
    expect((await cli(['chat', 'm'], terminal(keys, { env: {}, recipes: madeUp() }))).stdout).toContain(bold);
    const { stdout } = await cli(['chat', 'm'], terminal([[PROMPTED, CTRL_D]], { recipes: madeUp() }));
    expect(stdout).not.toContain('\u001b[1m');
  });
});

/** Every file of a run with its hash. */
async function contentsOf(directory: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    found[path] = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
  }
  return found;
}

describe('selfplay play', () => {
  it('shows pairs, takes guesses, goes on another time, and changes nothing else of the run', async () => {
    const before = await contentsOf(run);
    const first = await piped(['play', run], ['help', 'a', 'b', 'skip', 'exit']);
    expect(first.status).toBe(0);
    expect(first.stdout.match(/^Pair \d+$/gm)).toEqual(['Pair 1', 'Pair 2', 'Pair 3', 'Pair 4']);
    expect(
      first.stdout.match(
        /^(Right|Wrong|Passed over): [AB] is the human’s, the other one is by (the SFT model|iteration [01])\.( The model that iteration [01] trained (is right|is wrong|cannot tell) here\.)?$/gm,
      ),
    ).toHaveLength(3);
    expect(first.stderr).toContain('pass the pair over');
    const tally = join(run, 'play.jsonl');
    const guesses = (await readFile(tally, 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(guesses.map(({ guess }) => guess)).toEqual(['A', 'B', null]);

    const second = await piped(['play', run, '--json'], ['A']);
    expect(second.stderr).toContain(`Going on after 3 pair(s), which are in ${tally}.`);
    expect(second.stderr).toContain('Pair 4');
    const { file, scores } = JSON.parse(second.stdout) as { file: string; scores: Scores[] };
    expect(file).toBe(tally);
    // The SFT model, iteration 0, and iteration 1, whose own opponent is not trained.
    expect(scores.map(({ iteration, opponent }) => [iteration, opponent])).toEqual([
      [0, 'SFT model'],
      [1, 'iteration 0'],
      [2, 'iteration 1'],
    ]);
    expect(scores.reduce((n, { you }) => n + (you?.n ?? 0), 0)).toBe(3);
    for (const { iteration, player } of scores) {
      const judged = await readJudgement(join(run, `iteration-${iteration}`, 'evaluation.json'));
      const known = judged?.test.map((row) => row.scores['real-vs-generated']!);
      expect(player?.n ?? 0).toBe(known?.length ?? 0);
      if (known) expect(player!.mean).toBeCloseTo(known.reduce((a, b) => a + b) / known.length, 12);
    }
    const { [tally]: _, ...after } = await contentsOf(run);
    expect(after).toEqual(before);
    await rm(tally);
  });

  it('has the human answers of the data, cut where the opponent’s was, under the letters that it says', async () => {
    const played = await play({ run, seed: 4 });
    const human = new Map(game.rows.map(({ question, answer }) => [question, answer]));
    const samples = await readJudgement(join(run, 'baseline/evaluation.json'));
    let seen = 0;
    for (let round = played.next(); round; round = played.next()) {
      const answer = human.get(round.prompt[0]!.content)!;
      expect(round.isCut ? answer.startsWith(round.human) : round.human === answer).toBe(true);
      expect(round.human).not.toBe(round.generated);
      const sample = samples!.test.find(({ id }) => id === round!.id)!.sample;
      if (round.iteration === 0) expect(round.generated).toBe(sample.text);
      await played.guess(round, round.side);
      seen++;
    }
    expect(seen).toBeGreaterThan(6);
    for (const { you } of played.scores()) expect(you!.mean).toBe(1);
    const over = await piped(['play', run], ['a']);
    expect(over.stderr).toContain('There is no pair left. To begin anew, remove ');
    await rm(played.file);
  });

  it('names what it shows at a terminal, in colour; a second Ctrl-C leaves, and what was guessed stays', async () => {
    const asked = 'a or b? \u001b[35G';
    const { status, stdout } = await cli(
      ['play', run, '--iteration', '0'],
      terminal(
        [
          [asked, 'a\r'],
          [asked, CTRL_C],
          [asked, CTRL_C],
        ],
        { env: {} },
      ),
    );
    expect(status).toBe(130);
    expect(stdout).toContain('\u001b[1mPair 1\u001b[22m\n\u001b[2muser:\u001b[22m ');
    expect(stdout).toMatch(/\n\S*A:\S* .*\n\S*B:\S* .*\n/);
    expect(plain(stdout)).toContain('iteration 0  SFT model');
    const tally = join(run, 'play.jsonl');
    expect(await readFile(tally, 'utf8')).toMatch(/^\{"v":1,"iteration":0,.*"guess":"A"\}\n$/);
    await rm(tally);
  });

  it('refuses a tally that is none, an opponent that is not there, and what is no game', async () => {
    const tally = join(run, 'play.jsonl');
    await writeFile(tally, '{"v":1,"iteration":0,"id":"x","human":"A","guess":"C"}\n');
    const bad = await piped(['play', run], []);
    expect([bad.status, bad.stderr]).toEqual([2, expect.stringContaining(`${tally}:1:guess`)]);
    await rm(tally);
    const none = await piped(['play', run, '--iteration', '9'], []);
    expect(none.stderr).toContain(
      'there is no opponent of iteration 9\n  where: --iteration\n  fix: this run has those of 0, 1, 2',
    );
    const model = await piped(['play', game.model], []);
    expect([model.status, model.stderr]).toEqual([2, expect.stringContaining('there is no run here')]);
  });

  it('refuses data that has lost the rows of the run', async () => {
    const whole = await readFile(game.data, 'utf8');
    await writeFile(game.data, whole.replaceAll('+', '-'));
    const { status, stderr } = await piped(['play', run], []);
    await writeFile(game.data, whole);
    expect([status, stderr]).toEqual([
      2,
      expect.stringMatching(/the test row \w+ is not in the data any more\n {2}where: .*data.jsonl/),
    ]);
  });
});

interface Scores {
  readonly iteration: number;
  readonly opponent: string;
  readonly you: { readonly n: number } | null;
  readonly player: { readonly n: number; readonly mean: number } | null;
}
