// Byte-level text handling of GPT-2 style tokenizers: every byte is shown as one printable character, and text is cut into
// words before merging. Shared by the trainer and by the encoder, so that both cut alike.
// Notable choice: the patterns spell out Unicode properties (White_Space, N) because JavaScript's \s and \d are not those of
// the native tokenizers, which accept U+0085 as a space, refuse U+FEFF, and take every number character as a digit.

/** Words of GPT-2: contractions, letters, numbers or other marks with one leading space, then runs of spaces. */
export const GPT2_WORDS =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+";

const DIGIT_OR_REST = /\p{N}|\P{N}+/gu;
const WORD = new RegExp(GPT2_WORDS, 'gu');

const byteToChar: string[] = [];
const charToByte = new Map<string, number>();
let stand = 256;
for (let byte = 0; byte < 256; byte++) {
  // Printable Latin-1 stands for itself; the rest (controls, spaces, soft hyphen) moves to U+0100 and up.
  const printable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  const char = String.fromCharCode(printable ? byte : stand++);
  byteToChar.push(char);
  charToByte.set(char, byte);
}

/** The 256 characters that stand for the bytes, in the order of their code points. */
export const BYTE_ALPHABET: readonly string[] = [...byteToChar].sort((a, b) => a.charCodeAt(0) - b.charCodeAt(0));

const encoder = new TextEncoder();

/** UTF-8 of `text`, one stand-in character per byte. Lone surrogates become U+FFFD. */
export function toByteChars(text: string): string {
  let result = '';
  for (const byte of encoder.encode(text)) result += byteToChar[byte];
  return result;
}

/** The bytes that a token stands for; a token with characters outside the byte alphabet stands for its own UTF-8. */
export function tokenBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let index = 0; index < token.length; index++) {
    const byte = charToByte.get(token[index] as string);
    if (byte === undefined) return encoder.encode(token);
    bytes[index] = byte;
  }
  return bytes;
}

/** Cuts text into words: digits one by one, then GPT-2's words. Their concatenation is the text. */
export function splitWords(text: string): string[] {
  return (text.match(DIGIT_OR_REST) ?? []).flatMap((part) => part.match(WORD) ?? []);
}
