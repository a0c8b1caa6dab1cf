"""Cached features: outputs of the frozen stages for a fixed set of views of each photo."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.training.fine_tuning.draws import Integers
from edge_effnet.apps.training.fine_tuning.progressive import Regularisation
from edge_effnet.apps.training.fine_tuning.views import Batch, FreshViews, Steps
from edge_effnet.errors import EdgeEffNetError, OutputError

import torch  # isort: skip  (after the modules that check for the extra)

#: Largest size of the cache in bytes; beyond it, features are computed at each use.
BUDGET = 4 << 30
#: Views whose features are computed together, by kind of device; 32 for others than the CPU. The
#: largest feature map of 32 views has 154 MB, and glibc returns such memory to the kernel at once.
#: Three quarters of the processor time were page faults; two at a time need a quarter of it.
_TOGETHER = {"cpu": 2}
_BLOCK = 1 << 24  # bytes of zeros that are written at once


@dataclass(frozen=True)
class CachedViews:
    """Batches of cached features.

    Attributes:
        features: float32 [photos, views, channels, height, width], on disk.
        labels: Class of each photo, int64 [photos].
        logits: The teacher's logits, float32 [photos, views, classes]; None without a teacher.
        device: Device of the batches.
    """

    features: NDArray[np.float32]
    labels: Integers
    logits: NDArray[np.float32] | None
    device: torch.device

    def batches(self, steps: Steps, regularisation: Regularisation) -> Iterator[Batch]:
        """The batch of each step, given the photos and the numbers of their views."""
        for photos, views in steps:
            features = torch.from_numpy(self.features[photos, views])
            logits = self.logits
            yield Batch(
                features.to(self.device, memory_format=torch.channels_last),
                torch.from_numpy(self.labels[photos]).to(self.device),
                None if logits is None else torch.from_numpy(logits[photos, views]).to(self.device),
            )


@contextmanager
def cached(
    source: FreshViews,
    regularisation: Regularisation,
    shape: tuple[int, ...],
    folder: Path,
    progress: Callable[[int, int], None],
) -> Iterator[CachedViews | FreshViews]:
    """Compute the features of all views into a temporary file in ``folder``.

    Above `BUDGET` nothing is cached, and ``source`` itself is the result.

    Args:
        source: Views with frozen stages.
        regularisation: Augmentation of the views.
        shape: Shape of one feature map.
        folder: Folder of the temporary file, which is removed at the end.
        progress: Called with views done and views in all.

    Raises:
        ImageError: A photo cannot be read.
        OutputError: The disk is full.
    """
    photos, views = len(source.photos), source.recipe.views
    size = photos * views * int(np.prod(shape)) * 4
    if size > BUDGET:
        yield source
        return
    order = np.arange(photos * views, dtype=np.int64)
    pairs = np.stack([order // views, order % views], axis=1)
    together = _TOGETHER.get(source.device.type, 32)
    steps = [
        (part[:, 0], part[:, 1])
        for part in (pairs[start : start + together] for start in range(0, len(pairs), together))
    ]
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            features = _allocated(file, (photos, views, *shape))
            logits: NDArray[np.float32] | None = None
            for done, batch in enumerate(source.batches(steps, regularisation)):
                index = steps[done]
                features[index] = batch.inputs.float().cpu().numpy()
                if batch.teacher is not None:
                    if logits is None:
                        classes = batch.teacher.shape[1]
                        logits = np.empty((photos, views, classes), np.float32)
                    logits[index] = batch.teacher.float().cpu().numpy()
                progress(min((done + 1) * together, len(pairs)), len(pairs))
        except EdgeEffNetError:  # a photo that cannot be read is an OSError too
            raise
        except OSError as error:
            raise OutputError(
                f"cannot write {size >> 20:,} MB of features in {folder}: {error.strerror}; free "
                "some space or choose another folder"
            ) from error
        source.photos.release()
        yield CachedViews(features, source.labels, logits, source.device)


def _allocated(file: IO[bytes], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An array in ``file`` whose space on the disk is reserved; raises `OSError` if there is none.

    Writing to a mapped file on a full disk would end the process with SIGBUS.
    """
    size = int(np.prod(shape)) * 4
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        for start in range(0, size, _BLOCK):
            file.write(bytes(min(_BLOCK, size - start)))
        file.flush()
    return np.memmap(file, np.float32, "r+", shape=shape)
