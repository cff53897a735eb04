// The name of a GPU and of its driver, from libraries that are made up here after NVIDIA's headers (cuda.h, nvml.h).

import { expect, it } from 'vitest';
import { type Functions, gpuAt } from '../../src/engine/torch/gpu.ts';

type C = (...values: never[]) => number;
const write = (into: Uint8Array, text: string) => {
  into.set(new TextEncoder().encode(`${text}\0rest`));
  return 0;
};
const set = (into: Int32Array, value: number) => {
  into[0] = value;
  return 0;
};

/** Two GPUs; handles of the driver are not their numbers. */
const driver: Record<string, C> = {
  cuInit: (flags: number) => flags,
  cuDeviceGet: (device: Int32Array, ordinal: number) => (ordinal < 2 ? set(device, 40 + ordinal) : 101),
  cuDeviceGetName: (name: Uint8Array, length: number, device: number) =>
    length <= name.length ? write(name, device === 41 ? 'NVIDIA H200' : 'NVIDIA L4') : 1,
  cuDriverGetVersion: (version: Int32Array) => set(version, 12080),
};
const management: Record<string, C> = {
  nvmlInit_v2: () => 0,
  nvmlSystemGetDriverVersion: (version: Uint8Array, length: number) =>
    length <= version.length ? write(version, '570.86.15') : 7,
};

/** Loads by a part of the library's name: "cu" is in libcuda.so.1 and nvcuda.dll. */
const loader = (libraries: Record<string, Record<string, C>>) => (file: string) => {
  const [, functions] = Object.entries(libraries).find(([part]) => file.includes(part)) ?? [];
  if (!functions) throw new Error(`no ${file}`);
  return {
    func: (prototype) => functions[/(\w+)\(/.exec(prototype)![1]!] as ReturnType<Functions['func']>,
  } satisfies Functions;
};

it('asks the driver for the model, and the management library for the version', () => {
  const load = loader({ cuda: driver, ml: management });
  expect(gpuAt(0, load)).toEqual({ model: 'NVIDIA L4', driver: '570.86.15' });
  expect(gpuAt(1, load)).toEqual({ model: 'NVIDIA H200', driver: '570.86.15' });
});

it('knows the driver by its CUDA where the management library is missing or fails', () => {
  const failing = { ...management, nvmlInit_v2: () => 9 };
  for (const libraries of [{ cuda: driver }, { cuda: driver, ml: failing }]) {
    expect(gpuAt(0, loader(libraries))).toEqual({ model: 'NVIDIA L4', driver: 'CUDA 12.8' });
  }
});

it('says that it does not know rather than fail', () => {
  expect(gpuAt(2, loader({ cuda: driver, ml: management }))).toEqual({ model: 'unknown', driver: '570.86.15' });
  expect(gpuAt(0, loader({}))).toEqual({ model: 'unknown', driver: 'unknown' });
});
