// What each command that works on models is for, in words for somebody who has never used it.

export interface Words {
  readonly name: string;
  /** One line in `selfplay --help`. */
  readonly summary: string;
  /** First paragraph of the command's own help. */
  readonly description: string;
  readonly example: string;
  /** Said when a signal arrives. */
  readonly stopping: string;
}

const SAVING = 'finishing the step and saving (Ctrl-C again to stop at once)';
const STOPPING = 'stopping (Ctrl-C again to stop at once)';

export const RECIPE_WORDS = [
  {
    name: 'run',
    summary: 'play SPIN: the model improves against its own answers',
    description:
      'Plays SPIN with a fine-tuned model and the data it was fine-tuned on: the model answers every prompt, then ' +
      'learns to tell the human answers from its own, for as many iterations as you like. At the end stands a table ' +
      'that says whether it helped. --model and --data are all you need; --limit 64 makes a quick first try.',
    example: 'selfplay run --model ./my-model --data train.jsonl --limit 64 --iterations 2',
    stopping: SAVING,
  },
  {
    name: 'sft',
    summary: 'fine-tune a model on the human answers, as SPIN needs it',
    description:
      'Fine-tunes a model on the human answers and keeps it where it predicts held-out answers best. SPIN starts ' +
      'from such a model: do this first unless yours was already trained on this data. --model and --data are all ' +
      'you need.',
    example: 'selfplay sft --model ./my-model --data train.jsonl --out runs/sft',
    stopping: SAVING,
  },
  {
    name: 'generate',
    summary: 'answer the prompts of a file',
    description:
      'Writes the answers of a model to the prompts of a file, a line of JSON each, to standard output or to --out. ' +
      'Each answer is the most probable one; --temperature 1 samples.',
    example: 'selfplay generate --model runs/sft/model --data prompts.jsonl --limit 5',
    stopping: STOPPING,
  },
  {
    name: 'eval',
    summary: 'measure a model on held-out rows',
    description:
      'Measures a model on rows that it was not trained on: how well it predicts the human answers, and how often its ' +
      'own answer is right (the same text, the same last number, or as your --scorer says).',
    example: 'selfplay eval --model runs/sft/model --data held-out.jsonl',
    stopping: STOPPING,
  },
] as const satisfies readonly Words[];

export const RESUME_WORDS = {
  name: 'resume',
  summary: 'go on with an interrupted run',
  description:
    'Goes on with a run of `selfplay run` or `selfplay sft` where it stopped: by Ctrl-C, a crash or a power cut. The ' +
    'outcome is the same as without the interruption; settings are those of the run.',
  example: 'selfplay resume runs/spin',
  stopping: SAVING,
} as const satisfies Words;
