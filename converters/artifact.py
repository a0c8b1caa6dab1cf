"""Artifact: one finished file in memory, its name, and how it gets to disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_effnet import digest
from edge_effnet.card import ModelCard
from edge_effnet.converters.options import OURS
from edge_effnet.files import replacing
from edge_effnet.formats import FORMATS
from edge_effnet.names import IO


@dataclass(frozen=True, repr=False)
class Artifact:
    """A file as a writer gives it.

    Attributes:
        name: The file's name, suffix included.
        data: Its bytes, with `digest.PLACEHOLDER` where the digest belongs.
        companion: The bytes of its second part (an .xml's .bin), empty where there is none.
        card: The card inside ``data``.

    """

    name: str
    data: bytes
    companion: bytes
    card: ModelCard

    def __repr__(self) -> str:
        return f"Artifact({self.name}, {len(self.data) + len(self.companion):,} bytes)"

    def save(self, folder: Path) -> Path:
        """Stamp the digest and put all parts in place, each complete or not at all.

        Raises:
            OutputError: A part cannot be written.

        """
        path = folder / self.name
        stamped = digest.stamp(self.data, self.companion)
        with replacing(path) as temporary:
            temporary.write_bytes(stamped)
            if self.companion:
                with replacing(path.with_suffix(FORMATS["openvino"].suffixes[1])) as beside:
                    beside.write_bytes(self.companion)
        return path


def file_name(card: ModelCard, format_name: str, io: IO = "uint8", name: str | None = None) -> str:
    """``<variant>-<precision>.<ext>``, or ``<name>-<precision>.<ext>``.

    Before the suffix: ``-per-tensor`` with one weight scale per layer, ``-mixed`` with float
    layers, ``-io-float32`` or ``-io-int8`` of an int8 file that does not take uint8; or another
    quantizer's name.
    """
    stem, suffix = f"{name or card.variant}-{card.precision}", FORMATS[format_name].suffix
    if card.quantization is None:
        return stem + suffix
    if card.quantization.quantizer != OURS:
        return f"{stem}-{card.quantization.quantizer}{suffix}"
    if card.quantization.per_tensor:
        stem += "-per-tensor"
    if card.quantization.float_layers:
        stem += "-mixed"
    if card.precision == "int8" and io != "uint8":
        stem += f"-io-{io}"
    return stem + suffix
