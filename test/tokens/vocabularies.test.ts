// Ids of real vocabularies, and of theirs cut as other families cut, against the Python package tokenizers.

import { expect, it } from 'vitest';
import { expectKnownIds, namesOfTokenizers } from './vocabularies.ts';

const { installed } = namesOfTokenizers();

it('the vocabularies that npm ci brings are there', () => {
  expect(installed).toHaveLength(9);
});

it.each(installed)('%s', expectKnownIds);
