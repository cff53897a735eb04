/**
 * Types of tensors in a graph. Dimensions are integers or named symbols ("tokens"), bound when a program runs, so that
 * one program serves every batch.
 */

/** bf16 and f16 are storage and compute types of engines that have them; the host always sees f32 and i32. */
export type DType = 'f32' | 'bf16' | 'f16' | 'i32' | 'bool';

/** An integer, or the name of a size that is known only when the program runs. */
export type Dim = number | string;
export type Shape = readonly Dim[];

export interface TensorType {
  readonly dtype: DType;
  readonly shape: Shape;
}
