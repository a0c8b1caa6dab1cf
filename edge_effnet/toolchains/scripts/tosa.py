"""A .tflite file on Arm's TOSA reference model: tosa.py FILE.tflite FOLDER TYPE.

The file is converted to TOSA, in FOLDER. Then every array of images that arrives on standard input,
[n, ...] in the file's input type, is followed on standard output by the integers of the file's
output, [n, classes]. TYPE is the type of the output: uint8, int8 or float32.
"""

import io
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np


def main(source: str, folder: str, dtype: str) -> None:
    """Run images until standard input ends."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the libraries print on standard output
    graph = convert(source, Path(folder))
    tosa_reference_model = import_module("tosa_reference_model")

    while length := int.from_bytes(sys.stdin.buffer.read(8), "little"):
        images = np.load(io.BytesIO(sys.stdin.buffer.read(length)))
        rows = []
        for image in images:
            (output, *_), status = tosa_reference_model.run(graph, [image[None].copy()])
            if status != tosa_reference_model.GraphStatus.TOSA_VALID:
                sys.exit(f"the reference model returns {status}")
            rows.append(output.reshape(-1).view(dtype))  # unsigned integers arrive as signed ones
        content = io.BytesIO()
        np.save(content, np.stack(rows))
        replies.write(len(content.getvalue()).to_bytes(8, "little") + content.getvalue())
        replies.flush()


def convert(source: str, folder: Path) -> bytes:
    """The TOSA graph of a .tflite file, serialized."""
    converter = import_module("tosa_converter_for_tflite")
    module, graph = folder / "network.mlirbc", folder / "network.tosa"
    converter.tflite_flatbuffer_to_tosa_mlir(source, os.fspath(module))
    command = [os.fspath(Path(sys.executable).with_name("tosa-opt"))]
    command += ["--tosa-convert-integer-type-to-signless", "--tosa-serialize"]
    command += [f"--tosa-flatbuffer-filename={graph}", os.fspath(module), "-o", os.devnull]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=False
    )
    if done.returncode or not graph.is_file():
        sys.exit(f"tosa-opt: {done.stderr.strip().splitlines()[:1]}")
    return graph.read_bytes()


if __name__ == "__main__":
    main(*sys.argv[1:])
