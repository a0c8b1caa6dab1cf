"""Registry of sources and file readers; a new framework needs a module and a line here."""

from __future__ import annotations

from edge_effnet.checkpoints import canonical
from edge_effnet.checkpoints.keras import applications, saved_model
from edge_effnet.checkpoints.pytorch import lite, lukemelas, timm, torchvision, transformers
from edge_effnet.checkpoints.readers import tensors
from edge_effnet.checkpoints.source import Reader, Source
from edge_effnet.checkpoints.tensorflow import official

#: Value of ``--checkpoint-type`` -> source. If two sources match equally, the first is used.
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

#: Readers, tried in this order. The last one accepts all other files, and raises an error if a file
#: is no checkpoint.
READERS: tuple[Reader, ...] = (
    saved_model.READER,
    official.READER,
    applications.READER,
    tensors.READER,
)
