"""Reads a GGUF file with the Python package gguf, for tests: prints {name: [type, shape, SHA-256 of the fp32 values]} as JSON.

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

found = {}
for tensor in gguf.GGUFReader(sys.argv[1]).tensors:
    shape = [int(n) for n in reversed(tensor.shape)]
    values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)
    found[tensor.name] = [tensor.tensor_type.name, shape, hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()]
print(json.dumps(found))
