// A strict JSON reader for headers that come from strangers. Unlike JSON.parse it rejects duplicate keys, keeps integers exact
// (as bigint) and puts objects into Maps, so that a key may be called `__proto__`; depth is limited.

/** Integers are bigint; a number with a fraction, an exponent, a minus zero or more than 20 digits is a number. */
export type StrictJson = null | boolean | string | number | bigint | StrictJson[] | Map<string, StrictJson>;

const MAX_DEPTH = 16;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const INTEGER = /^(?:-[1-9][0-9]*|0|[1-9][0-9]*)$/;

interface Reader {
  readonly text: string;
  at: number;
}

/** The value of a JSON text; spaces around it are allowed. Throws SyntaxError with the offset. */
export function parseStrictJson(text: string): StrictJson {
  const reader: Reader = { text, at: 0 };
  const value = parseValue(reader, 0);
  skipSpaces(reader);
  if (reader.at < text.length) throw unexpected(reader, 'the end');
  return value;
}

function parseValue(reader: Reader, depth: number): StrictJson {
  if (depth > MAX_DEPTH) throw new SyntaxError(`nested more than ${MAX_DEPTH} deep at character ${reader.at}`);
  skipSpaces(reader);
  const { text, at } = reader;
  const first = text[at];
  if (first === '{') return parseObject(reader, depth);
  if (first === '[') return parseArray(reader, depth);
  if (first === '"') return parseString(reader);
  for (const [word, value] of [['true', true] as const, ['false', false] as const, ['null', null] as const]) {
    if (text.startsWith(word, at)) {
      reader.at += word.length;
      return value;
    }
  }
  NUMBER.lastIndex = at;
  const token = NUMBER.exec(text)?.[0];
  if (token === undefined) throw unexpected(reader, 'a value');
  reader.at += token.length;
  return token.length <= 20 && INTEGER.test(token) ? BigInt(token) : Number(token);
}

function parseObject(reader: Reader, depth: number): Map<string, StrictJson> {
  const object = new Map<string, StrictJson>();
  reader.at++;
  if (takes(reader, '}')) return object;
  do {
    skipSpaces(reader);
    const key = parseString(reader);
    if (object.has(key)) throw new SyntaxError(`duplicate key ${JSON.stringify(key)} at character ${reader.at}`);
    if (!takes(reader, ':')) throw unexpected(reader, "':'");
    object.set(key, parseValue(reader, depth + 1));
  } while (takes(reader, ','));
  if (!takes(reader, '}')) throw unexpected(reader, "',' or '}'");
  return object;
}

function parseArray(reader: Reader, depth: number): StrictJson[] {
  const array: StrictJson[] = [];
  reader.at++;
  if (takes(reader, ']')) return array;
  do {
    array.push(parseValue(reader, depth + 1));
  } while (takes(reader, ','));
  if (!takes(reader, ']')) throw unexpected(reader, "',' or ']'");
  return array;
}

function parseString(reader: Reader): string {
  const { text, at } = reader;
  if (text[at] !== '"') throw unexpected(reader, 'a string');
  let end = at + 1;
  let escaped = false;
  for (; ; end++) {
    const code = text.charCodeAt(end);
    if (code === 0x22) break;
    if (Number.isNaN(code)) throw new SyntaxError('the text ends inside a string');
    if (code < 0x20) throw new SyntaxError(`control character in a string at character ${end}`);
    if (code === 0x5c) {
      escaped = true;
      end++;
    }
  }
  reader.at = end + 1;
  return escaped ? (JSON.parse(text.slice(at, end + 1)) as string) : text.slice(at + 1, end);
}

function takes(reader: Reader, mark: string): boolean {
  skipSpaces(reader);
  if (reader.text[reader.at] !== mark) return false;
  reader.at++;
  return true;
}

function skipSpaces(reader: Reader): void {
  for (; ; reader.at++) {
    const code = reader.text.charCodeAt(reader.at);
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
  }
}

function unexpected(reader: Reader, wanted: string): SyntaxError {
  const found = reader.at < reader.text.length ? JSON.stringify(reader.text[reader.at]) : 'the end';
  return new SyntaxError(`expected ${wanted}, found ${found} at character ${reader.at}`);
}
