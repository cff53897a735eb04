// `selfplay chat`: the lines of a terminal or a pipe into the conversation, its events back onto the screen.
import type { RecipeContext, TalkEvent, TalkSettings } from '../recipes/index.ts';
import type { Outcome } from './commands.ts';
import { openLeaving } from './leaving.ts';
import type { Stage } from './perform.ts';
import { harmless, stylesOf } from './terminal.ts';

const PROMPT = '> ';
const UNFINISHED_PROMPT = '. ';

/** Talks until the input ends or the user leaves. Exit status 1 where a line of a pipe has no answer. */
export async function chatWith(
  settings: TalkSettings,
  { io, terminal, output, recipes }: Stage,
  context: RecipeContext,
): Promise<Outcome> {
  const talk = await recipes.openTalk(settings, context);
  try {
    const talking = recipes.converse(talk, settings);
    const { lines, stoppable, status } = openLeaving(io, () => {
      if (!talking.isOpen()) return undefined;
      talking.drop();
      return '(the text is dropped)';
    });
    const styled = stylesOf(io.stdout, io.env);
    const isShown = lines.isTyped && io.stdout.isTTY === true;
    const hasOthers = talk.lineup.partners.length > 1;
    let failed = 0;
    let atLineStart = true;
    const show = (text: string) => {
      if (text === '') return;
      io.stdout.write(text);
      atLineStart = text.endsWith('\n');
    };
    const endLine = () => {
      if (!atLineStart) show('\n');
    };
    const emit = (event: TalkEvent): void => {
      switch (event.type) {
        case 'begins':
          if (hasOthers && isShown && !output.json) show(styled('dim', `${event.label}: `));
          break;
        case 'piece':
          if (!output.json) show(harmless(event.text));
          break;
        case 'answer': {
          const { type: _, ...answer } = event;
          if (output.json) show(`${JSON.stringify(answer)}\n`);
          else if (event.answer === '' || !atLineStart) show('\n');
          if (event.finish === 'stopped') terminal.say('(stopped)');
          break;
        }
        case 'reply':
          terminal.insist(event.text);
          break;
        case 'note':
          terminal.say(event.text);
          break;
        case 'problem':
          failed++;
          endLine();
          terminal.insist(harmless(event.text));
          break;
      }
    };
    if (lines.isTyped) terminal.say(greeting(talk.lineup.run, hasOthers));
    for (;;) {
      const line = await lines.next(() => styled('bold', talking.isOpen() ? UNFINISHED_PROMPT : PROMPT));
      if (line === null) {
        if (status() === 0) await stoppable((signal) => talking.end({ emit, signal }));
        break;
      }
      if (!(await stoppable((signal) => talking.hear(line, { emit, signal })))) break;
    }
    lines.close();
    return { json: undefined, text: '', sentences: [], status: status() || (!lines.isTyped && failed > 0 ? 1 : 0) };
  } finally {
    await talk.close();
  }
}

function greeting(run: string | null, hasOthers: boolean): string {
  const others = run !== null && hasOthers ? '/iteration lists the models of the run and switches; ' : '';
  return `${others}/help says what else there is, Ctrl-D leaves.`;
}
