"""Devices of fine-tuning, their precision, and the processes of ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edge_effnet.errors import UsageError, require
from edge_effnet.preprocess import Pixels, Preprocess

require("torch", "train")

import torch  # noqa: E402  (after the check, whose message names the extra)
from torch import Tensor, distributed  # noqa: E402

_MOST_LOADERS = 8


@dataclass(frozen=True)
class Processes:
    """The processes that train together; each has a share of every step.

    Attributes:
        rank: Number of this process, from 0. Process 0 writes the files.
        count: Number of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def from_first(self, values: Tensor) -> Tensor:
        """``values`` of process 0, in all processes."""
        if self.count > 1:
            distributed.broadcast(values, src=0)
        return values

    def object_from_first(self, value: Any) -> Any:
        """``value`` of process 0, in all processes."""
        values = [value]
        if self.count > 1:
            distributed.broadcast_object_list(values, src=0)
        return values[0]

    def mean(self, value: Tensor) -> Tensor:
        """Mean of ``value`` over the processes."""
        if self.count > 1:
            distributed.all_reduce(value)
            value /= self.count
        return value


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started; without torchrun, one process."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    joined = distributed.is_initialized()
    if not joined:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), count)
    finally:
        if not joined:
            distributed.destroy_process_group()


def find_device(name: str) -> torch.device:
    """The device ``name``; under torchrun, ``cuda`` is the GPU of this process.

    Raises:
        UsageError: torch does not know the device, or it is not in this machine.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; known: cpu, cuda, mps") from None
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        usable = ", ".join(kind for kind, there in available.items() if there)
        raise UsageError(f"torch {torch.__version__} has no device {name!r} here; it has {usable}")
    if device.type == "cuda":
        index = int(os.environ.get("LOCAL_RANK", device.index or 0))
        if index >= torch.cuda.device_count():
            raise UsageError(f"this machine has {torch.cuda.device_count()} GPUs, no cuda:{index}")
        return torch.device("cuda", index)
    return device


def to_input(pixels: Pixels, preprocess: Preprocess, device: torch.device) -> Tensor:
    """Network input, float32 [n, 3, height, width], of RGB pixels [n, height, width, 3].

    The memory format is channels last, which is the faster one for depthwise convolutions.
    """
    image = torch.from_numpy(preprocess.normalise(pixels)).permute(0, 3, 1, 2)
    return image.to(device, non_blocking=True)


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """Type of convolutions and matrix products on a GPU; None computes in float32.

    bfloat16 where the GPU has it, else float16 with scaled gradients.
    """
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


@contextmanager
def compute_threads(count: int) -> Iterator[None]:
    """``count`` compute threads of torch on the CPU; 0 for one per core."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or len(_cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def loader_processes(device: torch.device) -> int:
    """Processes that prepare batches beside the training; none on a CPU, which trains slower."""
    return 0 if device.type == "cpu" else min(_MOST_LOADERS, len(_cores()))


def _cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
