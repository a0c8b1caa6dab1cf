"""ncnn over prepared inputs; runs without edge-effnet.

    ask_ncnn.py FILE.ncnn.param INPUTS.npy LOGITS.npy

reads float32 [n, 3, height, width], writes float32 [n, classes]. ncnn computes in float32.
"""

import sys

import ncnn
import numpy as np

file, inputs, logits = sys.argv[1:]
net = ncnn.Net()
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
if net.load_param(file) or net.load_model(file.replace(".param", ".bin")):
    sys.exit(f"ncnn does not load {file}")
rows = []
for values in np.load(inputs):
    extractor = net.create_extractor()
    values = np.ascontiguousarray(values)  # kept: a Mat borrows its memory
    extractor.input("image", ncnn.Mat(values).clone())
    code, output = extractor.extract("logits")
    rows.append(np.array(output).copy())
np.save(logits, np.stack(rows))
