"""Seeds: sound files of a few kB of every format, made by the project and deterministic."""

from __future__ import annotations

from collections.abc import Mapping

#: Name of a file -> its content. The first one is opened, the others stand beside it.
Seed = Mapping[str, bytes]
