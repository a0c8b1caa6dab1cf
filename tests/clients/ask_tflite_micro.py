"""tflite-micro's interpreter over prepared pixels; runs without edge-effnet.

    ask_tflite_micro.py FILE PIXELS.npy LOGITS.npy

reads uint8 [n, height, width, 3], writes the output tensors as they come, uint8 [n, classes].
"""

import sys

import numpy as np
from tflite_micro.python.tflite_micro.runtime import Interpreter

ARENA = 16 << 20  # bytes

file, pixels, logits = sys.argv[1:]
interpreter = Interpreter.from_file(file, arena_size=ARENA)
rows = []
for image in np.load(pixels):
    interpreter.set_input(image[None], 0)
    interpreter.invoke()
    rows.append(interpreter.get_output(0)[0].copy())
np.save(logits, np.stack(rows))
