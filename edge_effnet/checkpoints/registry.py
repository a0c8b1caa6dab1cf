"""The sources and the readers of files: adding a framework is a module and a line here."""

from __future__ import annotations

from edge_effnet.checkpoints import canonical
from edge_effnet.checkpoints.keras import applications, saved_model
from edge_effnet.checkpoints.pytorch import lite, lukemelas, timm, torchvision, transformers
from edge_effnet.checkpoints.readers import tensors
from edge_effnet.checkpoints.source import Reader, Source
from edge_effnet.checkpoints.tensorflow import official

#: Kind -> source, as ``--checkpoint-type`` takes it. Between equals the first is the default.
SOURCES: dict[str, Source] = {
    source.kind: source
    for source in (
        canonical.SOURCE,
        timm.SOURCE,
        timm.TF,
        torchvision.SOURCE,
        lukemelas.SOURCE,
        lukemelas.ADVPROP,
        lite.SOURCE,
        transformers.SOURCE,
        applications.SOURCE,
        official.SOURCE,
        official.ADVPROP,
    )
}

#: Asked in order; the last takes what the others leave, and refuses what is no checkpoint.
READERS: tuple[Reader, ...] = (
    saved_model.READER,
    official.READER,
    applications.READER,
    tensors.READER,
)
