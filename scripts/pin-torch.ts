// Writes src/engine/torch/library/pins.ts: which wheels and files make up the installed torch, with the hashes that the
// wheels' own RECORD lists. Asks the package index (PIP_INDEX_URL or PyPI); fetches directories and RECORDs, no library.
//   npx tsx scripts/pin-torch.ts
// To raise the version: change VERSION, NVIDIA and, after a look at what the libraries need (readelf -d, otool -L,
// dumpbin /dependents: the closure of libtorch_cpu), the lists of files; then run this and install on each platform.
import { writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inflateRawSync } from 'node:zlib';
import type { Platform } from '../src/engine/torch/library/locations.ts';
import { indexClient, indexUrl, wheelUrl } from '../src/engine/torch/library/packageIndex.ts';
import type { PinnedFile, PinnedWheel } from '../src/engine/torch/library/pins.ts';
import { dataOffset, type ReadAt, zipMembers } from '../src/engine/torch/library/zip.ts';

const VERSION = '2.15.0';
/** Of nvidia-cuda-cupti and nvidia-cuda-runtime: what torch's cuda-toolkit requirement resolves to. */
const NVIDIA = '13.2.86';
const LICENCE = /\.dist-info\/licenses\/(LICENSE|License\.txt)$/;

interface Wanted {
  readonly project: string;
  readonly filename: string;
  /** Folder of the files in the wheel, and their names. */
  readonly folder: string;
  readonly names: readonly string[];
}

/** The library does not depend on Python's version: any will do, one that exists for all platforms. */
const torch = (tag: string, ...names: string[]): Wanted => ({
  project: 'torch',
  filename: `torch-${VERSION}-cp312-cp312-${tag}.whl`,
  folder: 'torch/lib',
  names,
});
const nvidia = (part: 'cupti' | 'runtime', tag: string, name: string): Wanted => ({
  project: `nvidia-cuda-${part}`,
  filename: `nvidia_cuda_${part}-${NVIDIA}-py3-none-${tag}.whl`,
  folder: 'nvidia/cu13/lib',
  names: [name],
});
const linux = (arch: string, ...more: string[]): Wanted[] => [
  torch(`manylinux_2_28_${arch}`, 'libtorch_cpu.so', 'libc10.so', 'libgomp.so.1', ...more),
  nvidia('cupti', `manylinux_2_25_${arch}`, 'libcupti.so.13'),
  nvidia('runtime', `manylinux2014_${arch}.manylinux_2_17_${arch}`, 'libcudart.so.13'),
];

const WANTED: Readonly<Record<Platform, readonly Wanted[]>> = {
  'linux-x86_64': linux('x86_64'),
  'linux-aarch64': linux(
    'aarch64',
    'libarm_compute.so',
    'libarm_compute_graph.so',
    'libnvpl_blas_core.so.0',
    'libnvpl_blas_lp64_gomp.so.0',
    'libnvpl_lapack_core.so.0',
    'libnvpl_lapack_lp64_gomp.so.0',
  ),
  'macos-arm64': [torch('macosx_14_0_arm64', 'libtorch_cpu.dylib', 'libc10.dylib', 'libomp.dylib')],
  'windows-x86_64': [torch('win_amd64', 'torch_cpu.dll', 'c10.dll', 'uv.dll', 'libiomp5md.dll')],
};

async function pinWheel({ project, filename, folder, names }: Wanted): Promise<PinnedWheel> {
  const web = indexClient({});
  const url = await wheelUrl(web, indexUrl(process.env), project, filename);
  const size = Number((await fetch(url, { method: 'HEAD' })).headers.get('content-length'));
  const read: ReadAt = async (from, length) => {
    const bytes = await web.range(url, from, length);
    if (!bytes) throw new Error(`${url}: no ranges here`);
    return bytes;
  };
  const members = await zipMembers(read, size, url);
  const record = [...members.values()].find(({ name }) => /^[^/]+\.dist-info\/RECORD$/.test(name))!;
  const packed = await read(await dataOffset(read, record, url), record.packed);
  const lines = (record.deflated ? inflateRawSync(packed) : Buffer.from(packed)).toString('utf8').split(/\r?\n/);
  const licence = [...members.keys()].find((name) => LICENCE.test(name))!;
  const wanted = [
    ...names.map((name) => `${folder}/${name}`),
    ...(project === 'torch' ? ['torch/version.py'] : []),
    licence,
  ];
  const files = wanted.map((member): PinnedFile => {
    const [, hash, bytes] = lines.map((line) => line.split(',')).find(([name]) => name === member) ?? [];
    if (!hash?.startsWith('sha256=')) throw new Error(`${filename}: RECORD has no hash of ${member}`);
    const sha256 = Buffer.from(hash.slice('sha256='.length), 'base64url').toString('hex');
    const name = member === licence ? `${project}-LICENSE.txt` : basename(member);
    return { member, name, size: Number(bytes), packed: members.get(member)!.packed, sha256 };
  });
  return { project, filename, size, files };
}

const pins: Partial<Record<Platform, PinnedWheel[]>> = {};
for (const [platform, wheels] of Object.entries(WANTED)) {
  pins[platform as Platform] = await Promise.all(wheels.map(pinWheel));
}
const text = `// What the installed torch is made of, with hashes; written by scripts/pin-torch.ts, not by hand.
import type { Platform } from './locations.ts';

export const TORCH_VERSION = '${VERSION}';

/** A file of a wheel; name is what it is called when installed, size and packed are bytes unpacked and in the wheel. */
export interface PinnedFile {
  readonly member: string;
  readonly name: string;
  readonly size: number;
  readonly packed: number;
  /** In hex, of the unpacked file. */
  readonly sha256: string;
}

/** A wheel of \`size\` bytes, and the files wanted of it. */
export interface PinnedWheel {
  readonly project: string;
  readonly filename: string;
  readonly size: number;
  readonly files: readonly PinnedFile[];
}

export const PINS: Readonly<Record<Platform, readonly PinnedWheel[]>> = ${JSON.stringify(pins, null, 2)};
`;
writeFileSync(fileURLToPath(new URL('../src/engine/torch/library/pins.ts', import.meta.url)), text);
