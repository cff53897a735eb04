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
