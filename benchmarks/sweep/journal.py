"""Journal of a long run: one JSON line per completed task, flushed before the next task begins.

The first line has the schema. Every other line is ``{"key": ..., "result": ...}``; the last line of
a key is valid. A line is on disk when `append` returns, so a killed process loses only its
unfinished task. An incomplete last line is removed when the journal is opened again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_effnet import json_text, reading
from edge_effnet.errors import OutputError, UsageError

SCHEMA = 2  # 1: settings of all tasks in the first line
#: Limits of a journal. A task adds a few kB.
MOST_BYTES, MOST_VALUES = 64 << 20, json_text.MAX_VALUES


class Journal:
    """An open journal, usable as a context manager; ``done`` has the results by key."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the journal at ``path``, or create it.

        Raises:
            UsageError: Another process has the journal open, a line before the last is damaged, or
                another release created it.
            OutputError: The journal cannot be written.
        """
        self.path = Path(path)
        self.done: dict[str, Any] = {}
        new = not self.path.exists()
        try:
            if not new:
                reading.check_regular(self.path)
            self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115  (closed by close)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror}; choose another folder"
            ) from error
        try:
            self._lock()
            lines = self._read()
            if lines:
                self._check_schema(lines[0])
                for line in lines[1:]:
                    self.done[line["key"]] = line["result"]
            else:
                self._write({"schema": SCHEMA})
            if new:
                _sync_folder(self.path.parent)
        except BaseException:
            self.close()
            raise

    def append(self, key: str, result: Any) -> None:
        """Record the result of the task ``key``; raises `OutputError` if it cannot be written.

        A result equal to the recorded one is not written again.
        """
        result = json.loads(json.dumps(result, allow_nan=False))
        if key not in self.done or self.done[key] != result:
            self._write({"key": key, "result": result})
            self.done[key] = result

    def close(self) -> None:
        """Close the journal and release its lock."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write(self, content: Mapping[str, Any]) -> None:
        line = json.dumps(content, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror}; free some space and run the same "
                "command again to resume"
            ) from error

    def _read(self) -> list[dict[str, Any]]:
        """The complete lines of the file; an incomplete last line is removed from it."""
        self._file.seek(0)
        too_large = os.fstat(self._file.fileno()).st_size > MOST_BYTES
        data = b"" if too_large else self._file.read()
        if too_large or json_text.most_values(data.decode("utf-8", "replace")) > MOST_VALUES:
            raise UsageError(
                f"{self.path} has more than {MOST_BYTES >> 20} MB or {MOST_VALUES:,} values, "
                "as no journal has; remove it to start again"
            )
        lines: list[dict[str, Any]] = []
        good = 0
        while (newline := data.find(b"\n", good)) >= 0:
            try:
                line = json_text.parse(data[good:newline])
                if not isinstance(line, dict) or (lines and not _is_entry(line)):
                    raise ValueError("not an entry of a journal")
            except ValueError as error:
                if newline + 1 < len(data):
                    raise UsageError(
                        f"{self.path} is damaged at line {len(lines) + 1} ({error}); remove it "
                        "to start again"
                    ) from error
                break
            lines.append(line)
            good = newline + 1
        if good < len(data):
            self._file.truncate(good)
        return lines

    def _check_schema(self, first: Mapping[str, Any]) -> None:
        if first.get("schema") != SCHEMA:
            raise UsageError(
                f"{self.path} was begun by another release (schema {first.get('schema')!r}, this "
                f"one writes {SCHEMA}); remove it to start again"
            )

    def _lock(self) -> None:
        with suppress(ImportError):  # Windows has no fcntl: no lock
            import fcntl

            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UsageError(
                    f"{self.path} is in use by another process; wait for it",
                    hint="or choose another folder with out=",
                ) from error


def _is_entry(line: Mapping[str, Any]) -> bool:
    return isinstance(line.get("key"), str) and "result" in line


def _sync_folder(folder: Path) -> None:
    """Flush the folder to disk, so that a new file's name is as durable as its content."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
