"""Helpers of the vendors' modules: cards of their files, and suppressed output."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from edge_effnet.card import CARD_KEY, InputKind, ModelCard, Quantization
from edge_effnet.digest import PLACEHOLDER
from edge_effnet.errors import require

#: Import names of Google's quantizer: of ai-edge-quantizer, and of litert-quantizer, its new name.
GOOGLE_QUANTIZER = ("ai_edge_quantizer", "litert_quantizer")


def require_google(module: str) -> Any:
    """The ``module`` of ai-edge-quantizer or litert-quantizer; raises `MissingExtra`."""
    installed = [name for name in GOOGLE_QUANTIZER if find_spec(name) is not None]
    package = (installed or GOOGLE_QUANTIZER)[0]
    return require(f"{package}.{module}", "ai-edge-quantizer")


def int8_card(card: ModelCard, quantizer: str, recipe: str, kind: InputKind) -> ModelCard:
    """The card of a vendor's int8 file, with the calibration set of ``card``."""
    known = card.quantization or Quantization(quantizer, recipe)
    return card.with_(
        precision="int8",
        input=kind,
        quantization=replace(known, quantizer=quantizer, recipe=recipe, avx2_safe=False),
        digest=PLACEHOLDER,
    )


def with_card(data: bytes, card: ModelCard, flatbuffer_utils: Any) -> bytes:
    """The .tflite file ``data`` with ``card`` in the metadata buffer `CARD_KEY`.

    The vendor's module ``flatbuffer_utils`` writes the file, so the layout, for example the
    alignment of buffers, stays the vendor's.
    """
    schema = flatbuffer_utils.schema_fb
    content = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(card.to_json().encode(), np.uint8)
    entry.name, entry.buffer = CARD_KEY, len(content.buffers)
    content.buffers.append(buffer)
    others = [note for note in content.metadata or [] if note.name != CARD_KEY.encode()]
    content.metadata = [*others, entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress progress bars, summaries and warnings of Python code.

    Vendors' tools print on standard output, where ``--json -`` writes its report.
    """
    sink = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(sink), redirect_stderr(sink):
        warnings.simplefilter("ignore")
        yield
