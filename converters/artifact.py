"""Artifact: one finished file in memory, with its name and card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_effnet import digest, pairs
from edge_effnet.card import ModelCard
from edge_effnet.converters.options import OURS
from edge_effnet.formats import FORMATS
from edge_effnet.names import INTEGER, IO, Batch
from edge_effnet.runtime import known_files


@dataclass(frozen=True, repr=False)
class Artifact:
    """A finished file in memory.

    Attributes:
        name: Name of the file with its suffix.
        data: Bytes of the file, with `digest.PLACEHOLDER` in place of the digest.
        companion: Bytes of the second file (an .xml's .bin), empty if there is none.
        card: The card inside ``data``.
    """

    name: str
    data: bytes
    companion: bytes
    card: ModelCard

    def __repr__(self) -> str:
        return f"Artifact({self.name}, {len(self.data) + len(self.companion):,} bytes)"

    def save(self, folder: Path) -> Path:
        """Write the files with their digest into ``folder``, replacing them atomically.

        Raises:
            OutputError: A file cannot be written.
        """
        path = folder / self.name
        stamped = digest.stamp(self.data, self.companion)
        pairs.write(path, stamped, self.companion)
        stated = digest.verify(stamped, self.companion, self.name)
        if stated is not None:  # always: `stamp` has written it
            known_files.remember(stated)
        return path


def file_name(
    card: ModelCard, format_name: str, io: IO = "uint8", name: str | None = None, batch: Batch = 1
) -> str:
    """``<variant>-<precision>.<ext>`` or ``<name>-<precision>.<ext>``, with suffixes for options.

    ``-per-tensor``: one weight scale per layer. ``-mixed`` in an int8 file: float layers for an
    accuracy limit. ``-io-float32`` or ``-io-int8``: input and output type other than uint8, of an
    int8 or mixed file. ``-batch-N`` or ``-batch-dynamic``: batch size other than 1. ``-softmax``:
    the file returns probabilities. A vendor's file has the quantizer's name as suffix.
    """
    base, suffix = f"{name or card.variant}-{card.precision}", FORMATS[format_name].suffix
    if card.probabilities:
        suffix = f"-softmax{suffix}"
    if batch != 1:
        suffix = f"-batch-{batch}{suffix}"
    if card.quantization is None:
        return base + suffix
    if card.quantization.quantizer != OURS:
        return f"{base}-{card.quantization.quantizer}{suffix}"
    if card.quantization.per_tensor:
        base += "-per-tensor"
    if card.quantization.float_layers and card.precision == "int8":
        base += "-mixed"
    if card.precision in INTEGER and io != "uint8":
        base += f"-io-{io}"
    return base + suffix
