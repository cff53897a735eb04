// Build step, after tsc: writes dist/config.schema.json beside the compiled folders.
import { writeFileSync } from 'node:fs';
import { presets, spinSchema } from '../recipes/index.ts';
import { configSchema } from './configCommands.ts';

const file = new URL('../config.schema.json', import.meta.url);
writeFileSync(file, `${JSON.stringify(configSchema({ presets, spinSchema }), null, 2)}\n`);
