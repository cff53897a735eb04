// What each command that works on models is for, in words for somebody who has never used it.

export interface Words {
  readonly name: string;
  /** One line in `selfplay --help`. */
  readonly summary: string;
  /** First paragraph of the command's own help. */
  readonly description: string;
  /** What stands behind the name in the first line of the help. */
  readonly usage: string;
  readonly example: string;
  /** Whether what is done so far is on disk when a signal stops it, to be resumed. */
  readonly saves: boolean;
  /** Whether a person talks with it: then what a signal does is its own affair. */
  readonly talks?: boolean;
}

export const RECIPE_WORDS = [
  {
    name: 'run',
    summary: 'play SPIN: the model learns against its own answers',
    description:
      'Plays SPIN with a fine-tuned model and the data it was fine-tuned on: the model answers every prompt, then ' +
      'learns to tell the human answers from its own, for as many iterations as you like. At the end stands a table ' +
      'that says whether it helped. --model and --data are all you need; --limit 64 makes a quick first try.',
    usage: '--model DIR --data FILE [options]',
    example: 'selfplay run --model ./my-model --data train.jsonl --limit 64 --iterations 2',
    saves: true,
  },
  {
    name: 'sft',
    summary: 'fine-tune a model on the human answers, as SPIN needs it',
    description:
      'Fine-tunes a model on the human answers and keeps it where it predicts held-out answers best. SPIN starts ' +
      'from such a model: do this first unless yours was already trained on this data. --model and --data are all ' +
      'you need.',
    usage: '--model DIR --data FILE [options]',
    example: 'selfplay sft --model ./my-model --data train.jsonl --out runs/sft',
    saves: true,
  },
  {
    name: 'dpo',
    summary: 'train on labelled pairs: chosen and rejected answers',
    description:
      'Trains a model to prefer the chosen answers of labelled pairs to the rejected ones, by DPO or another loss of the ' +
      'game, with the model as it was given as the reference. Held-out pairs say whether it learned that. --model and --data ' +
      'are all you need.',
    usage: '--model DIR --data FILE [options]',
    example: 'selfplay dpo --model runs/sft/model --data pairs.jsonl --out runs/dpo',
    saves: true,
  },
  {
    name: 'probe',
    summary: 'try learning rates and values of β on a few hundred rows, and say which to use',
    description:
      'Plays one short iteration with every learning rate, β and loss of a small grid, from the same model on the same pairs, ' +
      'ranks what comes of it on the dev rows, and ends with the lines of a config file to use. Test rows are never looked at. ' +
      'Takes the settings of `selfplay run`; --minutes bounds it.',
    usage: '--model DIR --data FILE [options]',
    example: 'selfplay probe --model ./my-model --data train.jsonl --rates 1e-6,1e-5 --betas 0.1,1 --minutes 20',
    saves: true,
  },
  {
    name: 'generate',
    summary: 'answer the prompts of a file',
    description:
      'Writes the answers of a model to the prompts of a file, a line of JSON each, to standard output or to --out. ' +
      'Each answer is the most probable one; --temperature 1 samples.',
    usage: '--model DIR --data FILE [options]',
    example: 'selfplay generate --model runs/sft/model --data prompts.jsonl --limit 5',
    saves: false,
  },
  {
    name: 'eval',
    summary: 'measure a model on held-out rows',
    description:
      'Measures a model on rows that it was not trained on: how well it predicts the human answers, and how often its ' +
      'own answer is right (the same text, the same last number, or as your --scorer says).',
    usage: '--model DIR --data FILE [options]',
    example: 'selfplay eval --model runs/sft/model --data held-out.jsonl',
    saves: false,
  },
] as const satisfies readonly Words[];

export const CHAT_WORDS = {
  name: 'chat',
  summary: 'talk with a model, or with the models of a run one after the other',
  description:
    'Answers what you type, as it is written; the conversation is kept. Of a run the best model answers first: /iteration 1 has ' +
    'another one answer the same question, /help lists the rest. Ctrl-C stops an answer, a second one leaves. Where the input is ' +
    'no terminal each line is a question, and the answers are on stdout.',
  usage: 'MODEL|RUN [options]',
  example: 'selfplay chat runs/spin --temperature 0.7',
  saves: false,
  talks: true,
} as const satisfies Words;

export const PLAY_WORDS = {
  name: 'play',
  summary: 'play the main player: tell the human answers from those of the opponents',
  description:
    'Shows held-out prompts of a run with two answers each, a human one and an opponent’s, and you say which is the human’s: the ' +
    'task of the main player, on the pairs on which it was judged. Your share of right answers stands beside that of the models. The ' +
    'guesses are kept in play.jsonl of the run, so you can go on another time; nothing else of the run is changed.',
  usage: 'RUN [options]',
  example: 'selfplay play runs/spin',
  saves: false,
  talks: true,
} as const satisfies Words;

export const RESUME_WORDS = {
  name: 'resume',
  summary: 'go on with an interrupted run',
  description:
    'Goes on with a run of `selfplay run`, `sft` or `dpo` where it stopped: by Ctrl-C, a crash or a power cut. The ' +
    'outcome is the same as without the interruption; settings are those of the run, and so is the engine, unless you ' +
    'let it go on with another.',
  usage: 'RUN [options]',
  example: 'selfplay resume runs/spin',
  saves: true,
} as const satisfies Words;

export const BASELINES_WORDS = {
  name: 'baselines',
  summary: 'add controls to the table of a game: is it better than more SFT?',
  description:
    'Makes controls for a game that `selfplay run` played, and puts them into its table: SFT continued for as many steps ' +
    'and for as many FLOPs as the game took, the first model at its best temperature, and SFT on the rows of the game. The ' +
    'best iteration is then compared with the best of them. The same as `selfplay run --baselines`, afterwards.',
  usage: 'RUN [options]',
  example: 'selfplay baselines runs/spin --only sft-steps,sft-reweighted',
  saves: true,
} as const satisfies Words;

export const MERGE_WORDS = {
  name: 'merge',
  summary: 'make a whole model from an adapter',
  description:
    'Multiplies an adapter into its base and saves a whole model. The logits of the merged model are compared with those ' +
    'of base and adapter; where they differ, nothing is saved.',
  usage: 'ADAPTER --out DIR [options]',
  example: 'selfplay merge runs/spin/iteration-1/model --out my-model',
  saves: false,
} as const satisfies Words;

export const EXPORT_WORDS = {
  name: 'export',
  summary: 'write a model for other programs: transformers, llama.cpp, PEFT, Ollama',
  description:
    'Writes a model, or a model of a run (RUN: the best one; RUN@2: that of iteration 2; RUN@sft), as a model directory with a card, one ' +
    'GGUF file, an adapter of PEFT, or a directory from which Ollama makes a model. Weights stay in f32 unless --dtype says otherwise; ' +
    'then what that does to held-out log-probs is measured and said before anything is written.',
  usage: 'MODEL|RUN --to hf|gguf|peft|ollama --out PATH [options]',
  example: 'selfplay export runs/spin --to hf --out my-model',
  saves: false,
} as const satisfies Words;

export const DATA_WORDS = {
  name: 'data',
  summary: 'what a file of rows is taken for: format, faults, lengths, duplicates, what is trained on',
  description:
    'Reads a file of rows as `selfplay run` would (JSON lines, JSON, CSV, TSV, parquet; or org/name:config:split of the Hub), and ' +
    'says which format it has, which rows cannot be used and why, how long prompts and answers are, what occurs twice, and shows ' +
    'three rows. With --model lengths are in tokens of its tokenizer, and the rows are shown as they are trained on.',
  usage: 'FILE [options]',
  example: 'selfplay data train.jsonl --model ./my-model',
  saves: false,
} as const satisfies Words;

export const VERIFY_WORDS = {
  name: 'verify-resume',
  summary: 'prove that a run with these settings survives being killed, bit for bit',
  description:
    'Takes the flags and the config file of `selfplay run` (or, with --recipe dpo, of `selfplay dpo`), cuts the game down to ' +
    'about a minute (few rows, few new tokens, a checkpoint after every step), plays it once undisturbed and once with SIGKILL at random places of every ' +
    'stage, resumed each time, and compares everything that both leave. Exit status 0: all is equal; 1: it names the ' +
    'first file that is not, and keeps both games.',
  usage: '--model DIR --data FILE [options]',
  example: 'selfplay verify-resume --config spin.yaml',
  saves: false,
} as const satisfies Words;

export const PREFLIGHT_WORDS = {
  name: 'preflight',
  summary: 'look whether a game with these settings can go right, before it takes any time',
  description:
    'Takes the flags and the config file of `selfplay run`, draws a few pairs and learns from them at rate 0: what is trained on, ' +
    'whether the first step is what it must be, whether there is a direction to go, what fits into memory and onto the disk, and how ' +
    'long it will take. Whatever fails says what to change. Exit status 0: nothing fails; 1: something does. `selfplay run` does the ' +
    'same before it begins, unless --no-preflight; in a small game without the dear look for a direction.',
  usage: '--model DIR --data FILE [options]',
  example: 'selfplay preflight --config spin.yaml',
  saves: false,
} as const satisfies Words;

export const COMPARE_WORDS = {
  name: 'compare',
  summary: 'what differs between two runs, and what came of it',
  description:
    'Shows the settings in which two runs differ, what else they did not have in common (contents of model and data, ' +
    'engine, processor, versions), and their figures side by side, with paired differences over the test rows that ' +
    'both have.',
  usage: 'RUN RUN [options]',
  example: 'selfplay compare runs/spin runs/other',
  saves: false,
} as const satisfies Words;

export const DOCTOR_WORDS = {
  name: 'doctor',
  summary: 'check this machine: what it has, and how fast it computes',
  description:
    'Shows what this machine has and will use, measures how fast it computes, and says what to mind. With --model also ' +
    'whether that model can be played, and why not; the status is 1 then.',
  usage: '[options]',
  example: 'selfplay doctor --model models/mine',
  saves: false,
} as const satisfies Words;

export const CONFIG_WORDS = {
  name: 'print',
  summary: 'the settings with their descriptions, as a config file',
  description:
    'Prints the settings that `selfplay run` would use (from flags, then the config file, then defaults), each with ' +
    'its description, as a config file.',
  usage: '[options]',
  example: 'selfplay config print > selfplay.config.yaml',
  saves: false,
} as const satisfies Words;
