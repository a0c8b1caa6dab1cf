"""What parsers raise for a damaged file."""

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
