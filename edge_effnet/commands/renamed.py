"""Names that options and commands had before: each is refused with the name that it has now."""

from __future__ import annotations

_CHECKPOINT = {"--source": "--checkpoint-type", "--labels": "--class-names"}
_DESCRIBED = {"--size": "--resolution"}
_DEVICE = {"--device": "--host"}
_OP_TIMES = {"--profile": "--op-times"}
_LATENCY_MODEL = {"--profile": "--latency-model"}

#: Command -> its old options -> those of today.
OPTIONS: dict[str, dict[str, str]] = {
    "analyze": _CHECKPOINT,
    "bench calibration-sets": {"--sizes": "--set-sizes"},
    "benchmark": {**_DEVICE, **_OP_TIMES},
    "bundle": {"--target": "--board"},
    "camera": {**_DESCRIBED, "--host": "--bind", "--workers": "--copies"},
    "classify": _DESCRIBED,
    "compare": {**_DESCRIBED, **_OP_TIMES},
    "convert-weights": _CHECKPOINT,
    "device": _DEVICE,
    "evaluate": _DESCRIBED,
    "export": _CHECKPOINT,
    "predict": _LATENCY_MODEL,
    "profile": _DEVICE,
    "scale": {**_LATENCY_MODEL, "--knob": "--axis"},
    "select": {"--predict": "--latency-model", "--sizes": "--resolution-scales"},
    "sweep": {**_DEVICE, **_OP_TIMES},
    "web": {**_DESCRIBED, "--name": "--title"},
}

#: Old command -> today's.
COMMANDS = {"fit": "scale"}
