"""Runner for .pte files: ExecuTorch's runtime, with the kernels that the file was lowered to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import CARD_KEY
from edge_effnet.errors import DeviceError, ModelFileError, require
from edge_effnet.runtime.base import (
    RuntimeInfo,
    class_rows,
    input_spec,
    refusal,
    running,
)
from edge_effnet.runtime.litert import package_version
from edge_effnet.runtime.placement import Placement
from edge_effnet.runtime.silence import silenced

_EXTRA, _TITLE = "executorch", "ExecuTorch"
#: The module that executorch.runtime wraps. That package imports the exporter, 4 s of CPU time, and
#: the child process that checks a file has 15 s on any machine.
_LIBRARY = "executorch.extension.pybindings._C"
_FLOAT32 = 6  # of the enum ScalarType
#: Number of threads of the pool, which all files of a process share.
_pool: list[int] = []


class ExecuTorchRunner:
    """A float32 image classifier in a .pte file; see `Runner`."""

    def __init__(self, data: bytes, threads: int, name: str) -> None:
        """Load the method ``forward``.

        Args:
            data: Content of the file.
            threads: Threads of XNNPACK's pool. All .pte files of a process share the pool, so the
                first file decides.
            name: Name of the file in messages.

        Raises:
            ModelFileError: The file is damaged, needs another backend or another release of
                ExecuTorch, or is not an image classifier.
            MissingExtra: ExecuTorch is not installed.
        """
        with silenced():
            self._torch: Any = require("torch", _EXTRA)  # loads libraries that the next one needs
            library: Any = require(_LIBRARY, _EXTRA)
            if not _pool:
                library._unsafe_reset_threadpool(threads)
                _pool.append(threads)
        self._name = name
        self._data = data  # the program refers to it
        try:
            with silenced():
                consistency = library.Verification.InternalConsistency
                self._program = library._load_program_from_buffer(
                    data, program_verification=consistency
                )
                self._forward = self._program.load_method("forward")
                self._card = self._read_card()
            meta = self._forward.method_meta()
            count = meta.num_inputs()
            first = meta.input_tensor_meta(0) if count == 1 else None
        except (RuntimeError, ValueError, TypeError) as error:
            raise refusal(_TITLE, name, error) from error
        if first is None:
            raise ModelFileError(f"{name} has {count} inputs; an image classifier has one")
        dtype = "float32" if first.dtype() == _FLOAT32 else "another type"
        self.input = input_spec(name, dtype, list(first.sizes()))
        version = package_version(_EXTRA)
        self.info = RuntimeInfo(_EXTRA, version, _pool[0], "as lowered in the file")

    def _read_card(self) -> str | None:
        program = self._program
        names = [program.get_method_name(number) for number in range(program.num_methods())]
        if CARD_KEY not in names:
            return None
        (text,) = program.load_method(CARD_KEY)([])
        return str(text)

    def card_text(self) -> str | None:
        """The model card's JSON; None without a card."""
        return self._card

    def placement(self) -> Placement:
        """Not available.

        Raises:
            DeviceError: Always: the runtime does not report where operators run.
        """
        raise DeviceError(
            f"{_TITLE} does not report where the operators of {self._name} run",
            hint="'edge-effnet export' names the operators that XNNPACK does not run",
        )

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """Output float32 [n, classes] for n normalised images float32 [n, 3, height, width]."""
        rows = []
        for image in batch:
            tensor = self._torch.from_numpy(np.ascontiguousarray(image[None], np.float32))
            with running(_TITLE, self._name):
                output = self._forward([tensor])[0]
            rows.append(class_rows(self._name, output.numpy())[0])
        return np.stack(rows)
