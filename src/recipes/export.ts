/** `selfplay export`: a model, or a run's, as a file for other programs. */
import { join } from 'node:path';
import { writeGgufModel } from '../checkpoint/index.ts';
import { WRITABLE_TYPES, type WritableType } from '../formats/index.ts';
import { checkWritable, diskIo, exists, linkedDirectory, usageError } from '../util/index.ts';
import type { RecipeContext } from './context.ts';
import { BEST, iterationName } from './layout.ts';

/** What can be made, and the dtypes of each. */
const EXPORTS = { gguf: WRITABLE_TYPES.map((type) => type.toLowerCase()) } as const;

export interface ExportSettings {
  /** A model, or a run: its best model; or RUN@2: the model of its iteration 2. */
  readonly model: string;
  readonly to: keyof typeof EXPORTS;
  /** Of the weights, in small letters: f32, bf16, q8_0 … */
  readonly dtype: string;
  /** Must not be there yet. */
  readonly out: string;
}

export interface ExportOutcome {
  readonly model: string;
  readonly out: string;
  /** Bytes. */
  readonly size: number;
}

/** @throws usage error for a model that cannot be written so; then there is no file */
export async function exportModel(
  { model: given, to, dtype, out }: ExportSettings,
  context: Pick<RecipeContext, 'say'>,
): Promise<ExportOutcome> {
  if (!EXPORTS[to].includes(dtype)) {
    throw usageError({
      what: `"${dtype}" is no dtype of ${to} files`,
      where: '--dtype',
      fix: `give one of ${EXPORTS[to].join(', ')}`,
    });
  }
  if (await exists(out)) {
    throw usageError({ what: 'there is something in the place of the file', where: out, fix: 'give another --out' });
  }
  await checkWritable(out);
  const model = await modelOfRun(given);
  const { tensors, unblocked } = await writeGgufModel(model, out, dtype.toUpperCase() as WritableType);
  if (unblocked > 0) {
    context.say(`${unblocked} of ${tensors} tensors stay f32: their rows are not whole ${dtype} blocks of 32 weights.`);
  }
  const { size } = (await diskIo.stat(out))!;
  return { model, out, size };
}

/** The model itself, or what RUN and RUN@T mean. */
async function modelOfRun(given: string): Promise<string> {
  const [, run, iteration] = /^(.+)@(\d+)$/.exec(given) ?? [];
  if (run !== undefined && !(await exists(given))) {
    const model = join(run, iterationName(Number(iteration)), 'model');
    if (await exists(model)) return model;
    throw usageError({ what: `the run has no model of iteration ${iteration}`, where: run, fix: `look into ${run}` });
  }
  const best = join(given, BEST);
  return linkedDirectory((await exists(best)) ? best : given);
}
