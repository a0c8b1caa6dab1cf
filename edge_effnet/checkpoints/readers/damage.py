"""What parsers raise for a damaged file, and how much may be unpacked from one."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

#: Errors of Python's parsers and of code that reads what they return. RuntimeError includes
#: NotImplementedError and RecursionError.
DAMAGE = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    RuntimeError,
    StopIteration,
    lzma.LZMAError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Warning,  # pickletools may warn, and users may turn warnings into errors
)

_ROOMY = 64 << 20  # always accepted
_MAX_RATIO = 4  # float weights hardly compress; float16 becomes float32, tied weights two arrays


def most_unpacked(size: int) -> int:
    """Largest number of bytes that a file of ``size`` bytes may become in memory."""
    return max(_ROOMY, _MAX_RATIO * size)
