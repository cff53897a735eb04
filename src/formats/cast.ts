// Weights as another program will read them: written in a type, and read again.

import { decodeTensor } from './gguf-decode.ts';
import { encodeTensor, type WritableType } from './gguf-encode.ts';

/**
 * The values after a cast, in fp32; rows must be whole blocks of the type.
 * @param name of the tensor, for errors
 * @throws failure where a weight is beyond the type, as when it is written
 */
export function castTensor(values: Float32Array, type: WritableType, name: string): Float32Array {
  return decodeTensor(encodeTensor(values, type, name), type, values.length);
}
