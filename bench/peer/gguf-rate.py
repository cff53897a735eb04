"""MB/s of fp32, per second of processor time, in which the Python package gguf dequantises the tensor of a file.

    python bench/peer/gguf-rate.py FILE ROUNDS
"""

import statistics
import sys
import time

import gguf
import numpy as np

rates = []
for _ in range(int(sys.argv[2])):
    tensor = gguf.GGUFReader(sys.argv[1]).tensors[0]
    start = time.process_time()
    with np.errstate(all="ignore"):
        values = np.array(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
    rates.append(values.nbytes / (time.process_time() - start) / 1e6)
print(statistics.median(rates))
