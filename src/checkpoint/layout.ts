// Between the tensors of files and the parameters of a model: other names for the same tensor, and matrices that files hold the
// other way round (Conv1D).

import type { TensorToWrite } from '../formats/index.ts';
import type { Parameter } from '../models/index.ts';
import type { WeightSource } from './weights.ts';

/** The source as the model's parameters: under their names where it has one of their aliases, in their layout. */
export function asParameters(source: WeightSource, parameters: readonly Parameter[]): WeightSource {
  const present = new Set(source.names());
  const inFile = new Map<string, string>();
  for (const { name, aliases } of parameters) {
    const found = [name, ...aliases].find((candidate) => present.has(candidate));
    if (found !== undefined) inFile.set(name, found);
  }
  const ownNames = new Map([...inFile].map(([name, found]) => [found, name]));
  const transposed = new Set(parameters.filter((one) => one.transposed).map(({ name }) => name));
  const found = (name: string) => inFile.get(name) ?? name;
  return {
    ...source,
    names: () => [...present].map((name) => ownNames.get(name) ?? name),
    shape: (name) => {
      const shape = source.shape(found(name));
      return transposed.has(name) ? shape.toReversed() : shape;
    },
    read: async (name) => {
      const values = await source.read(found(name));
      return transposed.has(name) ? transpose(values, source.shape(found(name))) : values;
    },
  };
}

/** What a file holds of a parameter whose values are `data`. */
export function parameterTensor(
  { name, shape, transposed }: Parameter,
  data: () => Promise<Float32Array>,
  dtype: 'F32' | 'F16' | 'BF16' = 'F32',
): TensorToWrite {
  if (!transposed) return { name, dtype, shape: [...shape], data };
  return { name, dtype, shape: shape.toReversed(), data: async () => transpose(await data(), shape) };
}

function transpose(values: Float32Array, shape: readonly number[]): Float32Array {
  const [rows, columns] = shape as [number, number];
  const turned = new Float32Array(values.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) turned[j * rows + i] = values[i * columns + j]!;
  return turned;
}
