"""A saved Core ML package, computed operator by operator on PyTorch: Core ML itself needs a Mac.

    ask_coreml.py FILE.mlpackage PIXELS.npy LOGARITHMS.npy

reads uint8 [n, height, width, 3], writes the logarithms of the probabilities, float32 [n, classes];
prints the names of the classes as the package states them. The operators mean here what MIL's
documentation says.
"""

import json
import logging
import sys

logging.disable(logging.WARNING)

import coremltools as ct  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from coremltools.converters.mil.frontend.milproto.load import load  # noqa: E402
from torch.nn import functional  # noqa: E402


def conv(x, weight, bias, strides, pad, groups, pad_type, dilations):
    top, bottom, left, right = pad if pad_type == "custom" else (0, 0, 0, 0)
    assert pad_type in ("custom", "valid")
    padded = functional.pad(x, (left, right, top, bottom))
    return functional.conv2d(padded, weight, bias, tuple(strides), 0, tuple(dilations), int(groups))


OPERATORS = {
    "sub": lambda x, y: x - y,
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "conv": conv,
    "relu6": lambda x: x.clamp(0, 6),
    "silu": lambda x: functional.silu(x),
    "sigmoid": lambda x: torch.sigmoid(x),
    "reduce_mean": lambda x, axes, keep_dims: x.mean(tuple(map(int, axes)), bool(keep_dims)),
    "linear": lambda x, weight, bias: functional.linear(x, weight, bias),
    "softmax": lambda x, axis: x.softmax(int(axis)),
    "cast": lambda x, dtype: x.float(),
}


def value(variable, known):
    """A variable's tensor, or the number or text that it holds."""
    if variable.name in known:
        return known[variable.name]
    held = variable.val
    if isinstance(held, np.ndarray) and held.dtype in (np.float32, np.float16):
        return torch.tensor(held.astype(np.float32))
    return held


file, pixels, logarithms = sys.argv[1:]
model = ct.models.MLModel(file, skip_model_load=True)
spec = model.get_spec()
program = load(spec, spec.specificationVersion, model.weights_dir)
function = program.functions["main"]
rows = []
for image in np.load(pixels):
    known = {"image": torch.tensor(image.transpose(2, 0, 1)[None].astype(np.float32))}
    for operator in function.operations:
        if operator.op_type in ("const", "classify"):
            continue
        given = {name: value(one, known) for name, one in operator.inputs.items() if one}
        output = OPERATORS[operator.op_type](**given)
        known[operator.outputs[0].name] = output
    rows.append(output[0].log().numpy())
np.save(logarithms, np.stack(rows))
(names,) = [
    operator.inputs["classes"].val
    for operator in function.operations
    if operator.op_type == "classify"
]
print(json.dumps([str(name) for name in names]))
