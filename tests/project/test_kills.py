"""A few random kills of ``export`` and ``sweep``; ``tests/support/kills.py`` does any number."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from support import command
from support.kills import attack, subjects

pytestmark = command.needs_runtimes


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="watches processes through /proc")
def test_kills_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    random.seed(1)
    for number, each in enumerate(subjects(tmp_path) * 2):
        attack(each, tmp_path / f"run-{number}", old=number % 4 < 2)
