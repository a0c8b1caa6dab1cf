"""Arguments in Python's notation -> the command line's options, in hints and notes.

Hints are written once, as Python takes them; here ``formats=['tflite', 'onnx']`` becomes
``--formats tflite,onnx`` and ``force=True`` becomes ``--force``.
"""

from __future__ import annotations

import re

#: The arguments that a hint may name -> the option that sets each.
OPTIONS = {
    "avx2_safe": "--avx2",
    "bind": "--bind",
    "budget_ms": "--budget-ms",
    "calibration": "--calibration",
    "class_names": "--class-names",
    "classes": "--classes",
    "crop": "--crop",
    "crop_mode": "--crop-mode",
    "force": "--force",
    "formats": "--formats",
    "head": "--head",
    "host": "--host",
    "images": "--images",
    "interpolation": "--interpolation",
    "io": "--io",
    "labels": "--labels",
    "max_drop": "--max-drop",
    "mean": "--mean",
    "name": "--name",
    "out": "--out",
    "output_activation": "--output-activation",
    "overwrite": "--overwrite",
    "batch": "--batch",
    "per_tensor": "--per-tensor",
    "port": "--port",
    "precisions": "--precisions",
    "preview": "--preview",
    "quantizer": "--quantizer",
    "recipe": "--recipe",
    "resolution": "--resolution",
    "runs": "--runs",
    "source": "--checkpoint-type",
    "split": "--split",
    "std": "--std",
    "threads": "--threads",
    "threshold": "--threshold",
    "weights": "--weights",
    "workers": "--workers",
}
#: What describes the input of a file without a card is one object in Python.
_PREPROCESS = "--resolution, --mean and --std"
#: The call that lists the variants, as a command.
_LIST = ("list_variants() lists them", "see 'edge-effnet list'")
_VALUE = r"(?:'[^']*'|\[[^\]]*\]|\([^)]*\)|[\w+-]+(?:\.\w+)*(?:\([^)]*\))?)?"
_ARGUMENT = re.compile(rf"(?<![\w./\\=-])({'|'.join(OPTIONS)}|preprocess)=({_VALUE})")


def in_options(text: str) -> str:
    """``text`` with every argument written as the option that sets it."""
    return _ARGUMENT.sub(_option, text).replace(*_LIST)


def _option(argument: re.Match[str]) -> str:
    name, value = argument.groups()
    if name == "preprocess":
        return _PREPROCESS
    option = OPTIONS[name]
    if value in ("", "True"):
        return option
    if value == "False":
        return option.replace("--", "--no-", 1)
    items = value.strip("[]()").replace("'", "").split(",")
    return f"{option} {','.join(item.strip() for item in items)}"
