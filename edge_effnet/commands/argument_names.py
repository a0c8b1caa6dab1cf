"""Conversion of Python arguments in hints and notes to command-line options.

Hints are written in Python notation. This module converts ``formats=['tflite', 'onnx']`` to
``--formats tflite,onnx``, ``device_options={'precision': 'f32'}`` to
``--device-option precision=f32`` and ``force=True`` to ``--force``.
"""

from __future__ import annotations

import re

#: Python argument that hints may name -> command-line option.
OPTIONS = {
    "allow_operators": "--allow-operators",
    "avx2_safe": "--avx2",
    "bind": "--bind",
    "budget_ms": "--budget-ms",
    "calibration": "--calibration",
    "class_names": "--class-names",
    "classes": "--classes",
    "contrib_ops": "--contrib-ops",
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
    "float_budget": "--float-budget",
    "max_drop": "--max-drop",
    "min_confidence": "--min-confidence",
    "mean": "--mean",
    "name": "--name",
    "on_answer": "--on-answer",
    "out": "--out",
    "output_activation": "--output-activation",
    "overwrite": "--overwrite",
    "batch": "--batch",
    "softmax": "--softmax",
    "per_tensor": "--per-tensor",
    "port": "--port",
    "precisions": "--precisions",
    "preview": "--preview",
    "quantizer": "--quantizer",
    "recipe": "--recipe",
    "reference": "--reference",
    "resolution": "--resolution",
    "runs": "--runs",
    "smoothing": "--smoothing",
    "source": "--checkpoint-type",
    "split": "--split",
    "std": "--std",
    "threads": "--threads",
    "threshold": "--threshold",
    "balanced": "--balanced",
    "device": "--device",
    "devices": "--device",
    "device_options": "--device-option",
    "epochs": "--epochs",
    "more": "--more",
    "resume": "--resume",
    "teacher": "--teacher",
    "variant": "--variant",
    "latency_model": "--latency-model",
    "seed": "--seed",
    "int8_aware": "--int8-aware",
    "weights": "--weights",
    "workers": "--workers",
}
#: Options that replace the Python argument ``preprocess``.
_PREPROCESS = "--resolution, --mean and --std"
#: Python call that lists the variants -> command.
_LIST = ("list_variants() lists them", "see 'edge-effnet list'")
_VALUE = r"(?:'[^']*'|\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[\w+-]+(?:\.\w+)*(?:\([^)]*\))?)?"
_PAIR = re.compile(r"'([^']*)': ?'?([^',}]+)'?")
_ARGUMENT = re.compile(rf"(?<![\w./\\=-])({'|'.join(OPTIONS)}|preprocess)=({_VALUE})")


def in_options(text: str) -> str:
    """``text`` with every Python argument replaced by its command-line option."""
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
    if value.startswith("{"):
        pairs = _PAIR.findall(value)
        return " ".join(f"{option} {key}={text}" for key, text in pairs)
    items = value.strip("[]()").replace("'", "").split(",")
    return f"{option} {','.join(item.strip() for item in items)}"
