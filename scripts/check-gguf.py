"""Reads a GGUF file with the Python package gguf, for tests: prints {tensors: {name: [type, shape, SHA-256 of the fp32 values]}, unknown,
missing} as JSON. `unknown` are tensors that gguf's table of the architecture, which llama.cpp follows, does not have; `missing` are those of
the table that are not in the file.

    python scripts/check-gguf.py FILE

Exit status 3 where there is no package gguf.
"""

import hashlib
import json
import sys

try:
    import gguf
    import numpy as np
except ImportError:
    sys.exit(3)

reader = gguf.GGUFReader(sys.argv[1])
found = {}
for tensor in reader.tensors:
    shape = [int(n) for n in reversed(tensor.shape)]
    values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)
    found[tensor.name] = [tensor.tensor_type.name, shape, hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()]

name = reader.get_field("general.architecture").contents()
architecture = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)
blocks = reader.get_field(f"{name}.block_count").contents()
table = {gguf.TENSOR_NAMES[kind].format(bid=i) for kind in gguf.MODEL_TENSORS[architecture] for i in range(blocks)}
present = {each.rsplit(".", 1)[0] for each in found}
print(json.dumps({"tensors": found, "unknown": sorted(present - table), "missing": sorted(table - present)}))
