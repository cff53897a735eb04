// The choice of an engine as a table, and the contradictions that it refuses.
import { describe, expect, it } from 'vitest';
import { chooseEngine, type EngineAsked, type EngineFacts } from '../../src/engine/choose.ts';
import { bf16InCpuinfo, kernelFlagsIn } from '../../src/engine/facts.ts';

const bare: EngineFacts = { torch: undefined, gpu: false, bf16: [], apple: false };
const torch = { version: '2.15.0', cuda: false };
const withTorch: EngineFacts = { ...bare, torch };
const withCuda: EngineFacts = { ...bare, torch: { ...torch, cuda: true }, gpu: true };
const auto: EngineAsked = { engine: 'auto', device: 'auto', dtype: 'auto' };
const named = (asked: Partial<EngineAsked>, facts: EngineFacts) => {
  const { engine, device, dtype } = chooseEngine({ ...auto, ...asked }, facts);
  return `${engine} ${device} ${dtype}`;
};

describe('auto', () => {
  it.each<[string, EngineFacts]>([
    ['onnx cpu f32', bare],
    ['onnx cpu f32', { ...bare, bf16: ['AMX'], gpu: true }],
    ['torch cpu f32', withTorch],
    ['torch cpu f32', { ...withTorch, bf16: ['Arm BF16'] }],
    ['torch cpu bf16', { ...withTorch, bf16: ['AVX512-BF16'] }],
    ['torch cpu bf16', { ...withTorch, bf16: ['AMX', 'AVX512-BF16'] }],
    ['torch cpu f32', { ...withTorch, gpu: true }],
    ['torch cpu f32', { ...withCuda, gpu: false }],
    ['torch cuda bf16', withCuda],
    ['torch cpu f32', { ...withTorch, apple: true }],
  ])('is %s', (expected, facts) => {
    expect(named({}, facts)).toBe(expected);
  });

  it('says why', () => {
    expect(chooseEngine(auto, bare).reasons).toEqual(['no torch is here']);
    expect(chooseEngine(auto, { ...withTorch, bf16: ['AMX', 'AVX512-BF16'], gpu: true }).reasons).toEqual([
      'torch 2.15.0 is there',
      'the GPU is not used: this torch has no CUDA',
      'the processor has AMX',
    ]);
  });
});

describe('what is asked for', () => {
  it.each<[string, Partial<EngineAsked>, EngineFacts]>([
    ['onnx cpu f32', { engine: 'onnx' }, { ...withCuda, bf16: ['AMX'] }],
    ['onnx cpu f32', { engine: 'onnx', device: 'cpu', dtype: 'f32' }, bare],
    ['onnx cpu f32', { device: 'cpu', dtype: 'f32' }, bare],
    ['torch cpu f32', { dtype: 'f32' }, { ...withTorch, bf16: ['AMX'] }],
    ['torch cpu f32', { device: 'cpu' }, withCuda],
    ['torch cuda:1 bf16', { device: 'cuda:1' }, { ...withCuda, gpu: false }],
    ['torch cuda f16', { dtype: 'f16' }, withCuda],
    ['torch mps f32', { device: 'mps' }, { ...withTorch, apple: true }],
    ['torch cpu bf16', { dtype: 'bf16' }, withTorch],
  ])('gives %s', (expected, asked, facts) => {
    expect(named(asked, facts)).toBe(expected);
  });

  it('is granted with a warning where bf16 is slow', () => {
    const slow = ['warning: without AMX and AVX512-BF16 bf16 is slower than f32'];
    expect(chooseEngine({ engine: 'torch', device: 'cpu', dtype: 'bf16' }, withTorch).reasons).toEqual(slow);
    const fast = { ...withTorch, bf16: ['AMX'] };
    expect(chooseEngine({ engine: 'torch', device: 'cpu', dtype: 'bf16' }, fast).reasons).toEqual([]);
  });

  it.each<[string, Partial<EngineAsked>, EngineFacts]>([
    ['engine torch needs torch, and there is none here', { engine: 'torch' }, bare],
    ['device cuda needs torch', { device: 'cuda' }, { ...bare, gpu: true }],
    ['dtype bf16 needs torch', { dtype: 'bf16' }, { ...bare, bf16: ['AMX'] }],
    ['device cuda:0 is not for engine onnx', { engine: 'onnx', device: 'cuda:0' }, withCuda],
    ['dtype bf16 is not for engine onnx', { engine: 'onnx', dtype: 'bf16' }, withTorch],
    ['device cuda: this torch has no CUDA', { device: 'cuda' }, { ...withTorch, gpu: true }],
    ['device mps: this is not a Mac', { device: 'mps' }, withTorch],
    ['dtype f16 is for GPUs', { dtype: 'f16' }, withTorch],
    ['dtype tf32 is for GPUs of NVIDIA', { dtype: 'tf32' }, withTorch],
  ])('is refused: %s', (message, asked, facts) => {
    expect(() => chooseEngine({ ...auto, ...asked }, facts)).toThrow(
      expect.objectContaining({ kind: 'usage', what: expect.stringContaining(message) as string }),
    );
  });
});

it('reads the instructions for bf16 from /proc/cpuinfo', () => {
  const x86 = 'processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_tile amx_bf16 sse\nbugs\t: x\n';
  expect(bf16InCpuinfo(x86)).toEqual(['AMX', 'AVX512-BF16']);
  expect(bf16InCpuinfo('Features\t: fp asimd bf16 i8mm\n')).toEqual(['Arm BF16']);
  expect(bf16InCpuinfo('flags : fpu avx512f\n')).toEqual([]);
  expect(bf16InCpuinfo('')).toEqual([]);
});

it('reads from /proc/cpuinfo the instructions by which kernels are chosen, in one order', () => {
  const x86 = 'flags\t\t: fpu vme sse4_2 fma avx512f avx2 amx_tile aes rdrand smep sme svm\nbugs : x\n';
  expect(kernelFlagsIn(x86)).toEqual(['amx_tile', 'avx2', 'avx512f', 'fma', 'sse4_2']);
  expect(kernelFlagsIn('Features\t: fp asimd evtstrm sve bf16 i8mm sme smei8i32\n')).toEqual([
    'asimd',
    'bf16',
    'i8mm',
    'smei8i32',
    'sve',
  ]);
  expect(kernelFlagsIn('')).toEqual([]);
});
