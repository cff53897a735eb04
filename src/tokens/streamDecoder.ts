// Turns ids into text one by one, for showing an answer while it is being written: never half of a character.

import type { Encoder } from './encoder.ts';

/** Text of a growing list of ids. The pieces joined are the text of the whole list (without control tokens). */
export interface StreamDecoder {
  /** Takes the next id and returns the text that is final so far and was not returned before; may be empty. */
  push(id: number): string;
  /** Returns what is left; an unfinished character becomes U+FFFD. The decoder can then be used for a new text. */
  end(): string;
}

/** A decoder over an encoder; `isControl` tells the ids that show nothing. */
export function createStreamDecoder(encoder: Encoder, isControl: (id: number) => boolean): StreamDecoder {
  const { bytes } = encoder;
  if (bytes === undefined) return windowDecoder(encoder, isControl);
  let decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  return {
    push: (id) => (isControl(id) ? '' : decoder.decode(bytes(id), { stream: true })),
    end: () => {
      const rest = decoder.decode();
      decoder = new TextDecoder('utf-8', { ignoreBOM: true });
      return rest;
    },
  };
}

/**
 * For tokenizers whose text is not a concatenation of bytes: decodes the ids since the last returned piece together with those
 * of that piece (a leading space may depend on them) and returns the difference once it does not end in U+FFFD.
 */
function windowDecoder(encoder: Encoder, isControl: (id: number) => boolean): StreamDecoder {
  let shown: number[] = [];
  let pending: number[] = [];
  const difference = (): string => {
    const before = encoder.decode(shown, false);
    return encoder.decode([...shown, ...pending], false).slice(before.length);
  };
  return {
    push: (id) => {
      if (isControl(id)) return '';
      pending.push(id);
      const text = difference();
      if (text.endsWith('\ufffd')) return '';
      shown = pending;
      pending = [];
      return text;
    },
    end: () => {
      const text = pending.length === 0 ? '' : difference();
      shown = [];
      pending = [];
      return text;
    },
  };
}
