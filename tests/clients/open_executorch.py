"""A .pte file by this package where ExecuTorch is installed.

    open_executorch.py FILE.pte PIXELS.npy LOGITS.npy

reads uint8 [n, height, width, 3], writes float32 [n, classes].
"""

import sys

import numpy as np

import edge_effnet

file, pixels, logits = sys.argv[1:]
classifier = edge_effnet.open(file, threads=1)
np.save(logits, classifier.logits_of_batch(list(np.load(pixels))))
print(classifier.runner.info.name)
