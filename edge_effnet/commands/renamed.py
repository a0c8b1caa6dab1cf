"""Former names of options and commands; the error for a former name has the current name."""

from __future__ import annotations

_CHECKPOINT = {"--source": "--checkpoint-type", "--labels": "--class-names"}
_DESCRIBED = {"--size": "--resolution"}
_DEVICE = {"--device": "--host"}
_OP_TIMES = {"--profile": "--op-times"}
_LATENCY_MODEL = {"--profile": "--latency-model"}

#: Command -> former option -> current option.
OPTIONS: dict[str, dict[str, str]] = {
    "analyze": _CHECKPOINT,
    "bench calibration-sets": {"--sizes": "--set-sizes"},
    "benchmark": _OP_TIMES,
    "bundle": {"--target": "--board"},
    "camera": {**_DESCRIBED, "--host": "--bind", "--workers": "--copies"},
    "classify": _DESCRIBED,
    "compare": {**_DESCRIBED, **_OP_TIMES},
    "convert-weights": _CHECKPOINT,
    "device": _DEVICE,
    "evaluate": _DESCRIBED,
    "export": _CHECKPOINT,
    "predict": _LATENCY_MODEL,
    "scale": {**_LATENCY_MODEL, "--knob": "--axis"},
    "select": {"--predict": "--latency-model", "--sizes": "--resolution-scales"},
    "sweep": _OP_TIMES,
    "web": {**_DESCRIBED, "--name": "--title"},
}

#: Former command -> current command.
COMMANDS = {"fit": "scale"}
