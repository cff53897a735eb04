// A command line without a process: what it prints is kept, signals are emitted by hand, recipes are replaced.
import { EventEmitter } from 'node:events';
import { Readable } from 'node:stream';
import type { CliIo } from '../../src/cli/io.ts';
import { runCli } from '../../src/cli/program.ts';
import type { Recipes } from '../../src/cli/recipes.ts';
import * as recipes from '../../src/recipes/index.ts';
import { type Results, resultRow } from '../../src/report/index.ts';

/** A table of an SFT model and one iteration. */
export function results(): Results {
  const sft = resultRow({
    label: 'SFT model',
    iteration: null,
    model: '/models/sft',
    items: [
      { id: 'a', scores: { number: 0 } },
      { id: 'b', scores: { number: 1 } },
    ],
  });
  const first = resultRow(
    {
      label: 'iteration 0',
      iteration: 0,
      model: 'iteration-0/model',
      items: [
        { id: 'a', scores: { number: 1 } },
        { id: 'b', scores: { number: 1 } },
      ],
    },
    sft,
  );
  return {
    v: 1,
    rows: [sft, first],
    best: { label: 'iteration 0', how: 'highest number on the dev split' },
    settings: {},
  };
}

export function outcome(): recipes.RunOutcome {
  return {
    directory: 'runs/one',
    results: results(),
    best: { label: 'iteration 0', model: 'runs/one/iteration-0/model', link: 'runs/one/best' },
    seconds: 75,
  };
}

export interface FakeRun {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Whether the recipes were asked for. */
  readonly loaded: boolean;
}

export interface Options {
  readonly directory?: string;
  readonly recipes?: Partial<Recipes>;
  readonly signals?: EventEmitter;
  readonly exit?: (code: number) => void;
  readonly tty?: boolean;
  readonly stdoutTty?: boolean;
  readonly env?: Record<string, string>;
  readonly stdin?: CliIo['stdin'];
  /** Sees what is on stdout whenever more has come. */
  readonly onStdout?: (text: string) => void;
}

/** Runs the command line with these arguments in the process. Recipes that are not given fail the test. */
export async function cli(argv: readonly string[], options: Options = {}): Promise<FakeRun> {
  let stdout = '';
  let stderr = '';
  const io: CliIo = {
    stdin: options.stdin ?? Readable.from([]),
    stdout: {
      write: (text) => {
        stdout += text;
        options.onStdout?.(stdout);
      },
      isTTY: options.stdoutTty === true,
    },
    stderr: { write: (text) => (stderr += text), on: () => undefined, isTTY: options.tty === true, columns: 80 },
    env: options.env ?? {},
    directory: options.directory ?? '/nowhere',
    command: ['/nowhere/selfplay'],
    signals: options.signals ?? new EventEmitter(),
    exit: options.exit ?? (() => undefined),
  };
  const uncalled = () => Promise.reject(new Error('this recipe must not be called'));
  const fakes: Recipes = {
    ...recipes,
    playSpin: uncalled,
    fineTune: uncalled,
    trainOnPairs: uncalled,
    addBaselines: uncalled,
    resumeRun: uncalled,
    compareRuns: uncalled,
    verifyResume: uncalled,
    preflightGame: uncalled,
    probe: uncalled,
    generateAnswers: uncalled,
    evaluateModel: uncalled,
    ...options.recipes,
  };
  let loaded = false;
  const status = await runCli(argv, io, async () => {
    loaded = true;
    return fakes;
  });
  return { status, stdout, stderr, loaded };
}
