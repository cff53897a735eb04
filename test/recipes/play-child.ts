// A process that plays the tiny game, to be killed: tsx play-child.ts run|sft|dpo|resume GAME OUT WHERE
// WHERE is "event TYPE/STAGE/ITERATION/NUMBER", "path PART" or "named PART": the process kills itself with SIGKILL when that
// event has been written, in the middle of the first write to a new file whose path contains PART, or when a file has
// just got a name that does; "-" plays to the end. The variable PLAY_SETTINGS holds settings as JSON, RESUME_CHANGES what a resume changes.

import { join } from 'node:path';
import { fineTune, playSpin, resumeRun, trainOnPairs } from '../../src/recipes/index.ts';
import type { RunEvent } from '../../src/report/index.ts';
import { diskIo } from '../../src/util/index.ts';
import { listener, tinyDpo, tinySettings, tinySft } from './tiny-game.ts';

const [command, home, out, where] = process.argv.slice(2) as [string, string, string, string];
const game = { model: join(home, 'model'), data: join(home, 'data.jsonl'), rows: [] };
const die = () => process.kill(process.pid, 'SIGKILL');

const [what, part] = where.split(' ') as [string, string | undefined];
if (what === 'path') {
  const open = diskIo.open.bind(diskIo);
  diskIo.open = async (path, flags) => {
    const file = await open(path, flags);
    if (flags !== 'wx' || !path.startsWith(out) || !path.includes(part!)) return file;
    // Half of the first write is there when the process dies.
    return {
      ...file,
      write: async (data) => {
        await file.write(data.subarray(0, data.length >> 1));
        die();
        return 0;
      },
    };
  };
}

if (what === 'named') {
  const rename = diskIo.rename.bind(diskIo);
  diskIo.rename = async (from, to) => {
    await rename(from, to);
    if (to.includes(part!)) die();
  };
}

/** "type/stage/iteration/number": number is the step or shard where the event has one. */
const nameOf = (event: RunEvent) => {
  const number = event.type === 'train.step' ? event.step : event.type === 'shard.finished' ? event.shard : '';
  return `${event.type}/${event.stage}/${event.iteration}/${number}`;
};
const { context } = listener((event) => {
  if (what === 'event' && nameOf(event) === part) die();
});

const changes = JSON.parse(process.env['PLAY_SETTINGS'] ?? '{}');
if (command === 'run') await playSpin(tinySettings(game, out, changes), context);
else if (command === 'sft') await fineTune(tinySft(game, out, changes), context);
else if (command === 'dpo') await trainOnPairs(tinyDpo(game, out, changes), context);
else await resumeRun(out, context, JSON.parse(process.env['RESUME_CHANGES'] ?? '{}'));
