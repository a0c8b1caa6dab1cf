"""Runner for .onnx files: ONNX Runtime on the CPU or with another execution provider."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import CARD_KEY
from edge_effnet.errors import DeviceError, ModelFileError, require
from edge_effnet.runtime.base import (
    RuntimeInfo,
    class_rows,
    filled,
    input_spec,
    refusal,
    running,
)
from edge_effnet.runtime.devices.device import Device
from edge_effnet.runtime.operators import CONVERSIONS, of_onnx
from edge_effnet.runtime.placement import Placement, placement

_CPU = "CPUExecutionProvider"
#: Suffix that the layout transformation adds to the names of nodes.
_TOKEN = re.compile(r"_token_\d+$")
_RECORD = "session.record_ep_graph_assignment_info"


@dataclass(frozen=True)
class Provider:
    """An execution provider: its ``device``, its name in ONNX Runtime, and its settings.

    ``plugin`` is the OrtEpDevice of a provider from a plug-in package.
    """

    device: Device
    name: str
    settings: Mapping[str, str]
    plugin: Any = None


class OnnxRuntimeRunner:
    """A float32 or integer image classifier in an .onnx file.

    Without a ``provider``, the CPU runs it. Otherwise the CPU runs the operators that the provider
    does not take.
    """

    def __init__(
        self, data: bytes, threads: int, name: str, provider: Provider | None = None
    ) -> None:
        ort = require("onnxruntime", "onnx")
        self._data, self._provider, self._file = data, provider, name
        self._session = self._open(ort, _options(ort, threads))
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelFileError(f"{name} has {len(inputs)} inputs; an image classifier has one")
        (first,) = inputs
        self._name = first.name
        dtype = first.type.removeprefix("tensor(").removesuffix(")")
        self.input = input_spec(name, "float32" if dtype == "float" else dtype, first.shape)
        device = Device("cpu", "cpu", "onnxruntime", "CPU") if provider is None else provider.device
        kernels = _CPU if provider is None else provider.name
        self.info = RuntimeInfo(
            "onnxruntime", ort.__version__, threads, kernels, device.name, device.software
        )

    def card_text(self) -> str | None:
        """The model card's JSON; None without a card. Raises `ModelFileError` if damaged."""
        try:
            entries = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise ModelFileError(
                f"{self._file} is damaged: its metadata is not text; export or download it again"
            ) from error
        text = entries.get(CARD_KEY)
        return None if text is None else str(text)

    def placement(self) -> Placement:
        """Where the operators run: ONNX Runtime's assignment to providers, or its profile.

        Raises:
            MissingExtra: The package onnx is not installed.
        """
        operators = of_onnx(self._data)
        if self._provider is None:
            return placement(operators, [True] * len(operators), "CPU", _CPU)
        if hasattr(self._session, "get_provider_graph_assignment_info"):
            assigned, source = (
                self._assigned(self._provider.name),
                "ONNX Runtime's graph assignment",
            )
        else:
            assigned, source = (
                self._profiled(self._provider.name),
                "ONNX Runtime's profile by provider",
            )
        device = self._provider.device
        # What optimizations removed before the assignment runs nowhere.
        known = [each for each in operators if each.name in assigned or not source.endswith("ment")]
        return placement(
            known,
            [assigned.get(each.name, True) for each in known],
            device.title,
            source,
            device.software,
        )

    def _assigned(self, provider: str) -> dict[str, bool]:
        """Name of each node -> whether the provider runs it."""
        nodes: dict[str, bool] = {}
        for graph in self._session.get_provider_graph_assignment_info():
            here = graph.ep_name == provider
            for node in graph.get_nodes():
                if node.op_type not in CONVERSIONS:
                    name = _TOKEN.sub("", node.name)
                    nodes[name] = here or nodes.get(name, False)
        return nodes

    def _profiled(self, provider: str) -> dict[str, bool]:
        """Name of each node that another provider runs -> False, from a session with profiling."""
        ort = require("onnxruntime", "onnx")
        options = _options(ort, self.info.threads)
        options.enable_profiling = True
        shape = (self.input.batch, *self.input.image_shape[1:])
        with tempfile.TemporaryDirectory() as folder:
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._open(ort, options)
            session.run(None, {self._name: np.zeros(shape, self.input.dtype)})
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        return {
            event["name"].removesuffix("_kernel_time"): False
            for event in events
            if event.get("cat") == "Node"
            and event.get("args", {}).get("provider", provider) != provider
        }

    def _open(self, ort: Any, options: Any) -> Any:
        """A session for the file, with the provider if there is one."""
        provider, name = self._provider, self._file
        try:
            if provider is None:
                return ort.InferenceSession(self._data, options, providers=[_CPU])
            if provider.plugin is None:
                named = [(provider.name, dict(provider.settings)), _CPU]
                session = ort.InferenceSession(self._data, options, providers=named)
            else:
                options.add_session_config_entry(_RECORD, "1")
                options.add_provider_for_devices([provider.plugin], dict(provider.settings))
                session = ort.InferenceSession(self._data, options)
        except Exception as error:  # ONNX Runtime's errors have no other common base
            if provider is None:
                raise refusal("ONNX Runtime", name, error) from error
            raise DeviceError(
                f"{provider.device} cannot run {name} ({str(error).strip()[:300]}); run it on "
                "another device"
            ) from error
        if provider is not None and provider.name not in session.get_providers():
            raise DeviceError(
                f"{provider.device} did not load: ONNX Runtime fell back to the CPU; install its "
                "driver and libraries"
            )
        return session

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """Output float32 [n, classes] for n images [n, ...]."""
        size = max(self.input.batch, len(batch))
        with running("ONNX Runtime", self._file):
            (output,) = self._session.run(None, {self._name: filled(batch, size)})[:1]
        return class_rows(self._file, output, size)[: len(batch)]


def _options(ort: Any, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised; their log lines would be repeated
    return options
