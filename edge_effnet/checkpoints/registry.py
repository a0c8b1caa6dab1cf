"""The sources and the readers of files: adding a framework is a module and a line here."""

from __future__ import annotations

from edge_effnet.checkpoints import (
    canonical,
    keras,
    lite_pytorch,
    lukemelas,
    tensorflow,
    tensors,
    timm,
    torchvision,
)
from edge_effnet.checkpoints.source import Reader, Source

#: Kind -> source, as ``--source`` takes it. Between equals the first is the default.
SOURCES: dict[str, Source] = {
    source.kind: source
    for source in (
        canonical.SOURCE,
        timm.SOURCE,
        timm.TF,
        torchvision.SOURCE,
        lukemelas.SOURCE,
        lukemelas.ADVPROP,
        lite_pytorch.SOURCE,
        keras.SOURCE,
        tensorflow.SOURCE,
        tensorflow.ADVPROP,
    )
}

#: Asked in order; the last takes what the others leave, and refuses what is no checkpoint.
READERS: tuple[Reader, ...] = (tensorflow.READER, keras.READER, tensors.READER)
