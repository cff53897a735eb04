// What the installed torch is made of, with hashes; written by scripts/pin-torch.ts, not by hand.
import type { Platform } from './locations.ts';

export const TORCH_VERSION = '2.15.0';

/** A file of a wheel; name is what it is called when installed, size and packed are bytes unpacked and in the wheel. */
export interface PinnedFile {
  readonly member: string;
  readonly name: string;
  readonly size: number;
  readonly packed: number;
  /** In hex, of the unpacked file. */
  readonly sha256: string;
}

/** A wheel of `size` bytes, and the files wanted of it. */
export interface PinnedWheel {
  readonly project: string;
  readonly filename: string;
  readonly size: number;
  readonly files: readonly PinnedFile[];
}

export const PINS: Readonly<Record<Platform, readonly PinnedWheel[]>> = {
  'linux-x86_64': [
    {
      project: 'torch',
      filename: 'torch-2.15.0-cp312-cp312-manylinux_2_28_x86_64.whl',
      size: 539172785,
      files: [
        {
          member: 'torch/lib/libtorch_cpu.so',
          name: 'libtorch_cpu.so',
          size: 448373553,
          packed: 121372225,
          sha256: '741526fd877afac10868c174dd0fcbe7bed03966d07ea3e429c49999593fd562',
        },
        {
          member: 'torch/lib/libc10.so',
          name: 'libc10.so',
          size: 1671217,
          packed: 554861,
          sha256: 'bb1fe5b9b16d125c2725891fd124ee50b6264691981f0e4aafb371549e2c6e59',
        },
        {
          member: 'torch/lib/libgomp.so.1',
          name: 'libgomp.so.1',
          size: 2115577,
          packed: 112466,
          sha256: 'd6e0f1bdcc3d69a3747f7a431318beebdc23fb9b26c391cceb18b5caf0dc4fd3',
        },
        {
          member: 'torch/version.py',
          name: 'version.py',
          size: 317,
          packed: 188,
          sha256: '6feda231420514c053c7116e00e36d3313d6708aa1ab2a93dfa07ad4e5735184',
        },
        {
          member: 'torch-2.15.0.dist-info/licenses/LICENSE',
          name: 'torch-LICENSE.txt',
          size: 3464,
          packed: 1404,
          sha256: 'bd018feef8825e88181c84eb7e3aa4eafb8f08a20d9fd6ef948569610c4a3e43',
        },
      ],
    },
    {
      project: 'nvidia-cuda-cupti',
      filename: 'nvidia_cuda_cupti-13.2.86-py3-none-manylinux_2_25_x86_64.whl',
      size: 11988600,
      files: [
        {
          member: 'nvidia/cu13/lib/libcupti.so.13',
          name: 'libcupti.so.13',
          size: 5912448,
          packed: 1997719,
          sha256: 'df23b4e21d11bfb2c86b3159def62cbd2e6e660c70a9bf75bd4612a17bd40043',
        },
        {
          member: 'nvidia_cuda_cupti-13.2.86.dist-info/licenses/License.txt',
          name: 'nvidia-cuda-cupti-LICENSE.txt',
          size: 59262,
          packed: 14143,
          sha256: 'ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd',
        },
      ],
    },
    {
      project: 'nvidia-cuda-runtime',
      filename: 'nvidia_cuda_runtime-13.2.86-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl',
      size: 2323576,
      files: [
        {
          member: 'nvidia/cu13/lib/libcudart.so.13',
          name: 'libcudart.so.13',
          size: 773920,
          packed: 223738,
          sha256: '862020da24ec4db58470c8dfad08e8753b417c459c115326edf15e9f574c92e3',
        },
        {
          member: 'nvidia_cuda_runtime-13.2.86.dist-info/licenses/License.txt',
          name: 'nvidia-cuda-runtime-LICENSE.txt',
          size: 59262,
          packed: 14143,
          sha256: 'ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd',
        },
      ],
    },
  ],
  'linux-aarch64': [
    {
      project: 'torch',
      filename: 'torch-2.15.0-cp312-cp312-manylinux_2_28_aarch64.whl',
      size: 483664949,
      files: [
        {
          member: 'torch/lib/libtorch_cpu.so',
          name: 'libtorch_cpu.so',
          size: 329063905,
          packed: 79110275,
          sha256: 'e211e551ca5bfc7390bdda8c3165b928da1940cf57d89df56697b01647e02285',
        },
        {
          member: 'torch/lib/libc10.so',
          name: 'libc10.so',
          size: 8477329,
          packed: 886975,
          sha256: '103965aaf9ef84e0399aaad965261b3d7fd468558236295b95ee7def930e8d83',
        },
        {
          member: 'torch/lib/libgomp.so.1',
          name: 'libgomp.so.1',
          size: 345929,
          packed: 106721,
          sha256: 'e5f44900342ed6b357e41150d4c3e643a5f8e4b359520086edd705163f1823c6',
        },
        {
          member: 'torch/lib/libarm_compute.so',
          name: 'libarm_compute.so',
          size: 19032153,
          packed: 5124379,
          sha256: 'e161b05373eb7271f1290e1c8fdcd502bc9a909000cdb861c0086ac08525cc18',
        },
        {
          member: 'torch/lib/libarm_compute_graph.so',
          name: 'libarm_compute_graph.so',
          size: 1312353,
          packed: 288488,
          sha256: '5400e05ac12ad5b1a8e2e4743b14923bafdb9dfc83c5278dc5de28383b939f78',
        },
        {
          member: 'torch/lib/libnvpl_blas_core.so.0',
          name: 'libnvpl_blas_core.so.0',
          size: 2564017,
          packed: 936250,
          sha256: '475aa8701c04deb33e9bab2833475fc39a8ca072eba056109b4c39f147e0e9bf',
        },
        {
          member: 'torch/lib/libnvpl_blas_lp64_gomp.so.0',
          name: 'libnvpl_blas_lp64_gomp.so.0',
          size: 471169,
          packed: 101427,
          sha256: '7505ad0b4811199bd45e1fe9146f189163609bd44a5d168af0dba61ecfdd1b88',
        },
        {
          member: 'torch/lib/libnvpl_lapack_core.so.0',
          name: 'libnvpl_lapack_core.so.0',
          size: 1712473,
          packed: 595397,
          sha256: '34490b6ddab44d01eaf8e8b6a01c3828d12c36dd19a6a7894371b4dc747db3a4',
        },
        {
          member: 'torch/lib/libnvpl_lapack_lp64_gomp.so.0',
          name: 'libnvpl_lapack_lp64_gomp.so.0',
          size: 5938553,
          packed: 3254161,
          sha256: 'cee2d8b83765fb2dfda2db92044a840aa84a1894e981c5c6faaaa9823bc8b1a4',
        },
        {
          member: 'torch/version.py',
          name: 'version.py',
          size: 317,
          packed: 188,
          sha256: '6feda231420514c053c7116e00e36d3313d6708aa1ab2a93dfa07ad4e5735184',
        },
        {
          member: 'torch-2.15.0.dist-info/licenses/LICENSE',
          name: 'torch-LICENSE.txt',
          size: 3464,
          packed: 1404,
          sha256: 'bd018feef8825e88181c84eb7e3aa4eafb8f08a20d9fd6ef948569610c4a3e43',
        },
      ],
    },
    {
      project: 'nvidia-cuda-cupti',
      filename: 'nvidia_cuda_cupti-13.2.86-py3-none-manylinux_2_25_aarch64.whl',
      size: 11760263,
      files: [
        {
          member: 'nvidia/cu13/lib/libcupti.so.13',
          name: 'libcupti.so.13',
          size: 5635552,
          packed: 1800645,
          sha256: '4212ea0d2e67eb3f67d255f5e2e73e2a59911d064e976e581ce7c8246314ab33',
        },
        {
          member: 'nvidia_cuda_cupti-13.2.86.dist-info/licenses/License.txt',
          name: 'nvidia-cuda-cupti-LICENSE.txt',
          size: 59262,
          packed: 14143,
          sha256: 'ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd',
        },
      ],
    },
    {
      project: 'nvidia-cuda-runtime',
      filename: 'nvidia_cuda_runtime-13.2.86-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl',
      size: 2341433,
      files: [
        {
          member: 'nvidia/cu13/lib/libcudart.so.13',
          name: 'libcudart.so.13',
          size: 773384,
          packed: 234283,
          sha256: '17515a9dd5f56015baac7a7d94617e87ad802345ced2248fa37c4b5d1fd88235',
        },
        {
          member: 'nvidia_cuda_runtime-13.2.86.dist-info/licenses/License.txt',
          name: 'nvidia-cuda-runtime-LICENSE.txt',
          size: 59262,
          packed: 14143,
          sha256: 'ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd',
        },
      ],
    },
  ],
  'macos-arm64': [
    {
      project: 'torch',
      filename: 'torch-2.15.0-cp312-cp312-macosx_14_0_arm64.whl',
      size: 138558517,
      files: [
        {
          member: 'torch/lib/libtorch_cpu.dylib',
          name: 'libtorch_cpu.dylib',
          size: 421820912,
          packed: 101736672,
          sha256: 'a4ef88210d1fc82ffcd24f4c33d2bbdb78fd4082ebcaedbd22b7d925cf19ba01',
        },
        {
          member: 'torch/lib/libc10.dylib',
          name: 'libc10.dylib',
          size: 1142496,
          packed: 363390,
          sha256: 'e1bc0b03d0fd8c339254a1c426ab53342afd175cefd1497f74f31b4c0d1382dd',
        },
        {
          member: 'torch/lib/libomp.dylib',
          name: 'libomp.dylib',
          size: 856096,
          packed: 301178,
          sha256: '6256bee09e93c28d71c65711cc69224d69994c6965648b628b70a22772fe98d4',
        },
        {
          member: 'torch/version.py',
          name: 'version.py',
          size: 309,
          packed: 178,
          sha256: 'df830d95b0379afe59f584be336213b4009a24532cefa5b7da143dbff33b260d',
        },
        {
          member: 'torch-2.15.0.dist-info/licenses/LICENSE',
          name: 'torch-LICENSE.txt',
          size: 3464,
          packed: 1404,
          sha256: 'bd018feef8825e88181c84eb7e3aa4eafb8f08a20d9fd6ef948569610c4a3e43',
        },
      ],
    },
  ],
  'windows-x86_64': [
    {
      project: 'torch',
      filename: 'torch-2.15.0-cp312-cp312-win_amd64.whl',
      size: 126738207,
      files: [
        {
          member: 'torch/lib/torch_cpu.dll',
          name: 'torch_cpu.dll',
          size: 309509120,
          packed: 85687005,
          sha256: '809f735aa67eb79424f3dee2f4125db8d8368c9043fa43ef6b30d8a6041f949c',
        },
        {
          member: 'torch/lib/c10.dll',
          name: 'c10.dll',
          size: 1135104,
          packed: 434760,
          sha256: '77b0b108bf6a5271630c1d3d4321a198c34d73ecc0e2839f4ac83bcffefba17b',
        },
        {
          member: 'torch/lib/uv.dll',
          name: 'uv.dll',
          size: 195072,
          packed: 95279,
          sha256: 'fa569e682fc5fb7a8eb94c6829af9f30a569748dbbc6bce39735d48bc960bcf8',
        },
        {
          member: 'torch/lib/libiomp5md.dll',
          name: 'libiomp5md.dll',
          size: 1633408,
          packed: 694297,
          sha256: 'b0d2c2beac01b5c2d0f74912cb3e5bc50ab0b060d9d5ceb62b76fdfa690ceec5',
        },
        {
          member: 'torch/version.py',
          name: 'version.py',
          size: 323,
          packed: 185,
          sha256: 'eb8bd2ef07f2da4f32e1d37284b6dfc9356c259905b465056437c60908efad99',
        },
        {
          member: 'torch-2.15.0.dist-info/licenses/LICENSE',
          name: 'torch-LICENSE.txt',
          size: 3548,
          packed: 1422,
          sha256: '0fc92425d130d9c87a5eb7427082e3afdbff6ef169bc678e15abba4c2d37c934',
        },
      ],
    },
  ],
};
