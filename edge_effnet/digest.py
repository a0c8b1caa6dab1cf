"""Digest of a file, stored in the file itself; detects alterations before a runtime reads it.

The card contains ``edge-effnet:sha256:`` and 64 hex digits. The digest covers all bytes of the file
(OpenVINO: the .xml, then the .bin) with these digits set to zero. The digest is located by scanning
bytes, so no parser runs before the check.
"""

from __future__ import annotations

import hashlib
import re

from edge_effnet.errors import ModelFileError

_PREFIX = "edge-effnet:sha256:"
#: Placeholder that a converter writes into the card; `stamp` replaces it.
PLACEHOLDER = _PREFIX + "0" * 64
_PATTERN = re.compile(re.escape(_PREFIX.encode()) + rb"([0-9a-f]{64})")


def stamp(data: bytes, companion: bytes = b"") -> bytes:
    """``data`` with its placeholder replaced by the digest over ``data`` and ``companion``."""
    digests = _PATTERN.findall(data)
    if digests != [b"0" * 64]:
        raise ValueError("the data must hold the digest's placeholder exactly once")
    value = of(data, companion)
    return data.replace(PLACEHOLDER.encode(), _PREFIX.encode() + value.encode())


def of(data: bytes, companion: bytes = b"") -> str:
    """The sha256 over ``data`` and ``companion``, 64 hex digits."""
    sha = hashlib.sha256(data)
    sha.update(companion)
    return sha.hexdigest()


def verify(data: bytes, companion: bytes = b"", name: str = "the file") -> str | None:
    """The digest that ``data`` contains, 64 hex digits; None if it contains none.

    A correct digest shows that the file is as it was written. It does not show who wrote it.

    Raises:
        ModelFileError: The digest does not match: the file was altered.
    """
    matches = list(_PATTERN.finditer(data))
    if not matches:
        return None
    (match, *others) = matches
    start, end = match.span(1)
    blank = hashlib.sha256(memoryview(data)[:start])
    for part in (b"0" * 64, memoryview(data)[end:], companion):
        blank.update(part)
    if others or blank.hexdigest().encode() != match.group(1):
        raise ModelFileError(
            f"{name} was altered or damaged after it was exported (its digest does not match); "
            "copy it again or export it anew"
        )
    return match.group(1).decode()
