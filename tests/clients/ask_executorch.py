"""ExecuTorch's runtime over prepared inputs.

    ask_executorch.py FILE.pte INPUTS.npy LOGITS.npy

reads float32 [n, 3, height, width], writes float32 [n, classes]; prints the model card.
"""

import sys

import numpy as np
import torch
from executorch.runtime import Runtime

file, inputs, logits = sys.argv[1:]
program = Runtime.get().load_program(file)
forward = program.load_method("forward")
rows = [forward.execute([torch.tensor(image[None])])[0][0].numpy() for image in np.load(inputs)]
np.save(logits, np.stack(rows))
print(program.load_method("edge_effnet").execute([])[0])
