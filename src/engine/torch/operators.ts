/**
 * How operators of torch are called: through the dispatcher, by their schema; and the checks before every call, since what
 * lies behind the C interface trusts its caller. Operators with arguments of torch's type Scalar cannot be called through
 * the dispatcher; those that are needed have a function of their own per kind of device.
 */
import { failure } from '../../util/index.ts';
import { KernelError, type Slot } from './binding.ts';
import { type Device, describe, type Tensor, type TorchDtype } from './tensors.ts';

export function fits(ok: boolean, what: string, ...tensors: readonly Tensor[]): void {
  if (!ok) throw failure({ what: `${what}: the shapes ${tensors.map(describe).join(', ')} do not fit` });
}

/** Shape of two broadcast shapes. */
export function broadcast(what: string, a: Tensor, b: Tensor): number[] {
  const rank = Math.max(a.shape.length, b.shape.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a.shape[a.shape.length - rank + i] ?? 1;
    const y = b.shape[b.shape.length - rank + i] ?? 1;
    fits(x === y || x === 1 || y === 1, what, a, b);
    return x === 1 ? y : x;
  });
}

/** Of two shapes. */
export const same = (a: readonly number[], b: readonly number[]) =>
  a.length === b.length && a.every((dim, i) => dim === b[i]);

/** Of the result of two tensors. */
export const wider = (a: Tensor, b: Tensor): TorchDtype => (a.dtype === b.dtype ? a.dtype : 'f32');

export type Operators = ReturnType<typeof operatorsOn>;

export function operatorsOn(device: Device) {
  const { library, empty, kind } = device;
  const fresh = (tensor: Tensor): number => {
    library.call('aoti_torch_new_tensor_handle', 'pp', tensor.handle, library.results[0]);
    return library.written();
  };
  /** Calls an operator whose first results are tensors; tensors among the arguments are handed over as new handles. */
  type Argument = Tensor | Slot | readonly Tensor[];
  const isTensor = (value: Argument): value is Tensor =>
    typeof value === 'object' && value !== null && 'handle' in value;
  function dispatch(name: string, overload: string, args: readonly Argument[], results: number): readonly number[] {
    const slots = args.map((value): Slot => {
      if (Array.isArray(value)) return { list: (value as readonly Tensor[]).map(fresh) };
      return isTensor(value) ? fresh(value) : (value as Slot);
    });
    return library.dispatch(name.includes('::') ? name : `aten::${name}`, overload, slots, results);
  }
  /** An operator that changes one of its arguments: the handle that it returns is of no use. */
  function change(name: string, overload: string, args: readonly Argument[]): void {
    for (const handle of dispatch(name, overload, args, 1))
      library.call('aoti_torch_delete_tensor_object', 'p', handle);
  }
  /** An operator with one result of this shape, into `out` or new memory. */
  function into(
    out: Tensor | undefined,
    [name, overload]: readonly [string, string],
    args: readonly Argument[],
    shape: readonly number[],
    dtype: TorchDtype,
  ): Tensor {
    const result = out ?? empty(shape, dtype);
    fits(same(result.shape, shape) && result.dtype === dtype, name, result);
    change(name, overload, [...args, result]);
    return result;
  }
  /** Name of the function that this kind of device has for an operator. */
  const own = (name: string) => `aoti_torch_${kind}_${name}`;

  /** Whether this build of torch has what the attempt calls. */
  function works(attempt: () => Tensor): boolean {
    try {
      device.scoped(() => [void attempt()]);
      return true;
    } catch (error) {
      if (error instanceof KernelError) return false;
      throw error;
    }
  }

  return { dispatch, change, into, own, works };
}
