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
    value = hashlib.sha256(data + companion).hexdigest()
    return data.replace(PLACEHOLDER.encode(), _PREFIX.encode() + value.encode())


def verify(data: bytes, companion: bytes = b"", name: str = "the file") -> bool:
    """True if ``data`` contains the correct digest, False if it contains none.

    Raises:
        ModelFileError: The digest does not match: the file was altered.
    """
    matches = list(_PATTERN.finditer(data))
    if not matches:
        return False
    (match, *others) = matches
    start, end = match.span(1)
    blank = data[:start] + b"0" * 64 + data[end:]
    if others or hashlib.sha256(blank + companion).hexdigest().encode() != match.group(1):
        raise ModelFileError(
            f"{name} was altered or damaged after it was exported (its digest does not match); "
            "copy it again or export it anew"
        )
    return True
