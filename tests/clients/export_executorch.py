"""Write an int8 .pte file of a finished plan.

    export_executorch.py PLAN.safetensors FOLDER

prints the export's warnings.
"""

import sys

import edge_effnet
from edge_effnet.calibration.quantized_model import QuantizedModel

plan, folder = sys.argv[1:]
edge_effnet.export(
    QuantizedModel.load(plan),
    formats="executorch",
    precisions="int8",
    out=folder,
    notify=print,
    progress=False,
)
