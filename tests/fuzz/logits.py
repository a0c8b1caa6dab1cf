"""Logits of a model file, in a child process: float32 bytes on standard output."""

from __future__ import annotations

import sys
from pathlib import Path

from fuzz.readers import logits

if __name__ == "__main__":
    sys.stdout.buffer.write(logits(Path(sys.argv[1])).tobytes())
