"""Runner for .rknn files on a Rockchip board, by the package rknn-toolkit-lite2.

The file is compiled for one chip. The card is in ``<name>.rknn.json`` beside
``<name>.<chip>.rknn``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import reading
from edge_effnet.card import ModelCard
from edge_effnet.errors import DeviceError, MissingExtra, ModelFileError, UsageError
from edge_effnet.files import missing
from edge_effnet.runtime.base import InputSpec, RuntimeInfo, class_rows
from edge_effnet.runtime.litert import package_version
from edge_effnet.runtime.placement import Placement

SUFFIX = ".rknn"
#: Name of the device in records, and the names of the package's core masks by ``core``.
DEVICE = "npu"
CORES = {
    "auto": "NPU_CORE_AUTO",
    "0": "NPU_CORE_0",
    "1": "NPU_CORE_1",
    "2": "NPU_CORE_2",
    "all": "NPU_CORE_ALL",
}
_PACKAGE = "rknn-toolkit-lite2"


class RknnRunner:
    """An image classifier in an .rknn file; see `Runner`."""

    def __init__(self, path: Path, options: Mapping[str, str]) -> None:
        """Load the file onto the board's NPU.

        Args:
            path: The .rknn file, with its .rknn.json.
            options: ``core``: one of `CORES`; by default the driver selects the cores.

        Raises:
            MissingExtra: The package is not installed.
            DeviceError: The file is for another chip, or there is no NPU.
            ModelFileError: The file or its card is missing or damaged.
            UsageError: An option is unknown.
        """
        core = _core(options)
        if not path.is_file():
            raise ModelFileError(missing(path))
        self._card = _card_beside(path)
        side = ModelCard.from_json(self._card).preprocess.size
        self.input, self._name = InputSpec("uint8", "NHWC", (side, side)), str(path)
        self._npu: Any = _package().RKNNLite()
        self._must(self._npu.load_rknn(str(path)), "load_rknn")
        masks = {} if core is None else {"core_mask": getattr(self._npu, core)}
        self._must(self._npu.init_runtime(**masks), "init_runtime")
        self.info = RuntimeInfo(_PACKAGE, package_version(_PACKAGE), 1, "NPU", DEVICE)

    def _must(self, code: int, step: str) -> None:
        """Raise `DeviceError` unless a step of the package succeeded."""
        if code:
            self._npu.release()
            raise DeviceError(
                f"{_PACKAGE} cannot run {self._name} ({step} returned {code})",
                hint="open the file of the board's chip, on the board, with its driver rknpu",
            )

    def card_text(self) -> str | None:
        """The model card's JSON."""
        return self._card

    def placement(self) -> Placement:
        """Not available.

        Raises:
            DeviceError: Always: the package does not report where operators run.
        """
        raise DeviceError(f"{_PACKAGE} does not report where the operators of {self._name} run")

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """Output float32 [n, classes] for n images uint8 [n, height, width, 3].

        Raises:
            DeviceError: The NPU's driver stops.
        """
        rows = []
        for image in batch:
            outputs = self._npu.inference(inputs=[np.ascontiguousarray(image[None])])
            if not outputs:
                raise DeviceError(f"{_PACKAGE} stopped running {self._name}; restart the board")
            rows.append(class_rows(self._name, outputs[0])[0])
        return np.stack(rows)


def _core(options: Mapping[str, str]) -> str | None:
    unknown = [name for name in options if name != "core"]
    if unknown:
        raise UsageError(f"{_PACKAGE} has no option {unknown[0]!r}; it has core")
    if "core" not in options:
        return None
    if options["core"] not in CORES:
        raise UsageError(f"there is no core {options['core']!r}; choose from {', '.join(CORES)}")
    return CORES[options["core"]]


def _card_beside(path: Path) -> str:
    card = path.with_name(f"{path.with_suffix('').with_suffix('').name}{SUFFIX}.json")
    if not card.is_file():
        raise ModelFileError(f"the model card {card} is missing; copy it beside {path.name}")
    return reading.read_bytes(card).decode("utf-8", "replace")


def _package() -> Any:
    try:
        return import_module("rknnlite.api")
    except ImportError as error:
        raise MissingExtra(
            "an .rknn file runs on a Rockchip board only, by its package: "
            f"pip install {_PACKAGE} there"
        ) from error
