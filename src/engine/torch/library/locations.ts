// Where things lie: the platform's name, the library's file, the folder in which installed libraries are kept.
import { join } from 'node:path';
import { cacheFolder, type Env } from '../../../util/index.ts';

/** The platforms for which a library can be installed. */
export const PLATFORMS = ['linux-x86_64', 'linux-aarch64', 'macos-arm64', 'windows-x86_64'] as const;
export type Platform = (typeof PLATFORMS)[number];

/** A process, as far as the platform is told from it. */
export interface Host {
  readonly platform: string;
  readonly arch: string;
}

const PLATFORM_OF: Readonly<Record<string, Platform>> = {
  'linux x64': 'linux-x86_64',
  'linux arm64': 'linux-aarch64',
  'darwin arm64': 'macos-arm64',
  'win32 x64': 'windows-x86_64',
};

/** Undefined where there is no library for the platform. */
export function platformOf({ platform, arch }: Host): Platform | undefined {
  return PLATFORM_OF[`${platform} ${arch}`];
}

/** File names of the part that computes on CPUs and of the part for CUDA. */
export function libraryNames({ platform }: Pick<Host, 'platform'>): { readonly cpu: string; readonly cuda: string } {
  if (platform === 'win32') return { cpu: 'torch_cpu.dll', cuda: 'torch_cuda.dll' };
  const suffix = platform === 'darwin' ? 'dylib' : 'so';
  return { cpu: `libtorch_cpu.${suffix}`, cuda: `libtorch_cuda.${suffix}` };
}

/** The folder of one installed version. */
export function installFolder(env: Env, version: string, platform: Platform): string {
  return join(cacheFolder(env), 'torch', `${version}-${platform}`);
}
