// 16-bit floats to fp32. fp16 goes through a table of all 65,536 values (256 KiB, made on first use); bf16 is a shift.

let table: Float32Array | undefined;

/** The value of every fp16 bit pattern, indexed by the pattern. */
export function halfTable(): Float32Array {
  if (table !== undefined) return table;
  const values = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const magnitude =
      exponent === 31
        ? fraction === 0
          ? Number.POSITIVE_INFINITY
          : Number.NaN
        : exponent === 0
          ? fraction * 2 ** -24
          : (1024 + fraction) * 2 ** (exponent - 25);
    values[bits] = bits & 0x8000 ? -magnitude : magnitude;
  }
  table = values;
  return values;
}

/** Writes the fp16 values in `bytes` (little-endian) to `out` from index `start` on. */
export function decodeF16(bytes: Uint8Array, out: Float32Array, start: number): void {
  const values = halfTable();
  const words = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  for (let i = 0; i < words.length; i++) out[start + i] = values[words[i] as number] as number;
}

/** Writes the bf16 values in `bytes` (little-endian) to `out` from index `start` on. */
export function decodeBf16(bytes: Uint8Array, out: Float32Array, start: number): void {
  const words = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < words.length; i++) bits[start + i] = (words[i] as number) << 16;
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** The fp16 bit pattern nearest to a number (ties to even) after rounding it to fp32; too large becomes infinity. */
export function halfBits(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // From 65520 on: nearer to 65536, which fp16 has not, than to 65504.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  // Below 2^-14 fp16 counts in steps of 2^-24: 2^-1 + x rounds x to just that, in the last bits of an fp32.
  if (magnitude < 0x38800000) {
    scratch[0] = Math.abs(scratch[0]!) + 0.5;
    return sign | (scratchBits[0]! - 0x3f000000);
  }
  const odd = (magnitude >>> 13) & 1;
  return sign | ((magnitude - 0x38000000 + 0xfff + odd) >>> 13);
}

/** fp16 of every value, little-endian, as numpy rounds them. */
export function encodeF16(values: Float32Array): Uint8Array {
  const words = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) words[i] = halfBits(values[i]!);
  return new Uint8Array(words.buffer);
}

/** bf16 of every value, little-endian: to the nearest, ties to even; NaN stays NaN. */
export function encodeBf16(values: Float32Array): Uint8Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const words = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]!;
    words[i] = (b & 0x7fffffff) > 0x7f800000 ? (b >>> 16) | 64 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return new Uint8Array(words.buffer);
}
