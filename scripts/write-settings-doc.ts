// Writes docs/settings.md from the schemas, so that it cannot disagree with them (test/house/docs.test.ts checks).
//   npx tsx scripts/write-settings-doc.ts

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import {
  dpoSchema,
  evalSchema,
  exportSchema,
  generateSchema,
  playSchema,
  resumeSchema,
  sftSchema,
  spinSchema,
  talkSchema,
  trialSchema,
} from '../src/index.ts';
import { REASONS, reasons } from '../src/pairs/index.ts';

interface Property {
  /** Itself, and a list of such. */
  anyOf?: Property[];
  default?: unknown;
  description?: string;
  enum?: string[];
  examples?: string[];
  items?: Property;
  type?: string;
}

function table(schema: z.ZodType): string {
  const { properties } = z.toJSONSchema(schema, { io: 'input' }) as { properties: Record<string, Property> };
  const rows = Object.entries(properties).map(
    ([key, { default: value, description, enum: choices, examples, items, anyOf }]) => {
      const shown = value === undefined ? '' : `\`${Array.isArray(value) ? `[${value.join(', ')}]` : value}\``;
      const listed = choices ?? examples ?? items?.enum;
      return `| \`${key}\` | ${shown} | ${description}${listed ? ` (${listed.join(', ')})` : ''}${anyOf ? '; or a list' : ''} |`;
    },
  );
  return ['| key | default | |', '|---|---|---|', ...rows].join('\n');
}

function reasonTable(): string {
  const rows = REASONS.map((reason) => {
    const { drop, words, because } = reasons[reason];
    return `| \`${reason}\` | ${drop ? 'drop' : 'keep'} | ${words}: ${because} |`;
  });
  return ['| reason | default | the sample is … |', '|---|---|---|', ...rows].join('\n');
}

/** The text of docs/settings.md. */
export function settingsDoc(): string {
  return `# Settings

Written by scripts/write-settings-doc.ts from the schemas in src/recipes/settings/settings.ts. In a config file
(\`selfplay.config.yaml\` or \`--config FILE\`) keys are as below; as flags they are \`--with-dashes\`. Flags win over the file, the
file over a preset, that over the defaults. \`selfplay config print\` shows what a run would use, \`selfplay config schema\` the JSON schema.

## selfplay run

The defaults are the paper's where it states them: β 0.1, RMSProp of torch, learning rate 5e-7, batches of 64 pairs, two
epochs, 10 % warm-up, linear decay, clipping at 1, the pairs of the iteration before replayed, sampling at temperature 1.
The paper raised β to 5 and lowered the rate to 1e-7 in its last iterations: \`--preset paper\` is its whole run. "Or a list"
marks what may be several values, most of them by iteration ([schedules.md](schedules.md) has the rule, the presets, and
the replay window).
\`sft_weight\`, \`checker\` and every \`loss\` but the logistic one (docs/losses.md) are not what the paper ran, and are off.

${table(spinSchema)}

The reasons that \`drop\` may list, in the order in which a pair is counted under them (docs/pairs.md explains):

${reasonTable()}

## selfplay probe

Those of \`selfplay run\`, and these (docs/preflight.md):

${table(trialSchema)}

## selfplay sft

${table(sftSchema)}

## selfplay dpo

The losses, their parameters and their defaults are those of \`selfplay run\`; docs/dpo.md explains the rest.

${table(dpoSchema)}

## selfplay generate

${table(generateSchema)}

## selfplay eval

${table(evalSchema)}

## selfplay export

Flags only; \`model\` stands without a flag (docs/export.md).

${table(exportSchema)}

## selfplay chat

Flags only; \`model\` stands without a flag (docs/chat.md).

${table(talkSchema)}

## selfplay play

Flags only; \`run\` stands without a flag (docs/chat.md).

${table(playSchema)}

## selfplay resume

A run keeps its settings and its engine: what \`auto\` chose is in its manifest. Where that engine is not there any more the
resume stops, unless one of these says what to go on with.

${table(resumeSchema)}
`;
}

const target = fileURLToPath(new URL('../docs/settings.md', import.meta.url));
if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(target, settingsDoc());
