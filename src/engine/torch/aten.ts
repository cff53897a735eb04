/**
 * The operators of torch that the kernels are made of, by subject, with their shapes checked before every call. Names are
 * torch's.
 */
import { elementwiseOn } from './elementwise.ts';
import { flashOperatorsOn } from './flashOperators.ts';
import { indexingOn } from './indexing.ts';
import { operatorsOn } from './operators.ts';
import { productsOn } from './products.ts';
import type { Device } from './tensors.ts';

export type Aten = ReturnType<typeof atenOn>;

export function atenOn(device: Device) {
  const operators = operatorsOn(device);
  return {
    ...productsOn(device, operators),
    ...elementwiseOn(device, operators),
    ...flashOperatorsOn(device, operators),
    ...indexingOn(device, operators),
  };
}
