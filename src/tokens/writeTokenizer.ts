// Writes a tokenizer so that Python transformers (AutoTokenizer), our loader and others read it: tokenizer.json and
// tokenizer_config.json with the chat template inside.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { usageError, writeFileAtomic } from '../util/index.ts';
import type { BpeTokenizerJson } from './trainBpe.ts';

/** Names of the control tokens (each must be a special token of the tokenizer) and the chat template (Jinja). */
export interface TokenizerRoles {
  readonly chatTemplate: string;
  readonly bos?: string;
  readonly eos: string;
  readonly pad: string;
}

/** Writes tokenizer.json and tokenizer_config.json into `dir`, which is created if absent. Throws a usage error for an unknown token. */
export async function writeTokenizer(dir: string, json: BpeTokenizerJson, roles: TokenizerRoles): Promise<void> {
  const known = new Set(json.added_tokens.map((token) => token.content));
  for (const token of [roles.bos, roles.eos, roles.pad]) {
    if (token !== undefined && !known.has(token)) {
      throw usageError({ what: `${JSON.stringify(token)} is not a special token of this tokenizer`, where: dir });
    }
  }
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...(roles.bos === undefined ? {} : { bos_token: roles.bos }),
    eos_token: roles.eos,
    pad_token: roles.pad,
    clean_up_tokenization_spaces: false,
    chat_template: roles.chatTemplate,
  };
  await mkdir(dir, { recursive: true });
  await writeFileAtomic(join(dir, 'tokenizer.json'), `${JSON.stringify(json, null, 1)}\n`);
  await writeFileAtomic(join(dir, 'tokenizer_config.json'), `${JSON.stringify(config, null, 2)}\n`);
}
